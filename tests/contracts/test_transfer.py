"""The rules of resumable transfer: any line, however bad, ends with exactly the file on the other side."""

import hashlib
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts import ranges, transfer
from contracts.errors import AppError, BadRequest, Conflict, Full, NotFound, Rejected, Throttled, Unavailable
from contracts.transfer import Ask, GiveUp, GoOn, Restart, Step

TUS = {"tus-resumable": "1.0.0"}
PATCH = {**TUS, "content-type": transfer.MEDIA_TYPE}


@given(
    st.dictionaries(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), st.text(st.characters(exclude_categories=["Cs"])))
)
def test_any_text_survives_the_metadata(values: dict[str, str]) -> None:
    assert transfer.parse_metadata(transfer.format_metadata(values)) == values


def test_a_name_that_is_not_utf8_survives_too() -> None:
    name = b"caf\xe9\n.tif".decode("utf-8", "surrogateescape")

    assert transfer.parse_metadata(transfer.format_metadata({"filename": name})) == {"filename": name}


@pytest.mark.parametrize("text", ["filename !!!", "a YQ==,a YQ==", "a YQ"])
def test_bad_metadata_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        transfer.parse_metadata(text)


@given(st.sampled_from(transfer.ALGORITHMS), st.binary())
def test_checksums_survive_their_header(algorithm: str, body: bytes) -> None:
    checksum = transfer.checksum_of(algorithm, body)

    assert transfer.parse_checksum(str(checksum)) == checksum


@pytest.mark.parametrize("text", ["", "sha3 YQ==", "sha1 YQ==", "sha1 ???", "sha1"])
def test_bad_checksums_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        transfer.parse_checksum(text)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": transfer.MEDIA_TYPE, "upload-offset": "0"}, 412),
        ({**PATCH, "tus-resumable": "0.2.2", "upload-offset": "0"}, 412),
        ({**TUS, "upload-offset": "0"}, 415),
        ({**PATCH, "content-type": "text/plain", "upload-offset": "0"}, 415),
        ({**PATCH, "upload-offset": "5"}, 409),
        ({**PATCH, "upload-offset": "-4"}, 400),
        (PATCH, 400),
        ({**PATCH, "upload-offset": "4", "content-length": "7"}, 413),
        ({**PATCH, "upload-offset": "4", "content-length": "x"}, 400),
        ({**PATCH, "upload-offset": "4", "upload-checksum": "crc99 AAAA"}, 400),
    ],
)
def test_a_patch_that_does_not_fit_has_its_status(headers: dict[str, str], status: int) -> None:
    with pytest.raises(AppError) as caught:
        transfer.judge_patch(headers, 4, 10)
    assert caught.value.status == status


def test_a_patch_without_a_length_is_taken() -> None:
    patch = transfer.judge_patch({**PATCH, "upload-offset": "4", "transfer-encoding": "chunked"}, 4, 10)

    assert patch == transfer.Patch(4, None, None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"upload-length": "5"}, 412),
        (TUS, 400),
        ({**TUS, "upload-defer-length": "1"}, 400),
        ({**TUS, "upload-length": "-1"}, 400),
        ({**TUS, "upload-length": "9" * 40}, 400),
        ({**TUS, "upload-length": "5", "content-length": "5"}, 415),
        ({**PATCH, "upload-length": "5", "content-length": "6"}, 413),
    ],
)
def test_a_creation_that_does_not_fit_has_its_status(headers: dict[str, str], status: int) -> None:
    with pytest.raises(AppError) as caught:
        transfer.judge_creation(headers)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("verb", "status", "headers", "step"),
    [
        ("POST", 201, {"upload-offset": "4"}, GoOn(4)),
        ("POST", 201, {}, GoOn(0)),
        ("PATCH", 204, {"upload-offset": "10"}, GoOn(10)),
        ("HEAD", 200, {"upload-offset": "7"}, GoOn(7)),
        ("PATCH", 409, {}, Ask()),
        ("PATCH", 460, {}, Ask(corrupted=True)),
        ("POST", 460, {}, Restart(corrupted=True)),
        ("HEAD", 404, {}, Restart()),
        ("PATCH", 410, {}, Restart()),
    ],
)
def test_what_the_sender_does_next(verb: str, status: int, headers: dict[str, str], step: Step) -> None:
    assert transfer.after(verb, status, headers, "", 10) == step


