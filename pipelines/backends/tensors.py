"""What models take and give, and whether that fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.backends.errors import BadOutput, Mismatch

Arrays = Mapping[str, NDArray[Any]]
"""Tensors by name."""


@dataclass(frozen=True)
class ModelRef:
    """A model by name and version; no version: the newest that the place has."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"model {self.name!r} version {self.version}" if self.version else f"model {self.name!r}"


@dataclass(frozen=True)
class Tensor:
    """One input or output: its numpy dtype by name, and its shape, in which None is any length; None: any shape."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype} of any shape"
        return f"{self.dtype} [{', '.join('any' if side is None else str(side) for side in self.shape)}]"

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape fits."""
        return self.shape is None or _alike(self.shape, shape)


def _alike(mine: tuple[int | None, ...], theirs: tuple[int | None, ...]) -> bool:
    return len(mine) == len(theirs) and all(None in (a, b) or a == b for a, b in zip(mine, theirs, strict=True))


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, and the versions of it that are there, newest last (empty: not told)."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The outputs of one inference, and the version of the model that gave them (empty: not told)."""

    outputs: Arrays
    version: str = ""


def fits(ref: ModelRef, has: Signature, wanted: Signature, place: str) -> None:
    """Raises ``Mismatch`` unless the model takes and gives all that the pipeline means, and wants nothing else."""
    for kind, mine, theirs in (("input", wanted.inputs, has.inputs), ("output", wanted.outputs, has.outputs)):
        there = {tensor.name: tensor for tensor in theirs}
        for want in mine:
            _same(ref, kind, want, there.pop(want.name, None), theirs, place)
        if there and kind == "input":
            raise Mismatch(
                f"{ref} at {place} also wants input {', '.join(map(repr, there))}, which the pipeline does not have; "
                f"{_REMEDY}"
            )


_REMEDY = "serve the model that was exported for this pipeline, or name another in pipelines.backends"


def _same(ref: ModelRef, kind: str, want: Tensor, has: Tensor | None, theirs: tuple[Tensor, ...], place: str) -> None:
    if has is None:
        names = ", ".join(repr(tensor.name) for tensor in theirs) or "none"
        raise Mismatch(f"{ref} at {place} has no {kind} {want.name!r} (it has {names}); {_REMEDY}")
    alike = has.shape is None or want.shape is None or _alike(has.shape, want.shape)
    if has.dtype != want.dtype or not alike:
        raise Mismatch(f"{ref} at {place}: {kind} {want.name!r} is {has}, the pipeline means {want}; {_REMEDY}")


def check_inputs(ref: ModelRef, signature: Signature, inputs: Arrays) -> None:
    """Raises ``Mismatch`` unless these arrays are what the model takes."""
    known = {tensor.name: tensor for tensor in signature.inputs}
    for name in (*(known.keys() - inputs.keys()), *(inputs.keys() - known.keys())):
        wrong = "is missing" if name in known else f"is none of its inputs ({', '.join(map(repr, known))})"
        raise Mismatch(f"{ref}: input {name!r} {wrong}")
    for name, array in inputs.items():
        tensor = known[name]
        if str(array.dtype) != tensor.dtype or not tensor.takes(array.shape):
            given = Tensor(name, str(array.dtype), array.shape)
            raise Mismatch(f"{ref}: input {name!r} is {given}, the model takes {tensor}; bring it to that before")


def check_outputs(ref: ModelRef, wanted: Signature, answer: Answer, place: str) -> None:
    """Raises ``BadOutput`` unless every output is there, of its kind, and finite."""
    named = ModelRef(ref.name, answer.version or ref.version)
    for tensor in wanted.outputs:
        array = answer.outputs.get(tensor.name)
        if array is None or str(array.dtype) != tensor.dtype or not tensor.takes(array.shape):
            got = "nothing" if array is None else str(Tensor(tensor.name, str(array.dtype), array.shape))
            raise BadOutput(f"{named} at {place} gave {got} as output {tensor.name!r}, not {tensor}; export it again")
        if not finite(array):
            raise BadOutput(
                f"{named} at {place} gave NaN or infinity in output {tensor.name!r}; its file is damaged, its "
                f"precision too low, or its input not prepared: export it again, or run it as f32"
            )


def finite(array: NDArray[Any]) -> bool:
    """Whether all numbers are such. A sum is ten times as fast as a look at each, and tells where to look."""
    if array.dtype.kind not in "fc" or not array.size:
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())
