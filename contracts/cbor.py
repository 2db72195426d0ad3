"""CBOR (RFC 8949) as EdgeX writes events with binary readings: numbers, texts, bytes, lists, maps, booleans, null."""

import struct
from typing import Any

from contracts.edgex_event import BadMessage

DEEPEST = 16
"""Levels of lists and maps; events have five."""
_BREAK = object()
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}


def loads(data: bytes | memoryview) -> Any:
    """One value; bytes are views into ``data``, not copied. Raises ``BadMessage`` for anything else than that."""
    reader = _Reader(memoryview(data))
    value = reader.value(0)
    if value is _BREAK or reader.at != len(reader.data):
        raise BadMessage(f"CBOR: the value ends at byte {reader.at} of {len(reader.data)}")
    return value


def dumps(value: Any) -> bytes:
    """A value as CBOR, lengths before contents. Raises ``BadMessage`` for types that it has no form for here."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> memoryview:
        end = self.at + size
        if end > len(self.data):
            raise BadMessage(f"CBOR: {size} bytes are announced at byte {self.at}, {len(self.data) - self.at} are left")
        part, self.at = self.data[self.at : end], end
        return part

    def value(self, depth: int) -> Any:
        if depth > DEEPEST:
            raise BadMessage(f"CBOR: lists and maps lie more than {DEEPEST} deep in each other")
        first = self.take(1)[0]
        kind, short = first >> 5, first & 31
        if kind == 7:
            return self._special(short)
        size = self._size(kind, short)
        match kind:
            case 0:
                return size
            case 1:
                return -1 - (size or 0)
            case 2 | 3:
                return self._text(kind, size)
            case 4:
                return list(self._items(size, depth))
            case 5:
                return self._map(size, depth)
            case _:
                return self.value(depth + 1)  # a tag: what it marks is what we want

    def _size(self, kind: int, short: int) -> int | None:
        if short < 24:
            return short
        if short <= 27:
            return int.from_bytes(self.take(1 << (short - 24)), "big")
        if short == 31 and kind in (2, 3, 4, 5):
            return None
        raise BadMessage(f"CBOR: byte {self.at - 1} announces no length")

    def _special(self, short: int) -> Any:
        if short == 31:
            return _BREAK
        if short in _FLOATS:
            return struct.unpack(_FLOATS[short], self.take(2 << (short - 25)))[0]
        if short not in _SIMPLE:
            raise BadMessage(f"CBOR: byte {self.at - 1} is a simple value that nobody writes")
        return _SIMPLE[short]

    def _text(self, kind: int, size: int | None) -> str | memoryview:
        if size is None:
            raise BadMessage(f"CBOR: the text at byte {self.at - 1} does not say its length")
        part = self.take(size)
        if kind == 2:
            return part
        try:
            return str(part, "utf-8")
        except UnicodeDecodeError:
            raise BadMessage(f"CBOR: the text before byte {self.at} is not UTF-8") from None

    def _items(self, size: int | None, depth: int) -> list[Any]:
        found: list[Any] = []
        while size is None or len(found) < size:
            value = self.value(depth + 1)
            if value is _BREAK:
                if size is None:
                    return found
                raise BadMessage(f"CBOR: the list or map before byte {self.at} ends too early")
            found.append(value)
        return found

    def _map(self, size: int | None, depth: int) -> dict[str, Any]:
        flat = self._items(None if size is None else 2 * size, depth)
        keys = flat[::2]
        if len(flat) % 2 or not all(isinstance(key, str) for key in keys):
            raise BadMessage(f"CBOR: a key of the map before byte {self.at} is no text")
        return dict(zip(keys, flat[1::2], strict=True))


def _head(kind: int, size: int) -> bytes:
    if size < 24:
        return bytes([kind << 5 | size])
    for short, form in ((24, ">BB"), (25, ">BH"), (26, ">BI"), (27, ">BQ")):
        if size < 1 << (8 << (short - 24)):
            return struct.pack(form, kind << 5 | short, size)
    raise BadMessage("CBOR: a number has more than 64 bits")


def _write(value: Any, parts: list[bytes]) -> None:
    match value:
        case None | bool():
            parts.append({None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value])
        case int():
            parts.append(_head(0, value) if value >= 0 else _head(1, -1 - value))
        case float():
            parts.append(b"\xfb" + struct.pack(">d", value))
        case str():
            _write_bytes(3, value.encode(), parts)
        case bytes() | bytearray() | memoryview():
            _write_bytes(2, bytes(value), parts)
        case list() | tuple() | dict():
            _write_many(value, parts)
        case _:
            raise BadMessage(f"CBOR: there is no form here for a {type(value).__name__}")


def _write_bytes(kind: int, content: bytes, parts: list[bytes]) -> None:
    parts += [_head(kind, len(content)), content]


def _write_many(values: Any, parts: list[bytes]) -> None:
    parts.append(_head(5 if isinstance(values, dict) else 4, len(values)))
    for value in values:
        _write(value, parts)
        if isinstance(values, dict):
            _write(values[value], parts)
