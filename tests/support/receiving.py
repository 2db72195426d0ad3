"""A file receiver in a process of its own: receiving.py FOLDER NAME JOB... (its jobs all await a file of that name)."""

import asyncio
import sys
from pathlib import Path

from contracts.models import InputFile, Job, State
from gateway.file_receiver.service import FileReceiver
from tests.support.jobs import FakeJobs
from tests.support.serving import listening


async def main(folder: str, name: str, *ids: str) -> None:
    jobs = [Job(id=job_id, state=State.SENDING, input_file=InputFile(name=name)) for job_id in ids]
    async with listening(FileReceiver(FakeJobs(*jobs), Path(folder), "gateway")) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
