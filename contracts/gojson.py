"""JSON as Go's encoding/json writes and reads it, so that Go peers see no difference."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)

_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPED_NUL = re.compile(rb"((?<!\\)(?:\\\\)*)\\u0000")
_GO_NAMES: dict[object, str] = {str: "string", int: "int64", bool: "bool", float: "float64"}
_ZEROS: dict[object, object] = {str: "", int: 0, bool: False, float: 0}
_INT64 = range(-(2**63), 2**63)
_LISTS = (list, tuple, Sequence)
_MAPS = (dict, Mapping)


class BadBody(ValueError):
    """JSON that does not fit; the text reads like Go's and names the field."""


def dumps(value: object) -> bytes:
    """Compact JSON with Go's escapes; models by their wire names, lone surrogates as U+FFFD.

    Raises ``ValueError`` for NaN and infinity and ``TypeError`` for what has no JSON, as Go does.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.translate(_UNSAFE).encode()


def without_nul(body: bytes) -> bytes:
    """JSON with U+FFFD where it has an escaped NUL, which no database and no file's name takes."""
    return _ESCAPED_NUL.sub(rb"\1\\ufffd", body) if b"\\u0000" in body else body


def loads(body: bytes) -> object:
    """Any JSON value; invalid UTF-8, lone surrogates and NUL become U+FFFD. Raises ``BadBody`` for other text."""
    text = without_nul(body).decode("utf-8", "replace")
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        return json.loads(dumps(value)) if _ESCAPED_SURROGATE.search(text) else value
    except json.JSONDecodeError as error:
        raise BadBody(_syntax(error)) from None
    except BadBody:
        raise
    except ValueError:
        raise BadBody("json: cannot unmarshal number: it has too many digits") from None
    except RecursionError:
        raise BadBody("exceeded max depth") from None


def decode(model: type[M], body: bytes) -> M:
    """The body as a model: keys match in any case, unknown ones are ignored, types are strict.

    ``null`` is Go's zero value where a field has no ``None``; what is missing takes its default.
    Keys inside dict-valued fields are data and stay as they are. Raises ``BadBody``.
    """
    return decode_value(model, loads(body))


def decode_value(model: type[M], value: object) -> M:
    """Like ``decode``, for JSON that has been read already."""
    shaped = _read(model, value, _Spot(model.__name__))
    try:
        return model.model_validate_json(dumps(shaped), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join([model.__name__, *(str(part) for part in first["loc"])])
        raise BadBody(f"json: invalid value for Go struct field {field}: {first['msg']}") from None
    except RecursionError:
        raise BadBody("exceeded max depth") from None


@dataclass(frozen=True)
class _Spot:
    """Where in the body we are, as Go names it: the innermost struct and the path from the top."""

    struct: str
    path: tuple[str, ...] = ()

    def refuse(self, value: object, go_type: str) -> NoReturn:
        where = f"field {self.struct}.{'.'.join(self.path)} of type" if self.path else "value of type"
        struct = "Go struct " if self.path else "Go "
        raise BadBody(f"json: cannot unmarshal {_word(value)} into {struct}{where} {go_type}")


def _read(annotation: object, value: object, spot: _Spot) -> object:
    """The value with folded keys and zero values, as far as the annotation says what it has to be."""
    kind, nullable = _unwrapped(annotation)
    if value is None and nullable:
        return None
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _read_model(kind, {} if value is None else value, spot)
    if kind in _GO_NAMES:
        return _read_scalar(kind, _ZEROS[kind] if value is None else value, spot)
    origin = get_origin(kind) or kind
    if origin in _LISTS:
        return _read_list(kind, [] if value is None else value, spot)
    if origin in _MAPS:
        return _read_map(kind, {} if value is None else value, spot)
    return value


def _read_model(model: type[BaseModel], value: object, spot: _Spot) -> dict[str, object]:
    if not isinstance(value, dict):
        spot.refuse(value, model.__name__)
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    folded = {name.lower(): name for name in fields}
    shaped: dict[str, object] = {}
    for key, item in value.items():
        name = key if key in fields else folded.get(key.lower())
        if name is None or (item is None and shaped.get(name) is not None):
            continue
        inner = replace(spot, struct=model.__name__, path=(*spot.path, name))
        shaped[name] = _read(fields[name].annotation, item, inner)
    return shaped


def _read_scalar(kind: object, value: object, spot: _Spot) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        float: number,
        int: number and isinstance(value, int) and value in _INT64,
    }
    if not fits[kind]:  # type: ignore[index]
        spot.refuse(value, _GO_NAMES[kind])
    return value


def _read_list(kind: object, value: object, spot: _Spot) -> list[object]:
    item_kind = (get_args(kind) or (object,))[0]
    if not isinstance(value, list):
        spot.refuse(value, "[]" + _go_name(item_kind))
    return [_read(item_kind, item, spot) for item in value]


def _read_map(kind: object, value: object, spot: _Spot) -> dict[str, object]:
    item_kind = (get_args(kind) or (str, object))[1]
    if not isinstance(value, dict):
        spot.refuse(value, "map[string]" + _go_name(item_kind))
    return {key: _read(item_kind, item, spot) for key, item in value.items()}


def _unwrapped(annotation: object) -> tuple[object, bool]:
    """The one type that an annotation stands for (``object`` for unions), and whether it may be null."""
    if get_origin(annotation) is Annotated:
        return _unwrapped(get_args(annotation)[0])
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, annotation is None
    arms = [arm for arm in get_args(annotation) if arm is not type(None)]
    kind = _unwrapped(arms[0])[0] if len(arms) == 1 else object
    return kind, len(arms) < len(get_args(annotation))


def _go_name(annotation: object) -> str:
    kind = _unwrapped(annotation)[0]
    return _GO_NAMES.get(kind) or getattr(kind, "__name__", "interface {}").replace("object", "interface {}")


def _word(value: object) -> str:
    """What Go calls a JSON value; numbers that do not fit are named."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float) or (isinstance(value, int) and value not in _INT64):
        return f"number {value}"
    return {int: "number", str: "string", list: "array", dict: "object"}.get(type(value), "null")


def _plain(value: object) -> object:
    """What ``json`` cannot write by itself: models and other mappings than ``dict``."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"json: unsupported type: {type(value).__name__}")


def _syntax(error: json.JSONDecodeError) -> str:
    rest = error.doc[error.pos :].lstrip(" \t\r\n")
    if not rest or error.msg.startswith("Unterminated"):
        return "unexpected end of JSON input"
    if error.msg.startswith("Extra data"):
        return f"invalid character {rest[0]!r} after top-level value"
    return f"invalid character {rest[0]!r} looking for beginning of value"


def _no_number(name: str) -> NoReturn:
    raise BadBody(f"invalid character {name[0]!r} looking for beginning of value")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise BadBody(f"json: cannot unmarshal number {text[:40]} into Go value of type float64")
    return number
