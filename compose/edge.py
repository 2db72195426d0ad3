"""Wires the instrument's side: watcher, organizer, sender, receiver, on one journal."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

import httpx

from compose.settings import EdgeSettings, Settings
from contracts.disk import keep_folder
from contracts.edge_status import Statuses
from contracts.names import AttributeRule, PatternRule, Rule
from contracts.ports import Bus, Jobs, Service, Tasks
from contracts.room import Room
from contracts.vendors import ANY_VENDOR
from edge.data_organizer.rules import Laboratory
from edge.data_organizer.service import DataOrganizer
from edge.file_receiver.service import FileReceiver, ReceiveSettings
from edge.file_sender.service import FileSender
from edge.file_watcher.service import FileWatcher
from edge.file_watcher.settings import WatchSettings
from edge.journal import Journal
from edge.reporting import Reporting

HANDS = 12
"""Files on their way at once, each way: small ones mostly wait for the disk, and disks sync many at a time."""


@dataclass(frozen=True)
class Peers:
    """The gateway as the edge reaches it."""

    jobs: Jobs
    tasks: Tasks
    file_receiver: httpx.AsyncClient
    file_sender: httpx.AsyncClient
    statuses: Statuses


@dataclass(frozen=True)
class Edge:
    """The edge's services, ready to be served."""

    journal: Journal
    file_watcher: FileWatcher
    data_organizer: DataOrganizer
    file_sender: FileSender
    file_receiver: FileReceiver

    def services(self) -> list[Service]:
        return [self.file_watcher, self.data_organizer, self.file_sender, self.file_receiver]


@asynccontextmanager
async def edge(settings: Settings, peers: Peers, bus: Bus | None) -> AsyncIterator[Edge]:
    """The edge on its journal. Folders of our own making are made; a watched folder elsewhere must exist."""
    mine = settings.edge
    for folder in (settings.data / "edge" / "input", settings.output()):
        keep_folder(folder)
    clock = time.time_ns
    journal = Journal(settings.data / "edge.db", clock)
    watcher = FileWatcher(_watching(settings), journal, clock)
    laboratory = Laboratory(mine.lab_name, mine.lab_equipment, mine.operator)
    async with journal.running():
        made = Edge(
            journal,
            watcher,
            DataOrganizer(
                journal,
                peers.jobs,
                peers.tasks,
                host=mine.hostname,
                roots=watcher.roots,
                rules=name_rules(mine),
                laboratory=laboratory,
            ),
            FileSender(
                journal, peers.jobs, peers.file_receiver, clock, host=mine.hostname, roots=watcher.roots, slots=HANDS
            ),
            FileReceiver(
                ReceiveSettings(settings.output(), slots=HANDS),
                journal,
                peers.jobs,
                peers.file_sender,
                clock,
                host=mine.hostname,
                bus=bus,
                room=Room({"results": settings.output(), "journal": settings.data}, mine.min_free_mb),
            ),
        )
        async with _reporting(settings, made, peers).running():
            yield made


def _reporting(settings: Settings, made: Edge, peers: Peers) -> Reporting:
    def troubles() -> dict[str, str]:
        desks = [desk for service in made.services() for desk in getattr(service, "desks", ())]
        return {desk.name: desk.trouble for desk in desks if desk.trouble}

    return Reporting(
        peers.statuses,
        made.journal,
        time.time_ns,
        host=settings.edge.hostname,
        version=version("cytobus"),
        roots=made.file_watcher.roots,
        places={"results": settings.output(), "journal": settings.data},
        pending=lambda: len(made.file_watcher.pending),
        troubles=troubles,
    )


def _watching(settings: Settings) -> WatchSettings:
    mine = settings.edge
    return WatchSettings(
        folders=settings.folders(),
        poll=mine.poll,
        poll_seconds=mine.poll_seconds,
        rescan_seconds=mine.rescan_seconds,
        settle_seconds=mine.settle_seconds,
        extensions=mine.extensions,
        exclude=mine.exclude,
        watch_subfolders=mine.watch_subfolders,
    )


def name_rules(settings: EdgeSettings) -> list[Rule]:
    """How attributes are read from file names: the laboratory's own rules first, then the vendors' patterns."""
    rules: list[Rule] = [AttributeRule(rule.name, rule.id, rule.data_type) for rule in settings.attributes]
    rules += [PatternRule(name, pattern, on="path") for name, pattern in settings.patterns.items()]
    return [*rules, ANY_VENDOR] if settings.vendor_names else rules