@pytest.mark.parametrize(
    ("verb", "status", "kind"),
    [
        ("POST", 404, NotFound),
        ("POST", 409, Conflict),
        ("PATCH", 412, Rejected),
        ("POST", 400, Rejected),
        ("PATCH", 423, Unavailable),
        ("PATCH", 408, Unavailable),
        ("PATCH", 429, Throttled),
        ("PATCH", 500, Unavailable),
        ("PATCH", 503, Unavailable),
        ("PATCH", 507, Full),
        ("HEAD", 200, Unavailable),
    ],
)
def test_when_the_sender_gives_up_the_error_says_whether_to_return(verb: str, status: int, kind: type) -> None:
    step = transfer.after(verb, status, {}, "because", 10)

    assert isinstance(step, GiveUp)
    assert type(step.error) is kind


@dataclass
class Receiver:
    """A receiver of one file that follows the rules and has no disk."""

    length: int
    sha256: str
    held: bytes = b""
    created: bool = False
    delivered: list[bytes] = field(default_factory=list)

    def request(self, verb: str, headers: dict[str, str], body: bytes, arrived: bytes) -> tuple[int, dict[str, str]]:
        """``arrived`` of the ``body`` that was announced came through."""
        headers = {**TUS, "content-type": transfer.MEDIA_TYPE, "content-length": str(len(body)), **headers}
        try:
            return self._answer(verb, headers, body, arrived)
        except AppError as error:
            return error.status, {}

    def _answer(self, verb: str, headers: dict[str, str], body: bytes, arrived: bytes) -> tuple[int, dict[str, str]]:
        if self.delivered and verb == "POST":
            return 201, {"upload-offset": str(self.length)}
        if verb == "POST":
            transfer.judge_creation(headers)
            self.created = True
            return 201, {"upload-offset": str(len(self.held))}
        if not self.created:
            raise NotFound("no upload")
        if verb == "PATCH":
            patch = transfer.judge_patch(headers, len(self.held), self.length)
            fits = patch.checksum and transfer.checksum_of(patch.checksum.algorithm, arrived) == patch.checksum
            complete = len(arrived) == len(body)
            good = transfer.kept(patch.offset, len(arrived), complete=complete, checksum_fits=fits)
            self.held = (self.held + arrived)[:good]
            if complete and fits is False:
                raise transfer.ChecksumMismatch("damaged")
            self._finish()
        return 200, {"upload-offset": str(self.length if self.delivered and not self.created else len(self.held))}

    def _finish(self) -> None:
        if len(self.held) < self.length:
            return
        content, self.held, self.created = self.held, b"", False
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise transfer.ChecksumMismatch("the whole is damaged")
        self.delivered.append(content)


FAULTS = st.sampled_from(["none", "cut", "lost answer", "flip", "twice", "again"])


@dataclass
class Line:
    """What carries requests to the receiver; each takes the next fault, and in the end all is well."""

    receiver: Receiver
    faults: list[tuple[str, int]]
    past: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    sent: int = 0
    struck: int = 0

    def carry(self, verb: str, headers: dict[str, str], body: bytes) -> Step:
        fault, where = self.faults.pop(0) if self.faults else ("none", 0)
        self.sent += len(body)
        self.struck += fault != "none"
        if fault == "again" and self.past:
            old = self.past[where % len(self.past)]
            self.receiver.request(*old, old[2])
        arrived = _harmed(body, fault, where)
        status, answer = self.receiver.request(verb, headers, body, arrived)
        if fault == "twice":
            self.receiver.request(verb, headers, body, arrived)
        self.past.append((verb, headers, body))
        if fault in ("cut", "lost answer"):
            return Ask() if verb != "POST" else Restart()
        return transfer.after(verb, status, answer, "", self.receiver.length)


