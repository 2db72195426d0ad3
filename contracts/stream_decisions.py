"""What gates say of a frame, as it goes to an instrument that has asked for it."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from math import isnan, nan

DECIDED = struct.Struct("<QQQQff")
"""Between a result and its vector: when it was decided (ns since 1970 by the service's clock; 0: no gate said
anything), the gates that accept the cell and those that reject it (a bit for each of ``GateList.names``, the first the
lowest), the edition of the gates by which it was decided, and the cell's place on the map (NaN: it has none)."""
MOST_GATES = 64
"""That are applied to a stream: a bit for each."""


class Decision(IntEnum):
    """What is to be done with a cell, by all gates together."""

    NONE = 0
    """No gate says anything of it."""
    ACCEPT = 1
    """At least one gate accepts it, and none rejects it."""
    REJECT = 2
    """At least one gate rejects it."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What gates say of a frame. Those that neither accept nor reject were not there, or say nothing of its model."""

    decision: Decision = Decision.NONE
    at: int = 0
    """ns since 1970 by the service's clock; 0: no gate said anything."""
    accepting: int = 0
    """Bit i: the gate ``GateList.names[i]`` accepts it."""
    rejecting: int = 0
    edition: int = 0
    """Of ``GateList`` by which it was decided."""
    place: tuple[float, float] | None = None
    """On the map of cells."""


NOTHING = DECIDED.pack(0, 0, 0, 0, nan, nan)
"""Of a frame of which nothing was decided."""


def pack_decided(decided: Decided) -> bytes:
    """All but the decision itself, which is in the result."""
    x, y = decided.place or (nan, nan)
    return DECIDED.pack(decided.at, decided.accepting, decided.rejecting, decided.edition, x, y)


def decided_in(message: bytes, start: int, decision: int) -> Decided:
    """The inverse, at a place of a message. Raises ``ValueError`` for a decision that there is not."""
    at, accepting, rejecting, edition, x, y = DECIDED.unpack_from(message, start)
    place = None if isnan(x) or isnan(y) else (x, y)
    return Decided(Decision(decision), at, accepting, rejecting, edition, place)


def combined(accepting: int, rejecting: int) -> Decision:
    """How gates go together: what one of them rejects is rejected, whatever the others say."""
    if rejecting:
        return Decision.REJECT
    return Decision.ACCEPT if accepting else Decision.NONE
