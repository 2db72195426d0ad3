"""What is installed is found, and what is broken is told without breaking the rest."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pipelines.plugin import ENTRY_POINTS, Pipeline
from pipelines.registry import NotInstalled, installed, load, look, make


def point(topic: str, plugin: str) -> EntryPoint:
    return EntryPoint(topic, plugin, ENTRY_POINTS)


GOOD = point("only-file", "pipelines.simulators:OnlyFile")


@pytest.fixture(autouse=True)
def _rogues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)


def test_a_plug_in_is_described_in_its_own_words() -> None:
    found = look([GOOD])["only-file"]

    assert (found.plugin, found.name, found.error) == ("pipelines.simulators:OnlyFile", "OnlyFile", "")
    assert found.description
    assert found.parameters == {}


@pytest.mark.parametrize(
    ("plugin", "error"),
    [
        ("no_such_module:X", "ModuleNotFoundError"),
        ("pipelines.simulators:Absent", "AttributeError"),
        ("rogues:Unmakable", "RuntimeError: no licence found"),
        ("pathlib:Path", "is not a pipeline"),
        ("rogues:Nothing", "calls its topic 'rogue'"),
        ("not a reference", "Error"),
    ],
)
def test_a_broken_plug_in_is_told_and_breaks_no_other(plugin: str, error: str) -> None:
    found = look([point("broken", plugin), GOOD])

    assert error in found["broken"].error
    assert found["only-file"].error == ""


def test_a_topic_offered_by_two_packages_is_refused_whatever_their_order() -> None:
    other = point("only-file", "rogues:Nothing")

    assert look([GOOD, other]) == look([other, GOOD])
    assert "uninstall one" in look([GOOD, other])["only-file"].error
    assert look([GOOD, GOOD])["only-file"].error == ""


def test_everything_installed_works_and_can_be_loaded() -> None:
    for topic, plugin in installed().items():
        assert plugin.error == ""
        assert isinstance(load(topic), Pipeline)


def test_a_topic_without_plug_in_is_refused_by_name() -> None:
    with pytest.raises(NotInstalled, match="'nope'"):
        load("nope")


def test_every_instance_is_a_new_one() -> None:
    assert make(GOOD.value) is not make(GOOD.value)


def test_what_is_not_asked_for_is_not_imported() -> None:
    code = "import sys; from pipelines.registry import installed; assert [*installed('only-file')] == ['only-file']"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; assert 'pipelines.nuclei' not in sys.modules"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
