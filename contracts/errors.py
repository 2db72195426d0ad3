"""Errors with a meaning: an HTTP status, and whether trying again may help."""


class AppError(Exception):
    """The root. Its text names the thing that is wrong and, where there is one, the remedy."""

    status = 500
    retry = False


class BadRequest(AppError):
    """The caller sent something that can never be accepted as it is."""

    status = 400


class NotFound(AppError):
    """The thing named does not exist."""

    status = 404


class Conflict(AppError):
    """What is asked contradicts what is already known."""

    status = 409


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


class Away(Unavailable):
    """A peer or a database does not answer at all: that is nothing of the thing in hand, and ends for all at once."""


class Full(Unavailable):
    """There is no room for the data now; nothing was taken."""

    status = 507


KINDS: dict[int, type[AppError]] = {
    kind.status: kind for kind in (BadRequest, NotFound, Conflict, Rejected, TooEarly, Unavailable, Full)
}


def error_of(status: int, text: str) -> AppError:
    """The error that an HTTP status stands for; unknown 5xx may pass, unknown 4xx will not."""
    kind = KINDS.get(status) or (Unavailable if status >= 500 or status == 429 else BadRequest)
    return kind(text)
