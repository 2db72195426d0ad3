"""Any bytes at all to what reads the outside world first: an answer, or the error it says it raises."""

import contextlib
import io
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import ranges
from contracts.errors import AppError, BadRequest
from contracts.gojson import BadBody, decode, loads
from contracts.models import Job, Task
from contracts.printable import printable
from contracts.transfer import (
    Unsatisfiable,
    format_metadata,
    judge_creation,
    judge_patch,
    parse_checksum,
    parse_metadata,
)
from edge.file_watcher.headers import CHECKS, complete
from tests.hostile.pictures import VALID

MAGICS = [magic for magic, _ in CHECKS]
WHOLE = {kind: make() for kind, make in VALID.items()}
HEADERS = st.text(alphabet=st.characters(max_codepoint=255), max_size=80)
MOST = 200
"""So many times its length (and a little) a file may be read: directories may overlap, but are counted."""


class Counting(io.BytesIO):
    """Counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def judge(content: bytes, claimed: int, name: str) -> None:
    file = Counting(content)
    assert complete(file, claimed, name) in (True, False, None)
    assert file.count <= MOST * len(content) + 200_000


@settings(deadline=None, max_examples=200)
@given(magic=st.sampled_from([*MAGICS, b""]), body=st.binary(max_size=600), more=st.integers(0, 2**40))
def test_any_bytes_behind_a_magic_are_judged(magic: bytes, body: bytes, more: int) -> None:
    judge(magic + body, len(magic + body) + more, "a.tif")


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6),
    cut=st.floats(0, 1),
)
def test_any_bytes_changed_in_a_valid_file_are_judged(kind: str, places: list[tuple[float, bytes]], cut: float) -> None:
    content = bytearray(WHOLE[kind])
    for where, put in places:
        at = int(where * len(content))
        content[at : at + len(put)] = put
    content = content[: max(1, int(cut * len(content)))]
    judge(bytes(content), len(content), f"a.{kind}")


@settings(deadline=None, max_examples=200)
@given(
    entries=st.lists(
        st.tuples(
            st.sampled_from([256, 257, 273, 279, 324, 325, 330, 0, 65_535]),
            st.sampled_from([0, 1, 2, 3, 4, 5, 12, 13, 16, 18, 99]),
            st.sampled_from([0, 1, 2, 9, 4096, 2**16, 2**31, 2**32 - 1]),
            st.sampled_from([0, 8, 10, 22, 60, 2**31, 2**32 - 1]),
        ),
        max_size=12,
    ),
    following=st.sampled_from([0, 8, 10, 20, 2**31]),
    tail=st.binary(max_size=200),
)
def test_any_directory_of_a_tiff_is_judged(
    entries: list[tuple[int, int, int, int]], following: int, tail: bytes
) -> None:
    tags = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    content = b"II*\0" + struct.pack("<IH", 8, len(entries)) + tags + struct.pack("<I", following) + tail
    judge(content, len(content), "a.tif")


@given(HEADERS)
def test_upload_metadata_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadRequest):
        assert all(isinstance(value, str) for value in parse_metadata(text).values())


@given(st.dictionaries(st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True), st.binary(max_size=300), max_size=6))
def test_any_bytes_survive_as_upload_metadata(values: dict[str, bytes]) -> None:
    texts = {key: value.decode("utf-8", "surrogateescape") for key, value in values.items()}
    assert parse_metadata(format_metadata(texts)) == texts


@given(
    st.dictionaries(
        st.sampled_from(
            ["tus-resumable", "content-type", "content-length", "transfer-encoding"]
            + [f"upload-{word}" for word in ("length", "offset", "metadata", "checksum", "defer-length")]
        ),
        HEADERS | st.sampled_from(["1.0.0", "5", "application/offset+octet-stream", "sha1 AAAA", "-1", "9" * 40]),
    )
)
def test_any_headers_of_an_upload_are_judged(headers: dict[str, str]) -> None:
    for judged in (lambda: judge_creation(headers), lambda: judge_patch(headers, 5, 10)):
        with contextlib.suppress(AppError):
            judged()


@given(HEADERS, st.integers(0, 2**63))
def test_any_range_lies_within_the_file(text: str, size: int) -> None:
    for said in (text, f"bytes={text}"):
        with contextlib.suppress(Unsatisfiable):
            found = ranges.parse_range(said, size)
            assert found is None or 0 <= found[0] < found[1] <= size
    ranges.parse_content_range(text)
    ranges.parse_digest(text)
    with contextlib.suppress(BadRequest):
        parse_checksum(text)


@given(st.integers(-5, 50), st.integers(-5, 50), st.integers(0, 40))
def test_a_range_means_what_it_says(first: int, last: int, size: int) -> None:
    with contextlib.suppress(Unsatisfiable):
        found = ranges.parse_range(f"bytes={first}-{last}", size)
        if 0 <= first <= last:
            assert found == (first, min(last + 1, size))


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for read in (lambda: loads(body), lambda: decode(Job, body), lambda: decode(Task, body)):
        with contextlib.suppress(BadBody):
            read()


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b'"\\u0000', b"\xff" * 1000, b"-"]
)
def test_bodies_that_go_deep_or_far_are_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        decode(Job, body)


@given(st.text(alphabet=st.characters(), max_size=60))
def test_what_is_printable_once_stays_as_it_is_and_can_be_written(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert "\n" not in shown
    shown.encode()
