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


def job_of(name: str) -> str:
    """The id of a file's job."""
    return f"job-of-{name}"


class CutOff(Exception):
    """The sender is gone in the middle of its request."""


@dataclass
class Known:
    """What the sender may rely on: the bytes that were acknowledged last, and whether all of it was. It is ``unsure``
    how many are there after a request that was not answered, or not well."""

    url: str = ""
    offset: int = 0
    delivered: bool = False
    unsure: bool = False

    def forgotten(self) -> None:
        """The receiver knows nothing of an unfinished upload."""
        self.url, self.offset, self.unsure = "", 0, False


class Uploads(RuleBasedStateMachine):
    """Nothing is acknowledged that is not on the disk, nothing torn bears its name, and the fact is told when whole."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp())
        self.jobs = FakeJobs(
            *(Job(id=job_of(name), state=State.SENDING, input_file=InputFile(name=name)) for name in CONTENTS)
        )
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
        known = self.known[name]
        if answer is None or not answer.is_success:
            known.unsure = known.unsure or answer is None or answer.status_code == 503
            return
        offset, known.unsure = int(answer.headers["upload-offset"]), False
        known.url = answer.headers.get("location", known.url)
        known.offset, known.delivered = offset, offset == len(CONTENTS[name])

    @rule(name=NAMES, cut=CUTS, good=st.booleans())
    def create(self, name: str, cut: float, good: bool) -> None:
        """Made, or made again, perhaps with its first bytes; known uploads say how far they are."""
        content = CONTENTS[name]
        body = content[: round(cut * len(content))]
        metadata = {"jobid": job_of(name), "sha256": hashlib.sha256(content).hexdigest(), "folder": ""}
        headers = {"Upload-Length": str(len(content)), "Upload-Metadata": transfer.format_metadata(metadata)}
        if body:
            headers |= BODY | _checksum(body, good)
        known = self.known[name]
        if self.jobs.jobs[job_of(name)].state is State.RECEIVED or known.offset or known.unsure:
            good = True  # bytes that come along are not looked at where some were had before
        answer = self.ask("POST", "/api/v1/files", headers=TUS | headers, content=body)
        assert answer is not None
        assert answer.status_code == (201 if good or not body else 460) or self.jobs.deaf, answer.text
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
        lost = [404] * known.delivered + [404, 409] * known.unsure
        assert answer.status_code in [204 if good or not rest else 460, *lost] or self.jobs.deaf, answer.text
        self.told(name, answer)

    @precondition(lambda self: any(known.url for known in self.known.values()))
    @rule(data=st.data(), offset=st.integers(0, 800), size=st.integers(0, 5))
    def go_on_elsewhere(self, data: st.DataObject, offset: int, size: int) -> None:
        """A request that was doubled, came late or too early: only the offset that was acknowledged is taken."""
        name = self.choose(data)
        known, content = self.known[name], CONTENTS[name]
        if offset == known.offset or known.unsure:
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
        before, sure, known.unsure = known.offset, not known.unsure, True
        self.look_at(name)
        if with_checksum and known.url and sure:
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
            assert known.delivered or known.unsure, "an upload that nobody has given up is gone"
            known.forgotten()
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
        known.forgotten()

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
            if known.url and known.offset and not known.delivered:
                part = (self.folder / PARTS / known.url.rpartition("/")[2]).read_bytes()
                assert part[: known.offset] == CONTENTS[name][: known.offset]

    @invariant()
    def the_fact_is_told_when_the_file_is_whole_and_never_before(self) -> None:
        for fact in self.jobs.facts:
            assert isinstance(fact, InputDelivered)
            name = self.jobs.jobs[fact.job_id].input_file.name
            content = CONTENTS[name]
            assert (Path(fact.dir_name) / name).read_bytes() == content
            assert (fact.size, fact.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        for name, known in self.known.items():
            told = any(fact.job_id == job_of(name) for fact in self.jobs.facts)
            received = self.jobs.jobs[job_of(name)].state is State.RECEIVED
            assert told == received
            assert received or not known.delivered


def _checksum(body: bytes, good: bool) -> dict[str, str]:
    return {"Upload-Checksum": str(transfer.checksum_of("sha1", body if good else body + b"?"))}


async def _broken(body: bytes) -> AsyncIterator[bytes]:
    yield body
    raise CutOff


TestUploads = Uploads.TestCase
TestUploads.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
