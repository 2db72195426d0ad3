"""Errors with a meaning: an HTTP status, and whether trying again may help."""

from collections.abc import Mapping


class AppError(Exception):
    """The root. Its text names the thing that is wrong and, where there is one, the remedy."""

    status = 500
    retry = False
    after: float | None = None
    """Seconds after which a peer wants to be asked again; None: it did not say."""


class BadRequest(AppError):
    """The caller sent something that can never be accepted as it is."""

    status = 400


class NotFound(AppError):
    """The thing named does not exist."""

    status = 404


class Conflict(AppError):
    """What is asked contradicts what is already known."""

    status = 409


class Gone(AppError):
    """It was here, and was removed on purpose."""

    status = 410


class Rejected(AppError):
    """Understood, and refused for good: redelivery would change nothing."""

    status = 422


class TooEarly(AppError):
    """Something that must come first has not arrived yet; tell it again later."""

    status = 425
    retry = True


class Unavailable(AppError):
    """A peer, a disk or a database does not answer now; try again later."""

    status = 503
    retry = True
    waits = ""
    """What a job waits for that is refused for this, said the same each time; empty: nothing worth saying."""


class Throttled(Unavailable):
    """The peer was asked too often; ``after`` says when to come back."""

    status = 429


class Away(Unavailable):
    """A peer or a database does not answer at all: that is nothing of the thing in hand, and ends for all at once."""


class Unauthorized(Away):
    """It is not known who asks. Nothing is lost by that: the same request will do once it is."""

    status = 401


class Forbidden(AppError):
    """It is known who asks, and they may not."""

    status = 403


class Full(Unavailable):
    """There is no room for the data now; nothing was taken."""

    status = 507


KINDS: dict[int, type[AppError]] = {
    kind.status: kind
    for kind in (
        *(BadRequest, Unauthorized, Forbidden, NotFound, Conflict, Gone, Rejected, TooEarly),
        *(Unavailable, Throttled, Full),
    )
}


def error_of(status: int, text: str, after: float | None = None) -> AppError:
    """The error that an HTTP status stands for; unknown 5xx may pass, unknown 4xx will not."""
    error = (KINDS.get(status) or (Unavailable if status >= 500 else BadRequest))(text)
    error.after = after
    return error


def told_after(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` in seconds (header names in lower case), an hour at most; None where there is no number."""
    text = headers.get("retry-after", "")
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() and len(text) < 10 else None
