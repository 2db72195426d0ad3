"""Power cuts of the spread world: services that end together, and what is left on the disk that they shared."""

import os
import random
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults import power
from tests.faults.control import Control
from tests.faults.supervisor import Supervisor
from tests.support.instance import Instance


@dataclass(frozen=True)
class Site:
    """Services on one mains supply, and the folder of their files. ``shadow`` keeps what of it is durable; the folder
    ``keep`` below it is written by others, who sync it."""

    root: Path
    shadow: Path
    services: tuple[str, ...]
    keep: Path | None = None

    def environment(self, control: Control) -> dict[str, str]:
        """Variables under which one of the services is watched."""
        return control.environment(self.root, self.shadow)

    def begin(self, control: Control) -> None:
        """From now on only what is synced is durable, besides what is here. Before any of the services starts: none
        may sync while the others' start still looks at what is here."""
        self.root.mkdir(exist_ok=True)
        self.shadow.mkdir(exist_ok=True)
        nothing = shutil.which("true")
        assert nothing is not None
        subprocess.run([nothing], env=os.environ | self.environment(control), check=True)

    def cut(
        self, instances: Mapping[str, Instance], control: Control, supervisor: Supervisor, rng: random.Random
    ) -> None:
        """All services end at once, with what they have started; un-synced data is gone; the power comes back."""
        supervisor.hold(*self.services)
        try:
            for name in self.services:
                _end(instances[name])
            power.cut(self.root, self.shadow, rng, self.keep)
            self.begin(control)
        finally:
            supervisor.let_go()


def _end(instance: Instance) -> None:
    """kill -9, of its worker processes too."""
    if not instance.alive():
        return
    started: list[psutil.Process] = []
    with suppress(psutil.Error):
        started = psutil.Process(instance.pid).children(recursive=True)
    instance.kill()
    for process in started:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(started, timeout=5)
