"""The file watcher on real files, with real writers."""

import asyncio
import os
import random
import struct
import time
import zlib
from contextlib import asynccontextmanager

from edge.file_watcher.service import FileWatcher
from edge.file_watcher.settings import WatchSettings
from edge.journal import FileState
from tests.support.waiting import eventually

QUICK = {"settle_seconds": 0.3, "quick_seconds": 0.05, "recheck_seconds": 0.1, "poll_seconds": 0.1}


def png(width=8, height=8) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + random.Random(y).randbytes(width) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@asynccontextmanager
async def watching(journal, inbox, **changes):
    watcher = FileWatcher(WatchSettings(folders=(inbox,), **(QUICK | changes)), journal, time.time_ns)
    async with watcher.running():
        await eventually(lambda: watcher.rescans)
        yield watcher


async def names(journal, state=FileState.FOUND) -> list[str]:
    return sorted(f"{row.folder}/{row.name}".lstrip("/") for row in await journal.page(state, 100_000))


async def found(journal, *expected: str, seconds: float = 10) -> None:
    async def all_there() -> bool:
        return await names(journal) == sorted(expected)

    await eventually(all_there, seconds)


async def test_a_file_renamed_into_place_is_taken_within_a_moment(journal, inbox):
    async with watching(journal, inbox):
        (inbox / "a.part").write_bytes(png())
        started = time.monotonic()
        os.rename(inbox / "a.part", inbox / "a.png")
        await found(journal, "a.png")
        assert time.monotonic() - started < 0.5


async def test_a_file_that_was_there_before_the_start_is_taken(journal, inbox):
    (inbox / "deep" / "er").mkdir(parents=True)
    (inbox / "deep" / "er" / "a.png").write_bytes(png())
    async with watching(journal, inbox):
        await found(journal, "deep/er/a.png")


async def test_files_in_a_tree_made_at_once_are_taken(journal, inbox):
    async with watching(journal, inbox):
        (inbox / "x" / "y" / "z").mkdir(parents=True)
        (inbox / "x" / "y" / "z" / "a.png").write_bytes(png())
        (inbox / "x" / "b.png").write_bytes(png())
        await found(journal, "x/b.png", "x/y/z/a.png")


async def test_a_burst_of_a_thousand_files(journal, inbox):
    content = png()
    async with watching(journal, inbox):
        for number in range(1000):
            (inbox / f"{number}.png").write_bytes(content)
        await found(journal, *(f"{number}.png" for number in range(1000)))


async def test_with_all_events_lost_the_rescan_finds_everything(journal, inbox):
    async with watching(journal, inbox, rescan_seconds=0.2) as watcher:
        await asyncio.to_thread(watcher.hints.unwatch, str(inbox))
        (inbox / "sub").mkdir()
        for number in range(20):
            (inbox / "sub" / f"{number}.png").write_bytes(png())
        await found(journal, *(f"sub/{number}.png" for number in range(20)))
