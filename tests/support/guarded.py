"""A gateway that knows who asks, and instruments that were enrolled, as processes of their own over TLS."""

import os
import re
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.support.fleet import free_offset
from tests.support.instance import Instance

PASSWORD = "a quite long password"


class GuardedInstance(Instance):
    """An instance whose services are asked over TLS, and with a word where there is one."""

    word = ""
    authority = Path()

    def url(self, service: str) -> str:
        return super().url(service).replace("http://", "https://")

    def ask(self, method: str, service: str, path: str, **options: Any) -> httpx.Response:
        headers = options.pop("headers", {})
        if self.word and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.word}"
        context = ssl.create_default_context(cafile=str(self.authority))
        return httpx.request(method, self.url(service) + path, headers=headers, verify=context, timeout=30, **options)


class Guarded:
    """The gateway with three users (their tokens in ``words``); commands run on its data folder."""

    def __init__(self, folder: Path, side: str = "gateway", **environment: str) -> None:
        self.folder, self.offset = folder, free_offset()
        self.gateway = GuardedInstance(
            folder / "gateway",
            side=side,
            offset=self.offset,
            CYTOBUS_SECURITY__REQUIRED="always",
            CYTOBUS_PIPELINES__TOPICS='["only-file"]',
            **environment,
        )
        self.gateway.authority = folder / "gateway" / "tls" / "authority.pem"
        self.words: dict[str, str] = {}
        self.edges: list[Instance] = []

    def start(self) -> None:
        """Up, with the users anna (admin), olga (operator) and viktor (viewer)."""
        self.gateway.start()
        for name, role in (("anna", "admin"), ("olga", "operator"), ("viktor", "viewer")):
            self.command("users", "add", name, "--role", role)
            self.words[role] = self.command("users", "token", name).strip().splitlines()[-1]
        self.gateway.word = self.words["admin"]

    def command(self, *words: str, data: Path | None = None, code: int = 0, **environment: str) -> str:
        """What a command prints."""
        command = [sys.executable, "-m", "compose", *words, "--data", str(data or self.gateway.data)]
        variables = os.environ | {"CYTOBUS_PASSWORD": PASSWORD, "COLUMNS": "400"} | environment
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def invite(self, name: str) -> str:
        """A code for an instrument."""
        printed = self.command("edges", "invite", name)
        return re.search(r"'(.+)'", printed)[1]

    def enroll(self, name: str) -> Instance:
        """An instrument that is a member, not started yet."""
        edge = Instance(self.folder / name, side="edge", offset=self.offset, CYTOBUS_EDGE__RESCAN_SECONDS="1")
        words = ("enroll", "https://127.0.0.1", self.invite(name))
        self.command(*words, data=edge.data, CYTOBUS_PORT_OFFSET=str(self.offset))
        self.edges.append(edge)
        return edge

    def close(self) -> None:
        """All ended."""
        for one in (*self.edges, self.gateway):
            one.close()
