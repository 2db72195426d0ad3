"""The edge as a member of its gateway: where that is kept, and what of the settings it decides."""

from dataclasses import replace
from pathlib import Path

from compose.access import Access
from compose.settings import EdgeSettings, Settings
from edge.membership import Member, Membership, read


def membership_file(settings: Settings) -> Path:
    """Where an edge keeps by what it is known."""
    return settings.data / "membership.json"


def membership(settings: Settings) -> tuple[Member | None, Settings]:
    """This edge as a member (None before it was enrolled), and its settings: its name and its gateway are what was
    agreed upon then.

    Raises ``ValueError`` where the settings say something else.
    """
    path = membership_file(settings)
    found = read(path)
    return (Member(path, found), _agreed(settings, found)) if found else (None, settings)


def _agreed(settings: Settings, member: Membership) -> Settings:
    usual = EdgeSettings()
    if settings.edge.hostname not in (usual.hostname, member.name):
        raise ValueError(
            f"edge.hostname is {settings.edge.hostname!r}, but this instrument was enrolled as {member.name!r}:"
            " remove the setting, or enrol it anew"
        )
    gateway = settings.edge.gateway
    if gateway == usual.gateway or (gateway.startswith("http:") and member.gateway.startswith("https:")):
        gateway = member.gateway
    edge = settings.edge.model_copy(update={"hostname": member.name, "gateway": gateway})
    return settings.model_copy(update={"edge": edge})


def of_edge(mine: Access, member: Member | None) -> Access:
    """How the edge reaches its gateway: by its word, trusting the root it was given."""
    if member is None:
        return mine
    return replace(mine, trust=member.membership.trust(), word=member.word)
