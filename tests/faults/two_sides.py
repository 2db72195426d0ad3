"""An edge and a gateway as two programs, with lines between them that can be harmed; and the accounts."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.faults.world import Accounts, Lost, result_of, wait_for
from tests.support.fleet import free_offset
from tests.support.instance import Instance
from tests.support.line import Count, Judge, Lines


class TwoSides:
    """``with TwoSides(...) as world``: both run, the edge's way to the gateway leads over the lines."""

    def __init__(
        self, folder: Path, judge: Judge, count: Count = lambda _message, _size: None, *, seed: int = 1
    ) -> None:
        near, far = free_offset(), free_offset()
        self.rng, self.accounts = random.Random(seed), Accounts()
        self.gateway = Instance(
            folder / "gateway", side="gateway", offset=far, CYTOBUS_PIPELINES__TOPICS='["only-file"]'
        )
        self.edge = Instance(folder / "edge", side="edge", offset=near)
        self.lines = Lines(near, far, judge, count)

    def __enter__(self) -> "TwoSides":
        self.lines.__enter__()
        try:
            self.gateway.start()
            self.gateway.add_task("only-file")
            self.edge.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.edge.close()
        self.gateway.close()
        self.lines.__exit__()

    def drop(self, size: int) -> str:
        """A new file of so many bytes."""
        name = f"file-{len(self.accounts.files):05}.dat"
        content = self.rng.randbytes(size)
        self.accounts.files[name] = content
        self.edge.drop(name, content)
        return name

    def settle(self, seconds: float) -> None:
        """All that went in has come back, bit for bit, once. Raises ``Lost``."""
        wait_for(self._back, seconds, self._story)
        bad = {what: names for what, names in self.accounts.faulty(self.edge.output).items() if names}
        names = [job["InputFile"]["Name"] for job in self.gateway.jobs()]
        if bad or len(names) != len(set(names)):
            raise Lost(f"{bad or 'registered twice'}: {self._story()}")

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Until something holds. Raises ``Lost``."""
        wait_for(condition, seconds, self._story)

    def states(self) -> dict[str, str]:
        """State by name of each job."""
        return {job["InputFile"]["Name"]: job["State"] for job in self.gateway.jobs()}

    def _back(self) -> bool:
        if not all((self.edge.output / result_of(name)).is_file() for name in self.accounts.files):
            return False
        try:
            return self.gateway.counts() == {"complete": len(self.accounts.files)}
        except (httpx.HTTPError, OSError):
            return False

    def _story(self) -> str:
        logs = {side.data.name: side.log.read_text(errors="replace").splitlines()[-15:] for side in self._sides()}
        try:
            jobs = [
                (job["InputFile"]["Name"], job["State"], job.get("Reason", ""))
                for job in self.gateway.jobs()
                if job["State"] != "complete"
            ]
        except (httpx.HTTPError, OSError) as error:
            jobs = [("the repository", str(error), "")]
        return json.dumps({"jobs": jobs, "logs": logs}, indent=1)

    def _sides(self) -> tuple[Instance, Instance]:
        return self.gateway, self.edge
