"""What health shows of a thing that can be in trouble."""

from dataclasses import dataclass


@dataclass
class Condition:
    """A thing's name, and what is wrong with it now (empty: nothing)."""

    name: str
    trouble: str = ""
