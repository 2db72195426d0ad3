"""Structured logs on standard error: a line for people, or JSON for machines, with EdgeX's field names."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from contracts import steps
from contracts.correlation import correlation
from contracts.printable import printable

QUIET = ("httpx", "httpcore", "watchdog", "uvicorn", "uvicorn.error", "asyncio", "alembic", "PIL", "tifffile")


class PlainLines(logging.Formatter):
    """One line for people. What comes from outside, such as a file's name, forges no line and steers no terminal:
    only this formatter's own line breaks are written, and lines of a traceback are set in."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(f"    {printable(line)}" for line in super().formatException(ei).splitlines())


class JsonLines(logging.Formatter):
    """One JSON object a line: level, ts, app, source, msg, and correlation_id where it is about one job."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "level": record.levelname,
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "app": "cytobus",
            "source": f"{record.name}:{record.lineno}",
            "msg": printable(record.getMessage()),
        }
        if job_id := getattr(record, "correlation_id", "") or correlation.get():
            line["correlation_id"] = printable(job_id)
        if record.exc_info:
            lines = self.formatException(record.exc_info).splitlines()
            line["error"] = "\n".join(printable(one) for one in lines)
        return json.dumps(line, ensure_ascii=False)


def set_up(level: str, as_json: bool) -> None:
    """Send this process's logs to standard error. Replaces what was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # People are not told of each step of each file; machines are.
    logging.getLogger(steps.log.name).setLevel(logging.NOTSET if as_json else logging.WARNING)
