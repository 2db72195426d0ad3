"""Commands that keep the gateway's house: backup, restore, archive sweep."""

import asyncio
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from compose.operate import Data, ask, client_for
from compose.settings import Settings
from contracts.client import call
from contracts.errors import AppError

console = Console()
archive_app = typer.Typer(no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="The backup")]


def backup(file: File, data: Data = None) -> None:
    """Write the gateway's database into one file, also while everything runs. Images and results are not in it."""
    from gateway.backup import backup as written

    settings = Settings(data=data) if data else Settings()
    if not file.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.absolute().parent}", param_hint="FILE")
    try:
        manifest = written(settings.database_url(), file.absolute())
    except (AppError, OSError, ValueError) as error:
        console.print(f"[red]no backup was made: {error}[/red]")
        raise typer.Exit(1) from None
    rows = ", ".join(f"{part.rows} {table}" for table, part in manifest.tables.items())
    console.print(f"{file}: schema {manifest.schema_revision}: {rows}")


def restore(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Lose what is in the database now")] = False,
    data: Data = None,
) -> None:
    """Make the gateway's database what a backup says. Stop the gateway first; edges tell the rest by themselves."""
    from gateway.backup import restore as read_back
    from gateway.files import GatewayFiles
    from gateway.restoring import settle

    settings = Settings(data=data) if data else Settings()
    if not file.is_file():
        raise typer.BadParameter(f"there is no file {file}", param_hint="FILE")
    if asyncio.run(_is_running(settings)):
        console.print("[red]the job repository is running: stop the gateway first, then restore[/red]")
        raise typer.Exit(1)
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        manifest = read_back(settings.database_url(), file, force=force)
        back = settle(settings.database_url(), GatewayFiles(settings.gateway_files()))
    except (AppError, OSError, ValueError) as error:
        console.print(f"[red]nothing was restored: {error}[/red]")
        raise typer.Exit(1) from None
    console.print(f"restored what was saved at {manifest.made_at}; {back} files were put back from the archive")


async def _is_running(settings: Settings) -> bool:
    async with client_for(settings, "job-repository") as client:
        try:
            answer = await client.get("/api/v1/health", timeout=2.0)
        except httpx.HTTPError:
            return False
    return str(answer.headers.get("content-type", "")).startswith("application/json")


@archive_app.command("sweep")
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed")] = False,
    data: Data = None,
) -> None:
    """Remove from the archive what the settings under gateway.retention no longer want."""
    path = "/api/v1/archive/sweep" + ("?dry_run=true" if dry_run else "")
    found = ask(data, "file-sender-gateway", lambda client: call(client, "POST", path)).json()
    verb = "would remove" if dry_run else "removed"
    console.print(f"{verb} {found['Files']} files ({found['Bytes']} bytes) of {found['Jobs']} jobs")
    console.print(f"{verb} {len(found['Debris'])} leftovers of our own")
    for name in found["Strangers"]:
        console.print(f"  of no job, left alone: {name}")
