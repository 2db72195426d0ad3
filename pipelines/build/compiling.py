"""Whether ``torch.compile`` does a network within a time, tried in a process that can be ended.

What it compiles there stays in its cache, so that compiling once more takes seconds.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from pipelines.build import source
from pipelines.build.errors import NoCompiler
from pipelines.build.onnx_export import Probabilities


def can_compile(weights: Path, side: int, threads: int, seconds: float) -> None:
    """Raises ``NoCompiler`` with the reason unless the network of these weights is compiled within so many seconds, for
    pictures of ``side`` pixels. It needs a C++ compiler."""
    command = [sys.executable, "-m", __name__, str(weights), str(side), str(threads)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            _, said = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # the C++ compilers that it has started too
            raise NoCompiler(f"torch.compile has not done the network within {seconds:g} s; give it more") from None
    if child.returncode:
        last = (said.strip().splitlines() or ["it does not say why"])[-1]
        raise NoCompiler(f"torch.compile does not work on this machine: {last[:200]}")


def main() -> None:
    """The command."""
    weights, side, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    network = Probabilities(source.load(weights)).eval()
    for count in {threads, 1}:
        torch.set_num_threads(count)
        with torch.inference_mode():
            torch.compile(network, dynamic=False)(torch.rand(1, 1, side, side))


if __name__ == "__main__":
    main()
