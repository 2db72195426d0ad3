"""What is said on the bus to programs that only know the contract: orders for pipelines, results, finished jobs."""

import uuid
from dataclasses import dataclass
from typing import Any

from contracts import edgex, gojson
from contracts.events import Message, PipelineRequested
from contracts.models import Job
from contracts.ports import Clock
from contracts.topics import JOBS, PARAMS, RESULTS
from gateway.task_launcher.rules import Addresses, params_for


@dataclass(frozen=True)
class Wording:
    """In which of EdgeX's forms orders go out: AiCSD's own, which its pipelines know, or the one that every EdgeX
    from 2.3 to 4 and its Python SDK understand; ``raw_payload`` is v4's form of the latter."""

    style: edgex.Style = edgex.Style.AICSD
    raw_payload: bool = False


class Messages:
    """Makes messages; the correlation id of each is its job's id."""

    def __init__(self, to: Addresses, clock: Clock, wording: Wording) -> None:
        self._to, self._clock, self._wording = to, clock, wording

    def order(self, job: Job, request: PipelineRequested) -> Message:
        """The order to a pipeline; for OpenVINO Model Server's clients on the topic that is exported to MQTT."""
        params, pipeline = params_for(job, request, self._to), request.pipeline_id
        document = params.model_dump(by_alias=True)
        if "ovms/" in pipeline:
            return self._bare(PARAMS, job, gojson.dumps(document), edgex.JSON)
        tags: dict[str, Any] = {"jobId": job.id, "taskId": request.task_id, "pipeline": pipeline}
        event = edgex.launch_event(document, event_id=_id(), reading_id=_id(), origin=self._clock(), tags=tags)
        return self._event(pipeline, job, event)

    def results(self, job: Job) -> Message:
        """The text that the contract's exporter repeats."""
        file = job.input_file
        path = f"{file.dir_name.rstrip('/')}/{file.name}"
        text = edgex.inference_text(file.hostname, path, job.pipeline_details.results)
        return self._bare(RESULTS, job, text, edgex.TEXT)

    def outputs_ready(self, job: Job) -> Message:
        """The contract's word to the instrument's side that outputs can be fetched."""
        document = job.model_dump(mode="json", by_alias=True)
        event = edgex.jobs_event(document, event_id=_id(), reading_id=_id(), origin=self._clock())
        return self._event(JOBS, job, event)

    def _event(self, topic: str, job: Job, event: edgex.Event) -> Message:
        style, raw = self._wording.style, self._wording.raw_payload
        packed = edgex.pack(event, style=style, correlation_id=job.id, raw_payload=raw)
        return Message(topic=topic, payload=packed.decode())

    def _bare(self, topic: str, job: Job, body: bytes, content_type: str) -> Message:
        style = self._wording.style
        packed = edgex.pack_payload(body, content_type=content_type, correlation_id=job.id, style=style)
        return Message(topic=topic, payload=packed.decode())


def _id() -> str:
    return str(uuid.uuid4())
