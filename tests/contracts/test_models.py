"""The contract's JSON: read for ever, written back unchanged, our own fields aside."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from contracts.gojson import decode, dumps
from contracts.models import Job, Model, PipelineDetails, PipelineParams, State, Task

GOLDEN = Path(__file__).parent / "golden"
OURS = {
    "Job": {
        "State", "Reason", "OriginHost", "OriginDir", "Created", "Attempts", "Failures", "NotBefore", "LeaseHolder",
        "LeaseUntil", "HeldState", "Previewed", "Spared", "AppliedTask", "AppliedVersion", "Begun", "Earlier", "Files",
        "Batch",
    },
    "InputFile": {"Sha256", "Size"},
    "OutputFiles": {"Sha256", "Size"},
    "PipelineDetails": {"PipelineId", "OutputFolder", "Parameters", "TaskVersion", "Launch"},
    "Task": {"Order", "Disabled"},
}  # fmt: skip
CASES = [("job.json", Job), ("job_with_outputs.json", Job), ("task.json", Task)]


def contracted(value: object, place: str) -> object:
    """What of a document the contract knows."""
    if isinstance(value, list):
        return [contracted(item, place) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: contracted(item, name) for name, item in value.items() if name not in OURS.get(place, ())}


@pytest.mark.parametrize(("name", "model"), CASES)
def test_the_contracts_documents_are_read_and_written_back_as_they_were(name, model):
    text = (GOLDEN / name).read_bytes()
    for value in (decode(model, text), model.model_validate_json(text)):
        assert contracted(json.loads(dumps(value)), model.__name__) == json.loads(text)
        again = model.model_validate_json(value.model_dump_json(by_alias=True))
        assert again == value


def test_the_contracts_fields_come_first_and_in_its_order():
    text = (GOLDEN / "job_with_outputs.json").read_bytes()
    written, sample = json.loads(dumps(decode(Job, text))), json.loads(text)
    assert list(written)[: len(sample)] == list(sample)
    for part in ("InputFile", "PipelineDetails"):
        assert list(written[part])[: len(sample[part])] == list(sample[part])
    outputs = (written["PipelineDetails"]["OutputFiles"], sample["PipelineDetails"]["OutputFiles"])
    assert list(outputs[0][0])[:8] == list(outputs[1][0])


@pytest.mark.parametrize(("sent", "kept"), [("null", None), ("[]", [])])
def test_no_outputs_and_an_empty_list_of_them_are_two_things(sent, kept):
    details = decode(PipelineDetails, f'{{"OutputFiles": {sent}}}'.encode())
    assert json.loads(dumps(details))["OutputFiles"] == kept
    assert json.loads(dumps(decode(PipelineDetails, b"{}")))["OutputFiles"] is None


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 1795212693520638770, -1])
def test_times_beyond_what_a_float_can_hold_stay_whole(number):
    job = decode(Job, f'{{"LastUpdated": {number}}}'.encode())
    assert job.last_updated == number
    assert f'"LastUpdated":{number},'.encode() in dumps(job)
    assert Job.model_validate_json(job.model_dump_json(by_alias=True)).last_updated == number


def test_missing_texts_are_empty_and_never_left_out():
    written = json.loads(dumps(Job()))
    assert (written["Owner"], written["InputFile"]["Name"], written["PipelineDetails"]["Results"]) == ("", "", "")
    assert written["ErrorDetails"] == {"Owner": "", "Error": ""}
    assert written["InputFile"]["Attributes"] is None
    assert json.loads(dumps(Task()))["ModelParameters"] is None


def test_null_texts_are_empty_as_in_go():
    assert Job.model_validate_json('{"Owner": null, "InputFile": {"Name": null}}') == Job()


@pytest.mark.parametrize("body", [
    '{"Verification": "1"}', '{"LastUpdated": 1.5}', '{"Owner": 5}', '{"InputFile": {"Attributes": {"row": 8}}}',
    '{"PipelineDetails": {"OutputFiles": {}}}', '{"State": "somewhere"}',
])  # fmt: skip
def test_values_of_a_wrong_type_are_refused(body):
    with pytest.raises(ValidationError):
        Job.model_validate_json(body)


def test_a_pipeline_is_told_exactly_five_things():
    params = PipelineParams(
        input_file_location="/a", output_file_folder="/b", model_params={}, job_update_url="u", pipeline_status_url="v"
    )
    assert list(params.model_dump(by_alias=True)) == [
        "InputFileLocation", "OutputFileFolder", "ModelParams", "JobUpdateUrl", "PipelineStatusUrl",
    ]  # fmt: skip


def test_nouns_are_frozen_and_changed_by_copying():
    job = Job(id="a")
    with pytest.raises(ValidationError):
        job.id = "b"
    assert (job.evolve(state=State.COMPLETE).state, job.state) == (State.COMPLETE, State.CREATED)
    assert issubclass(Job, Model)
