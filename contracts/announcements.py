"""What the job repository tells everybody of a job that came into a new state: an EdgeX event on an EdgeX topic."""

import uuid

from contracts import edgex
from contracts.events import Message, jobs_in
from contracts.models import Job

LONGEST_RESULT = 4096
"""Characters of a job's results that travel in an announcement; longer ones are fetched from the job."""


def announcement(job: Job, *, raw_payload: bool = False) -> Message:
    """The message about a job as it is now. Times are texts: EdgeX would round such whole numbers.

    ``raw_payload`` is EdgeX v4's own form, as ``EDGEX_MSG_BASE64_PAYLOAD=false`` makes it there.
    """
    details, file = job.pipeline_details, job.input_file
    host = job.origin_host or "unknown"
    event = edgex.object_event(
        {
            "Id": job.id,
            "State": str(job.state),
            "Owner": job.owner,
            "Status": job.status,
            "Reason": job.reason,
            "OriginHost": job.origin_host,
            "OriginDir": job.origin_dir,
            "Name": file.name,
            "Sha256": file.sha256,
            "TaskId": details.task_id,
            "PipelineId": details.pipeline_id,
            "PipelineStatus": details.status,
            "QCFlags": details.qc_flags,
            "Results": details.results if len(details.results) <= LONGEST_RESULT else "",
            "LastUpdated": str(job.last_updated),
        },
        device=host,
        profile="Job",
        source=str(job.state),
        resource="Job",
        event_id=str(uuid.uuid4()),
        reading_id=str(uuid.uuid4()),
        origin=max(job.last_updated, 1),
    )
    packed = edgex.pack(event, correlation_id=job.id, raw_payload=raw_payload)
    return Message(topic=jobs_in(job.state, host), payload=packed.decode())
