"""Commands that keep the gateway's house: backup, restore, archive sweep."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from compose.operate import Data, ask, client_for
from compose.settings import Settings
from contracts.client import call
from contracts.errors import AppError

if TYPE_CHECKING:
    from gateway.identity.surviving import Reapplied

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
        manifest, reapplied = read_back(settings.database_url(), file, force=force)
        back = settle(settings.database_url(), GatewayFiles(settings.gateway_files()))
    except (AppError, OSError, ValueError) as error:
        console.print(f"[red]nothing was restored: {error}[/red]")
        raise typer.Exit(1) from None
    console.print(f"restored what was saved at {manifest.made_at}; {back} files were put back from the archive")
    for line in about_identities(reapplied, manifest.made_at):
        console.print(escape(line), soft_wrap=True)


def about_identities(reapplied: "Reapplied", made_at: str) -> list[str]:
    """What a restore has done to those who may come in, and what is left to be done."""
    if not reapplied.known:
        return [
            f"WARNING: who may come in is as it was at {made_at}, for no newer word of it was found here:",
            "- whoever was shut out since is in again: look through cytobus edges list and cytobus users list, and"
            " repeat cytobus edges revoke, cytobus users remove and cytobus users revoke",
            "- passwords and roles that were changed since are the old ones: cytobus users password,"
            " cytobus users role",
            "- instruments enrolled since are not known: cytobus edges invite, and cytobus enroll there",
            "- an instrument whose word was renewed since is not known by it: the same",
        ]
    told = {
        "shut out again": reapplied.revoked,
        "users removed again": reapplied.removed,
        "users as they were last": reapplied.changed,
        "let in after the backup, and in still": reapplied.kept,
        "codes that are good no more, of": reapplied.voided,
    }
    lines = [f"- {what}: {', '.join(names)}" for what, names in told.items() if names]
    return ["who may come in is as it was before the restore:", *(lines or ["- nothing had changed since the backup"])]


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
