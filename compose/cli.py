"""The ``cytobus`` command."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from compose import keeping, logs
from compose.cells import cells_app
from compose.identities import audit, edges_app, enroll, users_app
from compose.operate import submit
from compose.operations import jobs_app, tasks_app
from compose.science import build_app, evaluate_app, package_app, train_app
from compose.settings import CONFIG_FILE, Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(tasks_app, name="tasks", help="Which images go to which pipeline.")
app.add_typer(jobs_app, name="jobs", help="Look at jobs, review them, retry, release and cancel them.")
app.add_typer(train_app, name="train", help="Train a model from images with ground truth (needs the [train] extra).")
app.add_typer(build_app, name="build", help="Make of a model what runs, in INT8 too (needs the [train] extra).")
app.add_typer(evaluate_app, name="evaluate", help="Measure a model on images with ground truth.")
app.add_typer(package_app, name="package", help="Pack a pipeline's model for a server (needs the [bento] extra).")
app.add_typer(cells_app, name="cells", help="The space of cells: embed again, fit the map anew, change encoders.")
app.add_typer(users_app, name="users", help="Who may look, operate and administer.")
app.add_typer(edges_app, name="edges", help="Which instruments may come in.")
app.add_typer(keeping.archive_app, name="archive", help="Keep the gateway's archive within its bounds.")
app.command()(submit)
app.command()(enroll)
app.command()(audit)
app.command()(keeping.backup)
app.command()(keeping.restore)

console = Console()
Data = Annotated[Path | None, typer.Option("--data", help="Folder of all data; default ./data")]
Offset = Annotated[int | None, typer.Option("--port-offset", help="Added to every port; -1: any free ports")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file; default ./cytobus.toml")]


def settings_from(data: Path | None = None, offset: int | None = None, config: Path | None = None) -> Settings:
    """The settings, with what the command line says. Ends the program with a clear word when they are wrong."""
    if config is not None:
        if not config.is_file():
            raise typer.BadParameter(f"there is no file {config}", param_hint="--config")
        os.environ[CONFIG_FILE] = str(config)
    given: dict[str, Any] = {}
    if data is not None:
        given["data"] = data
    if offset is not None:
        given["port_offset"] = offset
    try:
        return Settings(**given)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            console.print(f"[red]setting {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}[/red]")
    except ValueError as error:
        console.print(f"[red]the settings file cannot be read: {error}[/red]")
    raise typer.Exit(2)


def _serve(
    settings: Settings,
    side: Callable[[Settings], AbstractAsyncContextManager[Any]],
    side_name: str,
    *,
    samples: bool = False,
) -> None:
    from compose.running import until_stopped
    from compose.traces import exported

    async def main() -> None:
        async with side(settings) as deployment:
            _remember(settings, deployment.ports)
            for name, port in deployment.ports.items():
                console.print(f"  {name:<22} {settings.scheme()}://{settings.host}:{port}")
            if samples:
                from compose.samples import show

                await show(settings, deployment, console)
            watched = f"; drop images into {settings.folders()[0]}" if "file-watcher" in deployment.ports else ""
            console.print(f"up{watched}; Ctrl-C stops")
            await asyncio.Event().wait()

    logs.set_up(settings.log_level, settings.log_json)
    try:
        with exported(side_name):
            until_stopped(main())
    except (OSError, ValueError) as error:
        console.print(f"[red]cannot start: {error}[/red]")
        raise typer.Exit(1) from None
    console.print("stopped; nothing is lost, the next start goes on from here")


def _remember(settings: Settings, ports: dict[str, int] | Any) -> None:
    """Where this instance listens, for the other commands."""
    settings.data.mkdir(parents=True, exist_ok=True)
    part = settings.data / ".running.json.part"
    part.write_text(
        json.dumps(
            {"pid": os.getpid(), "ports": dict(ports), "tls": settings.with_tls(), "secured": settings.secured()}
        )
    )
    part.replace(settings.data / "running.json")  # never half of it


@app.command()
def up(
    data: Data = None,
    port_offset: Offset = None,
    config: Config = None,
    samples: Annotated[bool, typer.Option(help="Process sample images first and show the results")] = False,
) -> None:
    """Everything in one process: edge, gateway and pipelines."""
    from compose.running import everything

    _serve(settings_from(data, port_offset, config), everything, "up", samples=samples)


@app.command()
def edge(data: Data = None, port_offset: Offset = None, config: Config = None) -> None:
    """The instrument's side: watch folders, send images, receive results."""
    from compose.running import edge_side

    settings = settings_from(data, port_offset, config)
    # Nobody but this PC's own commands calls an edge: a certificate is shown only where one is named.
    security = settings.security.model_copy(update={"tls": "proxy"})
    _serve(settings.model_copy(update={"security": security}), edge_side, "edge")


@app.command()
def gateway(
    data: Data = None,
    port_offset: Offset = None,
    config: Config = None,
    with_pipelines: Annotated[bool, typer.Option(help="Run the installed pipelines here too")] = True,
) -> None:
    """The compute side: receive, remember, launch, send back."""
    from compose.running import CELLS, DASHBOARD, GATEWAY, PIPELINES, gateway_side, on_demand

    settings = settings_from(data, port_offset, config)
    names = [*GATEWAY, CELLS, DASHBOARD, *([PIPELINES] if with_pipelines else ()), *on_demand(settings)]
    _serve(settings, lambda chosen: gateway_side(chosen, names), "gateway")


@app.command()
def serve(
    names: Annotated[list[str], typer.Argument(metavar="SERVICE...")],
    data: Data = None,
    port_offset: Offset = None,
    config: Config = None,
) -> None:
    """Some services of the gateway's side, in a process of their own: job-repository, task-launcher,
    file-receiver-gateway, file-sender-gateway, cell-index, pipelines, mqtt-export, dashboard, stream."""
    from compose.running import SERVED, gateway_side

    if unknown := [name for name in names if name not in SERVED]:
        raise typer.BadParameter(f"{', '.join(unknown)}: it must be one of {', '.join(SERVED)}", param_hint="SERVICE")
    services = [SERVED[name] for name in names]
    _serve(settings_from(data, port_offset, config), lambda chosen: gateway_side(chosen, services), "+".join(names))


@app.command()
def pipelines(data: Data = None, port_offset: Offset = None, config: Config = None) -> None:
    """Only the installed pipelines, for a gateway elsewhere that shares its files with this host."""
    from compose.running import PIPELINES, gateway_side

    _serve(settings_from(data, port_offset, config), lambda chosen: gateway_side(chosen, [PIPELINES]), "pipelines")


@app.command()
def certificates(
    copy_to: Annotated[Path | None, typer.Option(help="A folder for copies that a broker beside us may read")] = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make or renew the gateway's certificates where they are needed; its services do the same when they start."""
    from compose.access import access

    settings = settings_from(data, None, config)
    try:
        mine = access(settings, "certificates")
    except (OSError, ValueError) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from None
    for path in (mine.certificate, mine.key, mine.authority):
        if path is not None and copy_to is not None:
            copy = copy_to / path.name
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o644)
    console.print(str(mine.certificate) if mine.certificate else "nobody else can reach this gateway: none are needed")


@app.command()
def doctor(data: Data = None, port_offset: Offset = None, config: Config = None) -> None:
    """What is wrong with this set-up, and how to mend it."""
    from compose.doctor import examine, shown

    findings = asyncio.run(examine(settings_from(data, port_offset, config)))
    console.print(shown(findings))
    if any(finding.bad for finding in findings):
        raise typer.Exit(1)
