"""The process in which a map is fitted anew: ``python -m compose.refitting VECTORS MODEL OUT``, at the lowest priority,
ended with whoever has started it."""

import contextlib
import os
import sys
import threading
from pathlib import Path


def main() -> None:
    """Exit code 0: ``OUT`` holds the model with its new map. Else the last line of the error output says why."""
    threading.Thread(target=_follow, daemon=True).start()
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(19)
    vectors, model, out = map(Path, sys.argv[1:])
    import numpy as np

    from pipelines.backends.errors import BackendError
    from pipelines.nuclei.model import ModelFolder

    try:
        chosen = np.load(vectors, allow_pickle=False).astype(np.float32)
        folder = ModelFolder(model)
        if not folder.metadata.get("map"):
            raise ValueError(f"{model} has no map that could be fitted anew")
        from pipelines.training.cells.refit import refit_with  # what it imports takes long

        refit_with(np.random.default_rng(7).permutation(chosen), folder, out)
    except (ImportError, ValueError, OSError, BackendError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def _follow() -> None:
    """The other end of our input is closed when its process ends, however it does."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
