"""A running cytobus with something in it, and the values by which it can be found."""

import hashlib

from contracts import transfer
from tests.support.instance import Instance

CONTENT = b"0123456789"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Laboratory:
    """A cytobus with something of everything: jobs that wait, run and are done, unfinished uploads, tasks."""

    def __init__(self, instance: Instance, hostname: str = "old", word: str = "") -> None:
        """``hostname``: the instrument that sends; ``word``: by which it is known, where that is asked."""
        self.instance, self.hostname = instance, hostname
        self.sender = {"Authorization": f"Bearer {word}"} if word else {}
        self.made = 0
        self.fitted: dict[str, set[int]] = {}
        """Statuses of operations that were asked what fits."""
        self._batch = ""

    def fill(self) -> None:
        """Tasks, two finished jobs and one that a foreign pipeline has in hand."""
        lab = self.instance
        lab.add_task("foreign/pipeline", '{"in": ["foreign", {"var": "InputFile.Name"}]}')
        lab.add_task("only-file", '{"in": ["mine", {"var": "InputFile.Name"}]}')
        for name in ("mine-1.tif", "mine-2.tif", "foreign.tif"):
            lab.drop(name, CONTENT + name.encode())
        lab.wait_for(
            lambda: self._counts() == {"complete": 2, "running": 1}, 60, "the jobs are not where they should be"
        )

    def _counts(self) -> dict[str, int]:
        return {state: n for state, n in self.instance.counts().items() if n}

    def waiting(self, name: str = "") -> tuple[str, str]:
        """A new job whose file is yet to come; its id and its file's name."""
        self.made += 1
        name = name or f"waiting-{self.made}.tif"
        file = {"Hostname": self.hostname, "DirName": "/lab/input/", "Name": name, "Extension": ".tif"}
        answer = self.instance.ask("POST", "job-repository", "/api/v1/job", json={"InputFile": file})
        assert answer.status_code == 201, answer.text
        return answer.text, name

    def batch(self) -> str:
        """The id of one with a job and an unfinished submission."""
        if not self._batch:
            answer = self.instance.ask("POST", "job-repository", "/api/v1/batches", json={"Name": "fuzz"})
            assert answer.status_code == 201, answer.text
            self._batch = str(answer.json()["Id"])
            self.submission("mine-3.tif", len(CONTENT))
        return self._batch

    def submission(self, name: str, length: int = 4) -> str:
        """A submission of which so many bytes are there; its id."""
        metadata = transfer.format_metadata({"batch": self.batch(), "filename": name})
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Metadata": metadata}
        headers |= {"Content-Type": transfer.MEDIA_TYPE}
        answer = self.instance.ask(
            "POST", "file-receiver-gateway", "/api/v1/submissions", headers=headers, content=CONTENT[:length]
        )
        assert answer.status_code == 201, answer.text
        return str(answer.headers["location"].rpartition("/")[2])

    def upload(self, job_id: str, length: int = 4, name: str = "") -> tuple[str, str]:
        """An upload of which so many bytes are there; its metadata (with a name, a submission's too) and its id."""
        told = {"jobid": job_id, "sha256": DIGEST, **({"filename": name, "batch": self.batch()} if name else {})}
        metadata = transfer.format_metadata(told)
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Metadata": metadata}
        headers |= {"Content-Type": transfer.MEDIA_TYPE, **self.sender}
        answer = self.instance.ask(
            "POST", "file-receiver-gateway", "/api/v1/files", headers=headers, content=CONTENT[:length]
        )
        assert answer.status_code == 201, answer.text
        return metadata, answer.headers["location"].rpartition("/")[2]

    def task_of(self) -> dict[str, str]:
        """By job."""
        return {job["Id"]: job["PipelineDetails"]["TaskId"] for job in self.instance.jobs()}

    def known(self, service: str) -> dict[str, list[str]]:
        """Values worth trying now, those that this service can do something with before others."""
        waiting = [self.waiting() for _ in range(8)]
        uploads = [self.upload(job_id, name=name) for job_id, name in waiting]
        mine = [job for job in self.instance.jobs() if not job["Batch"]]
        launched = [job["Id"] for job in mine if job["PipelineDetails"]["TaskId"]]
        tasks = [task["Id"] for task in self.instance.ask("GET", "task-launcher", "/api/v1/task").json()]
        ids = [job_id for job_id, _ in waiting]
        done = [job["Id"] for job in self.instance.jobs() if job["PipelineDetails"]["OutputFiles"]]
        jobs = done if service == "file-sender-gateway" else launched * 3 + ids
        return {
            "path.job_id": jobs,
            "path.task_id": tasks,
            "path.upload": [upload for _, upload in uploads],
            "path.submission": [self.submission(name) for _, name in waiting],
            "path.batch": [self.batch()],
            "query.batch": [self.batch()] if service == "file-sender-gateway" else [],  # in listings it narrows all
            "path.place": ["0"],
            "path.topic": ["only-file"],
            "header.Upload-Metadata": [metadata for metadata, _ in uploads],
            "header.Upload-Length": ["10"],
            "header.Upload-Offset": ["4"],
            "header.jobid": ids,
            "header.filename": [name for _, name in waiting],
            "header.Range": ["bytes=0-3", "bytes=4-", "bytes=-2", "bytes=9999-"],
            "body.Id": [*launched, *ids, *tasks * 4],
            "body.Task": tasks,
            "body.InputFile.DirName": [str(self.instance.input), f"{self.instance.input}/"],
            "body.InputFile.Name": ["mine-1.tif", "foreign.tif"],
            "body.InputFile.Hostname": ["oem"],
            "body.JobSelector": ["true", '{"in": ["x", {"var": "InputFile.Name"}]}'],
        }
