"""Where models run, as the settings say it."""

import pytest

from pipelines.backends.address import Address, parsed
from pipelines.backends.errors import BadAddress
from pipelines.backends.factory import CHOSEN, chosen, patience


def test_a_place_is_a_scheme_a_host_a_port_and_options() -> None:
    assert parsed("openvino") == Address("openvino")
    assert parsed("kserve+grpc://triton.lab:8001?timeout=2.5&shm=off") == Address(
        "kserve+grpc", "triton.lab", 8001, {"timeout": "2.5", "shm": "off"}
    )
    assert parsed("ovms://[::1]:9000").host == "::1"
    assert str(parsed("kserve+http://h:1?version=3")) == "kserve+http://h:1"
    asked = patience(parsed("kserve+grpc://h:1?timeout=2.5&retries=0"))
    assert parsed("kserve+grpc://h:1?batch=8").count("batch", 1) == 8
    assert parsed("kserve+grpc://h:1").count("at_once", 4) == 4
    assert (asked.place, asked.deadline, asked.retries) == ("kserve+grpc://h:1", 2.5, 0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "none of openvino"),
        ("triton://h:1", "kserve"),
        ("kserve+grpc://h", "host and port"),
        ("kserve+grpc://h:99999", "range"),
        ("kserve+grpc://:8001", "host and port"),
        ("kserve+grpc://h:1/v2/models", "options follow"),
        ("kserve+grpc://me:secret@h:1", "says more"),
        ("openvino://gpu", "options follow"),
        ("openvino?device", "device"),
        ("openvino?shm=on", "'shm' is none of"),
        ("ovms://h:1?shm=on", "'shm' is none of"),
        ("kserve+grpc://h:1?timeout=soon", "number"),
        ("kserve+grpc://h:1?timeout=0", "number"),
        ("kserve+grpc://h:1?retries=nan", "number"),
        ("kserve+grpc://h:1?at_once=0", "from 1 on"),
        ("kserve+grpc://h:1?batch=2.5", "whole number"),
        ("openvino?batch=9999", "whole number, 1 to|1 to 1024"),
        ("openvino?hint=fast", "latency, throughput"),
        ("openvino?precision=int8", "auto, f32, bf16"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_what_would_be_right(text: str, named: str) -> None:
    with pytest.raises(BadAddress, match=named):
        parsed(text)


def test_a_pipeline_that_is_not_named_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHOSEN, raising=False)
    assert chosen("nuclei") == Address("openvino")

    monkeypatch.setenv(CHOSEN, '{"nuclei": "ovms://h:9000"}')
    assert chosen("nuclei") == Address("ovms", "h", 9000)
    assert chosen("cells") == Address("openvino")
