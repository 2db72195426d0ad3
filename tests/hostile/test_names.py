"""Hostile names through the rules, without a running system."""

from pathlib import Path

import pytest

from compose.operate import said
from contracts.disk import bare_name, barred, inside
from contracts.errors import BadRequest
from contracts.models import InputFile, OutputFile
from contracts.printable import printable
from edge.file_receiver.rules import names_for, safe_folder, sub_folder_of
from gateway.file_receiver.rules import folder_in, folder_of
from gateway.file_sender.rules import archive_name, preview_name
from gateway.files import GatewayFiles, output_path
from tests.hostile.names import ALL, JOB, NAMES, can_exist

BARRED_ON_WINDOWS = [*NAMES["devices"], *NAMES["endings"], *NAMES["streams"], *NAMES["globs"]]
FINE_ON_WINDOWS = {
    "CLOCK$",
    "CONSOLE.tif",
    "\u00a0",
    "a.tif\u3000",
    "[a-z].tif",
    "[!a].tif",
    "{a,b}.tif",
    "[]",
    "[.tif",
}


def test_there_are_enough_of_them() -> None:
    assert len(set(ALL)) >= 200


@pytest.mark.parametrize("windows", [False, True])
def test_what_is_no_bare_name_is_refused_and_the_reason_shows_it_without_control_characters(windows: bool) -> None:
    for name in ALL:
        reason = barred(name, windows=windows)
        assert bool(reason) >= (not can_exist(name)), name
        assert reason == printable(reason)
        assert len(reason) < 400


def test_any_other_name_is_a_file_here(tmp_path: Path) -> None:
    for name in filter(lambda name: not barred(name, windows=False), set(ALL)):
        (tmp_path / name).write_bytes(b"")
        assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", [name for name in BARRED_ON_WINDOWS if name not in FINE_ON_WINDOWS])
def test_windows_has_no_such_file_and_the_reason_says_what_to_do(name: str) -> None:
    with pytest.raises(BadRequest, match=r"rename|without folders"):
        bare_name(name, windows=True)
    with pytest.raises(BadRequest):
        safe_folder(f"plate/{name or '.'}", windows=True)


@pytest.mark.parametrize("name", sorted(FINE_ON_WINDOWS))
def test_windows_is_not_stricter_than_it_is(name: str) -> None:
    assert bare_name(name, windows=True) == name


def test_no_name_leads_a_gateways_path_out(tmp_path: Path) -> None:
    files = GatewayFiles(tmp_path / "files")
    files.make()
    outside = tmp_path / "outside"
    outside.mkdir()
    (files.output / "door").symlink_to(outside)
    for name in [*ALL, "output/door", "door", str(outside), f"{files.output}/door/x"]:
        for found in (
            lambda name=name: files.results_folder(name),
            lambda name=name: files.input_path(InputFile(dir_name=str(files.input), name=name)),
            lambda name=name: files.input_path(InputFile(dir_name=name, name="a.tif")),
            lambda name=name: output_path(OutputFile(dir_name=f"{files.output}/{name}", name=name), (files.root,)),
            lambda name=name: inside(files.input, folder_in(name)),
            lambda name=name: inside(files.input, folder_of(name)),
            lambda name=name: inside(files.output, safe_folder(sub_folder_of(name), windows=False)),
        ):
            try:
                path = found()
            except BadRequest:
                continue
            assert path.resolve().is_relative_to(files.root.resolve()), name


def test_a_task_may_name_its_folder_as_the_contract_does(tmp_path: Path) -> None:
    files = GatewayFiles(tmp_path.resolve())
    assert files.results_folder("/tmp/files/output/x") == files.output / "x"
    assert files.results_folder(str(files.output)) == files.output
    with pytest.raises(BadRequest, match="below it, such as 'output'"):
        files.results_folder("/etc/cron.d")


def test_names_made_of_a_name_are_short_enough_keep_their_extension_and_differ() -> None:
    for name in filter(lambda name: not barred(name, windows=False), set(ALL)):
        made = [archive_name(name, JOB, 1_800_000_000_000_000_000, kind) for kind in ("input", "output")]
        others = [other for other, _ in zip(names_for(name, JOB, 0), range(5), strict=False)]
        for each in (made, others):
            assert len(set(each)) == len(each)
            assert all(not barred(one, windows=False) for one in each), name
        if name.endswith(".tif") and len(name) > 4:
            assert all(one.endswith(".tif") for one in [*made, *others]), name
            assert preview_name(made[0]).endswith(".jpeg")


def test_nothing_of_a_name_steers_a_terminal() -> None:
    for name in ALL:
        shown = said(name)
        assert shown == printable(shown)
        assert not any(ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0 or 0xD800 <= ord(sign) < 0xE000 for sign in shown)
    assert said("[red]a[/red]\x1b[2J") == "\\[red]a\\[/red]\\x1b[2J"
