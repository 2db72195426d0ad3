"""What can be wrong with a model or with the place where it runs. Each text names model, version and remedy."""

from pipelines.plugin import Later


class BackendError(Exception):
    """The root."""


class BadAddress(BackendError, ValueError):
    """The setting that says where a model runs cannot be understood, or cannot be met here."""


class BadModel(BackendError):
    """The place has no such model or version, or its files are no model."""


class Mismatch(BackendError):
    """What the model takes or gives is not what the pipeline means."""


class BadOutput(BackendError):
    """The model gave numbers that are none (NaN, infinity), or an output of another shape or name than it said."""


class Refused(BackendError):
    """The place has refused or failed this one request; others may go on."""


class TooSlow(BackendError):
    """The place is there and works, but has not answered this request in time."""


class Unavailable(BackendError, Later):
    """The place does not answer: nothing is wrong with the job, which waits for it."""


class Exchanged(BackendError, Later):
    """Another version has answered in the middle of a piece of work, which is to be done by one: it begins anew."""