def _harmed(body: bytes, fault: str, where: int) -> bytes:
    if fault == "cut":
        return body[: where % (len(body) + 1)]
    if fault == "flip" and body:
        at = where % len(body)
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    return body


def _step(line: Line, step: Step, content: bytes, chunk: int, checked: bool) -> Step:
    match step:
        case GoOn(offset):
            body = content[offset : offset + chunk]
            headers = {"upload-offset": str(offset)}
            if checked:
                headers["upload-checksum"] = str(transfer.checksum_of("crc32", body))
            return line.carry("PATCH", headers, body)
        case Ask():
            return line.carry("HEAD", {}, b"")
        case Restart():
            return line.carry("POST", {"upload-length": str(len(content))}, b"")
        case GiveUp(error):
            raise error


@settings(max_examples=300)
@example(content=bytes(400), chunk=16, faults=[("none", 0), ("flip", 3)], checked=True)
@example(content=bytes(400), chunk=16, faults=[("none", 0), ("cut", 3), ("again", 1), ("twice", 0)], checked=True)
@given(
    content=st.binary(max_size=400),
    chunk=st.integers(1, 64),
    faults=st.lists(st.tuples(FAULTS, st.integers(0, 10**6)), max_size=25),
    checked=st.booleans(),
)
def test_however_bad_the_line_exactly_the_file_arrives(
    content: bytes, chunk: int, faults: list[tuple[str, int]], checked: bool
) -> None:
    receiver = Receiver(len(content), hashlib.sha256(content).hexdigest())
    line = Line(receiver, list(faults))
    step: Step = Restart()
    for _ in range(40 + 3 * len(faults) + (len(faults) + 2) * (len(content) // chunk + 3)):
        if step == GoOn(len(content)) and receiver.delivered:
            break
        step = _step(line, step, content, chunk, checked)

    assert set(receiver.delivered) == {content}
    if checked:
        assert line.sent <= len(content) + line.struck * chunk


@given(st.integers(1, transfer.CHUNK))
def test_chunks_shrink_to_a_bound(chunk: int) -> None:
    assert min(chunk, transfer.LEAST_CHUNK) <= transfer.smaller(chunk) <= chunk


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("Bytes = 1-1", (1, 2)),
        ("bytes=3-1", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-3", None),
        ("bytes=-", None),
    ],
)
def test_ranges(text: str, found: tuple[int, int] | None) -> None:
    assert ranges.parse_range(text, 10) == found


@pytest.mark.parametrize(("text", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-0", 0), ("bytes=-5", 0)])
def test_a_range_without_a_byte_in_it(text: str, size: int) -> None:
    with pytest.raises(transfer.Unsatisfiable):
        ranges.parse_range(text, size)


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(0, 10**12))
def test_content_ranges_survive_their_header(start: int, length: int, rest: int) -> None:
    stop, size = start + length, start + length + rest

    assert ranges.parse_content_range(ranges.format_content_range(start, stop, size)) == (start, stop, size)


@pytest.mark.parametrize("text", ["", "bytes */5", "bytes 5-3/9", "bytes 0-9/5", "bytes 0-1"])
def test_bad_content_ranges_say_nothing(text: str) -> None:
    assert ranges.parse_content_range(text) is None


@given(st.binary(min_size=32, max_size=32))
def test_digests_survive_their_header(digest: bytes) -> None:
    assert ranges.parse_digest("sha-512=:AAAA:, " + ranges.format_digest(digest.hex())) == digest.hex()


@pytest.mark.parametrize("text", ["", "sha-256=:AAAA:", "sha-256=:A:", "md5=:AAAA:"])
def test_what_is_no_digest_says_nothing(text: str) -> None:
    assert ranges.parse_digest(text) == ""
