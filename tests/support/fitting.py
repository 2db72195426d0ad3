"""Requests that fit what a laboratory holds, for operations that chance seldom answers well."""

from typing import Any

from tests.support.laboratory import CONTENT, Laboratory


def fitted(laboratory: Laboratory) -> dict[str, set[int]]:
    """Statuses by operation; to be asked of a laboratory before chance has changed it."""
    lab, seen = laboratory.instance, dict[str, set[int]]()

    def ask(verb: str, service: str, path: str, **values: Any) -> None:
        options = {"json": values.pop("json")} if "json" in values else {"content": values.pop("content", "")}
        answer = lab.ask(verb, service, path.format(**values), **options)
        seen.setdefault(f"{verb} {path}", set()).add(answer.status_code)

    foreign = lab.add_task("foreign/pipeline", '{"in": ["foreign-fit", {"var": "InputFile.Name"}]}')
    another = lab.add_task("only-file", '{"in": ["never", {"var": "InputFile.Name"}]}')
    for name in ("mine-fit.tif", "foreign-fit.tif"):
        lab.drop(name, CONTENT + name.encode())
    lab.wait_for(lambda: lab.counts().get("complete") == 3 and lab.counts().get("running") == 2, 60, "no jobs to fit")
    (done,) = (job["Id"] for job in lab.jobs(name="mine-fit"))
    (running,) = (job for job in lab.jobs(name="foreign-fit"))
    task = running["PipelineDetails"]["TaskId"]
    assert task != foreign, "the first task that wants a file has it"

    ask("PUT", "job-repository", "/api/v1/job/{job_id}/review", job_id=done, json={"Verification": 1})
    ask("POST", "file-sender-gateway", "/api/v1/reject/{job_id}", job_id=done)
    ask("DELETE", "file-sender-gateway", "/api/v1/reject/{job_id}", job_id=done)
    ask("POST", "task-launcher", "/api/v1/job/{job_id}/rerun", job_id=done, json={"Task": another})
    result = {"Status": "PipelineComplete", "Results": "", "QCFlags": "", "OutputFiles": []}
    about = {"job_id": running["Id"], "task_id": task}
    ask("PUT", "job-repository", "/api/v1/job/pipeline/{job_id}/{task_id}", **about, json=result)
    status = "/api/v1/pipelineStatus/{job_id}/{task_id}"
    ask("POST", "task-launcher", status, **about, content="PipelineComplete")
    waiting, _ = laboratory.waiting()
    for action in ("cancel", "release"):
        ask("POST", "job-repository", f"/api/v1/job/{{job_id}}/{action}", job_id=waiting, json={})
    cell = {"Number": 1, "Class": "fit", "Vector": [0.6, 0.8]}
    ask("POST", "cell-index", "/api/v1/cells", json={"Model": "fit/1", "Job": done, "Cells": [cell]})
    about = lab.ask("GET", "cell-index", "/api/v1/cells/similar?vector=AACAPwAAgD8&model=fit/1").json()
    (made,) = (str(one["Id"]) for one in about["Cells"])
    ask("GET", "cell-index", "/api/v1/cells/{cell}", cell=made)
    seen["GET /api/v1/cells/similar"] = {200}
    ask("POST", "cell-index", "/api/v1/cells/delete", json={"Ids": [2**40]})
    ask("GET", "cell-index", "/api/v1/map/crops?ids=7")
    seen["GET /api/v1/map/crops"] = seen.pop("GET /api/v1/map/crops?ids=7")
    ask("POST", "cell-index", "/api/v1/map/selection", json={})
    ask("POST", "cell-index", "/api/v1/map/export", json={})
    ask("POST", "cell-index", "/api/v1/map/gates", json={"Name": "fit", "Rule": {"Classes": ["fit"]}})
    gate = lab.ask("GET", "cell-index", "/api/v1/map/gates").json()[0]["Id"]
    ask("GET", "cell-index", "/api/v1/map/gates/{gate}/decisions", gate=gate)
    ask("DELETE", "cell-index", "/api/v1/map/gates/{gate}", gate=gate)
    return seen
