"""Where models run: in this process by OpenVINO, or at a server. A pipeline names a model; the place is configuration.

Nothing here is imported with the package: a worker loads the one backend that its settings name.
"""

from pathlib import Path


def python_model_file() -> Path:
    """The program that runs an OpenVINO network under Triton's Python backend."""
    return Path(__file__).with_name("python_model.py")
