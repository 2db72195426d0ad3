"""Commands about who may come in: users, instruments, the audit."""

import asyncio
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from compose.membership import membership_file
from compose.operate import Data, ask, console, settings_of
from compose.settings import address
from contracts.client import call
from contracts.errors import AppError
from contracts.hosting import PORTS
from contracts.identity import Role

users_app = typer.Typer(no_args_is_help=True)
edges_app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The user's name")]
Instrument = Annotated[str, typer.Argument(help="The instrument's name in jobs")]
AsNew = Annotated[bool, typer.Option("--as-new", help="Also under another name; its old jobs are left behind")]
PasswordFile = Annotated[Path | None, typer.Option(help="Read the password from this file's first line")]
RoleOf = Annotated[Role, typer.Option(help="viewer, operator or admin")]
PASSWORD = "CYTOBUS_PASSWORD"
"""Environment variable that holds a new password, for scripts."""


def _ask(data: Path | None, method: str, path: str, **options: Any) -> Any:
    answer = ask(data, "job-repository", lambda client: call(client, method, path, **options))
    return answer.json() if answer.content else None


def _password(file: Path | None) -> str:
    if file is not None:
        return file.read_text().partition("\n")[0]
    return os.environ.get(PASSWORD) or str(typer.prompt("password", hide_input=True, confirmation_prompt=True))


@users_app.command("add")
def add_user(name: Name, role: RoleOf = Role.VIEWER, password_file: PasswordFile = None, data: Data = None) -> None:
    """Let somebody in. The password is asked for, or comes from a file or CYTOBUS_PASSWORD."""
    body = {"Role": str(role), "Password": _password(password_file), "New": True}
    _ask(data, "PUT", f"/api/v1/users/{name}", json=body)
    console.print(f"{name} is {role} now")


@users_app.command("role")
def change_role(name: Name, role: Annotated[Role, typer.Argument()], data: Data = None) -> None:
    """Make a user viewer, operator or admin; their sessions end."""
    _ask(data, "PUT", f"/api/v1/users/{name}", json={"Role": str(role)})


@users_app.command("password")
def change_password(name: Name, password_file: PasswordFile = None, data: Data = None) -> None:
    """Give a user another password; their sessions end."""
    known = {one["Name"]: one["Role"] for one in _ask(data, "GET", "/api/v1/users")}
    if name not in known:
        raise typer.BadParameter(f"there is no user {name}")
    _ask(data, "PUT", f"/api/v1/users/{name}", json={"Role": known[name], "Password": _password(password_file)})


@users_app.command("list")
def list_users(data: Data = None) -> None:
    """All users and their roles."""
    table = Table("name", "role")
    for one in _ask(data, "GET", "/api/v1/users"):
        table.add_row(escape(one["Name"]), one["Role"])
    console.print(table)


@users_app.command("remove")
def remove_user(name: Name, data: Data = None) -> None:
    """Forget a user; their sessions and tokens end at once."""
    _ask(data, "DELETE", f"/api/v1/users/{name}")


@users_app.command("token")
def user_token(name: Name, data: Data = None) -> None:
    """A token for a user's programs (Authorization: Bearer, or CYTOBUS_TOKEN for this command). Told this once."""
    console.print(_ask(data, "POST", f"/api/v1/users/{name}/tokens")["Token"], soft_wrap=True)


@users_app.command("revoke")
def revoke_user(name: Name, data: Data = None) -> None:
    """End all sessions and tokens of a user."""
    console.print(f"{_ask(data, 'DELETE', f'/api/v1/users/{name}/tokens')['Revoked']} were revoked")


@edges_app.command("invite")
def invite(
    name: Instrument,
    hours: Annotated[float, typer.Option(help="How long the code is good")] = 24.0,
    data: Data = None,
) -> None:
    """A code by which an instrument may come in, once; and the command to be given there."""
    from compose.certificates import fingerprint

    made = _ask(data, "POST", "/api/v1/enrolments", json={"Name": name, "Hours": hours})
    answer = ask(data, "job-repository", lambda client: client.get("/api/v1/authority"))
    mark = f"#{fingerprint(answer.text)[:32]}" if answer.status_code == 200 else ""
    console.print(f"on {escape(name)}, within {hours:g} hours:")
    console.print(f"cytobus enroll https://THIS-GATEWAY '{made['Code']}{mark}'", soft_wrap=True)


@edges_app.command("list")
def list_edges(data: Data = None) -> None:
    """Instruments that came in, and when they were heard of last."""
    table = Table("instrument", "since", "seen", "")
    for one in _ask(data, "GET", "/api/v1/edges"):
        table.add_row(escape(one["Name"]), _when(one["Since"]), _when(one["Seen"]), "revoked" if one["Revoked"] else "")
    console.print(table)


@edges_app.command("revoke")
def revoke_edge(name: Instrument, data: Data = None) -> None:
    """Shut an instrument out; what it has sent stays. It may be invited again."""
    if not _ask(data, "DELETE", f"/api/v1/edges/{name}")["Revoked"]:
        console.print(f"[red]no instrument {escape(name)} is in[/red]")
        raise typer.Exit(1)


def enroll(
    gateway: Annotated[str, typer.Argument(help="Where the gateway is: https://gateway.lab")],
    code: Annotated[str, typer.Argument(help="What cytobus edges invite has printed there")],
    as_new: AsNew = False,
    data: Data = None,
) -> None:
    """On an instrument's PC: become a member of a gateway."""
    from edge.membership import enrol

    settings = settings_of(data)
    port = PORTS["job-repository"] + max(settings.port_offset, 0)
    where = address(gateway, "job-repository", port)
    try:
        member = asyncio.run(enrol(membership_file(settings), gateway, where, code, as_new=as_new))
    except (AppError, OSError) as error:
        console.print(f"[red]{escape(str(error))}[/red]")
        raise typer.Exit(1) from None
    console.print(f"this instrument is {escape(member.name)} at {member.gateway}; start it with: cytobus edge")


def audit(
    limit: Annotated[int, typer.Option(help="So many, newest first")] = 50,
    data: Data = None,
) -> None:
    """What people changed, or tried to."""
    table = Table("when", "who", "role", "from", "what", "")
    for one in _ask(data, "GET", "/api/v1/audit", params={"limit": limit}):
        words = (one["Actor"], one["Role"], one["Address"], one["What"], one["Outcome"])
        table.add_row(_when(one["At"]), *map(escape, words))
    console.print(table)


def _when(at: int) -> str:
    return datetime.fromtimestamp(at / 1e9).astimezone().isoformat(" ", "seconds") if at else ""
