"""What can be wrong with a build. Each text names the file or model, and the remedy."""


class BuildError(Exception):
    """The root."""


class BadSource(BuildError):
    """The network that a model is to be built of cannot be had."""


class BadGraph(BuildError):
    """A compiler could not take the exported network."""


class TooLossy(BuildError):
    """The built model is worse than FP32 by more than the limit: it is not published."""


class NoCompiler(BuildError):
    """The compiler of a target, or the device that it compiles for, is not on this machine."""
