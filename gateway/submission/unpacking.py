"""Unpacks archives one after the other, entry by entry; what is wrong with one entry is told and hinders no other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from zipfile import ZipFile, ZipInfo

from contracts.batches import Batches, Entry, What
from contracts.desk import Desk
from contracts.errors import BadRequest, NotFound
from contracts.transfer import TooLong
from gateway.file_receiver.admission import Admission
from gateway.file_receiver.uploads import Uploads
from gateway.submission.archives import opened, unpacked
from gateway.submission.rules import Limits, Refused, check_entry
from gateway.submission.spool import Spool, Submitted
from gateway.submission.submitting import Submitting
from gateway.threads import finished

TOLD_EVERY = 50
"""Entries after which it is told how far it is."""


class Unpacking:
    """What is unpacked lies on the disk until it is done, so a restart goes on: entries that are jobs already stay
    those jobs."""

    def __init__(
        self,
        submitting: Submitting,
        batches: Batches,
        spool: Spool,
        uploads: Uploads,
        admission: Admission,
        limits: Limits,
    ) -> None:
        self._submitting, self._batches, self._spool, self._uploads = submitting, batches, spool, uploads
        self._admission, self._limits = admission, limits
        self._waiting: dict[str, int] = {}
        """By upload: how many of the entries are dealt with."""
        self._refused: dict[str, int] = {}
        self._stopping = False
        self.desk = Desk("unpack", self._look, self._unpack, lambda name: name, slots=1, every=60.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Unpacks while the context is open."""
        for name in await asyncio.to_thread(self._spool.archives):
            self._waiting.setdefault(name, 0)
        self._stopping = False
        async with self.desk.running():
            try:
                yield
            finally:
                self._stopping = True

    def knows(self, name: str) -> bool:
        """Whether it waits for its turn already."""
        return name in self._waiting

    def add(self, name: str) -> None:
        """An archive is whole."""
        self._waiting.setdefault(name, 0)
        self.desk.wake()

    async def _look(self, free: int) -> Sequence[str]:
        return () if self._stopping else list(self._waiting)[:free]

    async def _unpack(self, name: str) -> None:
        try:
            part = await asyncio.to_thread(self._spool.load, name)
        except NotFound:
            self._forget(name)  # it was given up
            return
        upload = part.upload
        assert isinstance(upload, Submitted)
        try:
            with ExitStack() as stack:
                archive, infos = await asyncio.to_thread(stack.enter_context, opened(part.path, self._limits))
                for info in infos[self._waiting[name] :]:
                    if self._stopping:
                        return
                    await self._one(upload, archive, info, len(infos))
            refused = self._refused.get(name, 0)
            said = f"{len(infos) - refused} of {len(infos)} files are images and became jobs"
            entry = Entry(name=upload.path, what=What.UNPACKED, said=said)
        except Refused as refusal:
            entry = Entry(name=upload.path, what=What.REFUSED, said=str(refusal))
        await self._batches.tell(upload.job_id, [entry])
        await finished(asyncio.to_thread(self._spool.mark, part))
        await self._uploads.forget(part)
        self._forget(name)

    def _forget(self, name: str) -> None:
        self._waiting.pop(name, None)
        self._refused.pop(name, None)

    async def _one(self, upload: Submitted, archive: ZipFile, info: ZipInfo, of: int) -> None:
        """Raises ``Unavailable`` where there is no room for it now; then it goes on from here later."""
        try:
            folder, name = check_entry(info)
            await self._admission.begin(info.file_size, self._uploads.promised())
            found = await finished(asyncio.to_thread(unpacked, archive, info, self._spool.parts))
            try:
                await self._submitting.submit(upload, folder, name, found.path, found.sha256, found.size, as_well=False)
            finally:
                await asyncio.to_thread(found.path.unlink, missing_ok=True)
        except (BadRequest, TooLong) as refusal:
            shown = f"{upload.path}/{info.filename}".encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:2000]
            await self._batches.tell(upload.job_id, [Entry(name=shown, said=str(refusal))])
            self._refused[upload.id] = self._refused.get(upload.id, 0) + 1
        self._waiting[upload.id] += 1
        if self._waiting[upload.id] % TOLD_EVERY == 0:
            far = Entry(name=upload.path, what=What.UNPACKING, said=f"{self._waiting[upload.id]} / {of}")
            await self._batches.tell(upload.job_id, [far])
