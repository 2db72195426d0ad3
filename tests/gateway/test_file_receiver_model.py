"""Any sequence of tus requests, broken ones and restarts between them, against a model of what must then be there."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts import transfer
from contracts.errors import Unavailable
from contracts.events import InputDelivered
from contracts.hosting import app_of
from contracts.models import InputFile, Job, State
from gateway.file_receiver.rules import PARTS
from gateway.file_receiver.service import FileReceiver
from tests.support.jobs import FakeJobs

TUS = {"Tus-Resumable": "1.0.0"}
BODY = {**TUS, "Content-Type": transfer.MEDIA_TYPE}
CONTENTS = {"a.tif": b"0123456789", "b.tif": bytes(range(256)) * 3, "empty.tif": b""}
NAMES = st.sampled_from(sorted(CONTENTS))
CUTS = st.floats(0, 1)


class CutOff(Exception):
    """The sender is gone in the middle of its request."""


@dataclass
class Known:
    """What the sender may rely on: the bytes that were acknowledged last, and whether all of it was."""

    url: str = ""
    offset: int = 0
    delivered: bool = False


class Uploads(RuleBasedStateMachine):
    """Nothing is acknowledged that is not on the disk, nothing torn bears its name, and the fact is told when whole."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp())
        self.jobs = FakeJobs(*(Job(id=name, state=State.SENDING, input_file=InputFile(name=name)) for name in CONTENTS))
        self.known = {name: Known() for name in CONTENTS}
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize()
    def start(self) -> None:
        """A receiver that knows nothing but the folder."""
        receiver = FileReceiver(self.jobs, self.folder, "gateway")
        self.run(self.stack.enter_async_context(receiver.running()))
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app_of(receiver)), base_url="http://here")
        self.client = self.run(self.stack.enter_async_context(client))

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    def ask(self, method: str, url: str, **options: Any) -> httpx.Response | None:
        """One request; None where the sender broke it off."""
        try:
            answer: httpx.Response = self.run(self.client.request(method, url, **options))
        except CutOff:
            return None
        assert answer.status_code < 500 or self.jobs.deaf is not None, answer.text
        return answer

    def told(self, name: str, answer: httpx.Response | None) -> None:
        """Believe an answer that says how far the upload is."""
        if answer is None or not answer.is_success:
            return
        known, offset = self.known[name], int(answer.headers["upload-offset"])
        known.url = answer.headers.get("location", known.url)
        known.offset, known.delivered = offset, offset == len(CONTENTS[name])

    @rule(name=NAMES, cut=CUTS, good=st.booleans())
    def create(self, name: str, cut: float, good: bool) -> None:
        """Made, or made again, perhaps with its first bytes; known uploads say how far they are."""
        content = CONTENTS[name]
        body = content[: round(cut * len(content))]
        metadata = {"jobid": name, "sha256": hashlib.sha256(content).hexdigest(), "folder": ""}
        headers = {"Upload-Length": str(len(content)), "Upload-Metadata": transfer.format_metadata(metadata)}
        if body:
            headers |= BODY | _checksum(body, good)
        before = self.known[name].offset
        answer = self.ask("POST", "/api/v1/files", headers=TUS | headers, content=body)
        assert answer is not None
        # Bytes that come with the request count only where none were had before, so only then can they be wrong.
        assert answer.status_code in ((201,) if good or before or not body else (201, 460)) or self.jobs.deaf
        self.told(name, answer)

    @precondition(lambda self: any(known.url for known in self.known.values()))
    @rule(data=st.data(), cut=CUTS, good=st.booleans())
    def go_on(self, data: st.DataObject, cut: float, good: bool) -> None:
        """At the right offset, with a checksum that fits or not."""
        name = self.choose(data)
        known = self.known[name]
        rest = CONTENTS[name][known.offset :]
        body = rest[: round(cut * len(rest))]
        answer = self.patch(known, known.offset, body, _checksum(body, good))
        assert answer is not None
        assert answer.status_code in ((204, 404) if good or not body else (460, 404, 204)) or self.jobs.deaf
        assert good or not body or not answer.is_success or known.delivered, "a wrong checksum was taken"
        self.told(name, answer)

    @precondition(lambda self: any(known.url for known in self.known.values()))
    @rule(data=st.data(), offset=st.integers(0, 800), size=st.integers(0, 5))
    def go_on_elsewhere(self, data: st.DataObject, offset: int, size: int) -> None:
        """A request that was doubled, came late or too early: only the offset that was acknowledged is taken."""
        name = self.choose(data)
        known, content = self.known[name], CONTENTS[name]
        if offset == known.offset:
            return
        answer = self.patch(known, offset, content[offset : offset + size], {})
        assert answer is not None
        assert answer.status_code in (404, 409, 413) or self.jobs.deaf, answer.text

    @precondition(lambda self: any(known.url for known in self.known.values()))
    @rule(data=st.data(), cut=CUTS, with_checksum=st.booleans())
    def break_off(self, data: st.DataObject, cut: float, with_checksum: bool) -> None:
        """The line is cut in the middle of a body; what came may count, and HEAD says how much of it does."""
        name = self.choose(data)
        known = self.known[name]
        rest = CONTENTS[name][known.offset :]
        checksum = _checksum(rest, True) if with_checksum else {}
        length = {"Content-Length": str(len(rest))}
        cut_at = round(cut * max(0, len(rest) - 1))
        answer = self.patch(known, known.offset, _broken(rest[:cut_at]), checksum | length)
        assert answer is None or not answer.is_success
        before = known.offset
        self.look_at(name)
        if with_checksum and known.url:
            assert known.offset == before, "part of a body counts although its checksum is unknown"

    @precondition(lambda self: any(known.url for known in self.known.values()))
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        self.look_at(self.choose(data))

    def look_at(self, name: str) -> None:
        """HEAD: never less than was acknowledged."""
        known = self.known[name]
        answer = self.ask("HEAD", known.url, headers=TUS)
        assert answer is not None
        if answer.status_code == 404:
            # Whole and told, or given up: nothing of it is unfinished.
            known.url, known.offset = "", 0
        elif answer.is_success:
            assert int(answer.headers["upload-offset"]) >= known.offset, "bytes that were acknowledged are gone"
            self.told(name, answer)

    @precondition(lambda self: any(known.url for known in self.known.values()))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        known = self.known[self.choose(data)]
        answer = self.ask("DELETE", known.url, headers=TUS)
        assert answer is not None
        assert answer.status_code in (204, 404)
        known.url, known.offset = "", 0

    @rule()
    def restart(self) -> None:
        self.run(self.stack.aclose())
        self.start()

    @rule(away=st.booleans())
    def the_repository_goes_or_comes(self, away: bool) -> None:
        self.jobs.deaf = Unavailable("away") if away else None

    def choose(self, data: st.DataObject) -> str:
        return str(data.draw(st.sampled_from([name for name, known in self.known.items() if known.url])))

    def patch(
        self, known: Known, offset: int, body: bytes | AsyncIterator[bytes], more: dict[str, str]
    ) -> httpx.Response | None:
        return self.ask("PATCH", known.url, headers={**BODY, "Upload-Offset": str(offset), **more}, content=body)

    @invariant()
    def no_torn_file_bears_its_name(self) -> None:
        for path in self.folder.rglob("*"):
            if path.is_file() and PARTS not in path.parts:
                assert path.read_bytes() == CONTENTS[path.name]

    @invariant()
    def what_was_acknowledged_is_on_the_disk(self) -> None:
        for name, known in self.known.items():
            if known.delivered:
                assert (self.folder / name).read_bytes() == CONTENTS[name]
            elif known.url and known.offset:
                part = (self.folder / PARTS / known.url.rpartition("/")[2]).read_bytes()
                assert part[: known.offset] == CONTENTS[name][: known.offset]

    @invariant()
    def the_fact_is_told_when_the_file_is_whole_and_never_before(self) -> None:
        for fact in self.jobs.facts:
            assert isinstance(fact, InputDelivered)
            assert (Path(fact.dir_name) / fact.job_id).read_bytes() == CONTENTS[fact.job_id]
            assert (fact.size, fact.sha256) == (
                len(CONTENTS[fact.job_id]),
                hashlib.sha256(CONTENTS[fact.job_id]).hexdigest(),
            )
        for name, known in self.known.items():
            assert (self.jobs.jobs[name].state is State.RECEIVED) == any(
                fact.job_id == name for fact in self.jobs.facts
            )
            assert not known.delivered or self.jobs.jobs[name].state is State.RECEIVED


def _checksum(body: bytes, good: bool) -> dict[str, str]:
    return {"Upload-Checksum": str(transfer.checksum_of("sha1", body if good else body + b"?"))}


async def _broken(body: bytes) -> AsyncIterator[bytes]:
    yield body
    raise CutOff


TestUploads = Uploads.TestCase
TestUploads.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
