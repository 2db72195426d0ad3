"""Bodies of our own calls on the gateway, read strictly."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from contracts.errors import BadRequest


class Body(BaseModel):
    """A misspelt field is an error: what it should have narrowed would be far too much."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=lambda name: name.title().replace("_", ""))


class Asked(Body):
    """What an operator asks for; ``reason`` goes into the history."""

    reason: str = Field(default="", max_length=1000)


B = TypeVar("B", bound=BaseModel)


def read(model: type[B], body: bytes, request: Request) -> B:
    """The body of a request. Raises ``BadRequest`` naming each field that is wrong, and how."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = [
            f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        ]
        raise BadRequest(f"{request.url.path}: {'; '.join(found)}") from None
