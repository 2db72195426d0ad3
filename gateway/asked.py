"""Bodies of our own calls on the gateway, read strictly."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from contracts.errors import BadRequest


class Asked(BaseModel):
    """What an operator asks for: a misspelt field is an error, as what it should have narrowed would be far too
    much. ``reason`` goes into the history."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=lambda name: name.title().replace("_", ""))

    reason: str = Field(default="", max_length=1000)


A = TypeVar("A", bound=Asked)


def read(model: type[A], body: bytes, request: Request) -> A:
    """The body of a request. Raises ``BadRequest`` naming the field and what is wrong with it."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "body"
        raise BadRequest(f"{request.url.path}: {field}: {problem['msg']}") from None
