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


class Unauthorized(Away):
    """It is not known who asks. Nothing is lost by that: the same request will do once it is."""

    status = 401


class Forbidden(AppError):
    """It is known who asks, and they may not."""

    status = 403


class TooMany(Unavailable):
    """More was asked for than is allowed in that time; try again later."""

    status = 429


class Full(Unavailable):
    """There is no room for the data now; nothing was taken."""

    status = 507


KINDS: dict[int, type[AppError]] = {
    kind.status: kind
    for kind in (
        *(BadRequest, Unauthorized, Forbidden, NotFound, Conflict, Rejected, TooEarly),
        *(TooMany, Unavailable, Full),
    )
}


def error_of(status: int, text: str) -> AppError:
    """The error that an HTTP status stands for; unknown 5xx may pass, unknown 4xx will not."""
    kind = KINDS.get(status) or (Unavailable if status >= 500 or status == 429 else BadRequest)
    return kind(text)
