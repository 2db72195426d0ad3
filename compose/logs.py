"""Structured logs on standard error: a line for people, or JSON for machines, with EdgeX's field names."""

import json
import logging
import sys
from datetime import UTC, datetime

from contracts import steps
from contracts.correlation import correlation

QUIET = ("httpx", "httpcore", "watchdog", "uvicorn", "uvicorn.error", "asyncio", "alembic", "PIL", "tifffile")


class JsonLines(logging.Formatter):
    """One JSON object a line: level, ts, app, source, msg, and correlation_id where it is about one job."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "level": record.levelname,
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "app": "cytobus",
            "source": f"{record.name}:{record.lineno}",
            "msg": record.getMessage(),
        }
        if job_id := getattr(record, "correlation_id", "") or correlation.get():
            line["correlation_id"] = job_id
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(level: str, as_json: bool) -> None:
    """Send this process's logs to standard error. Replaces what was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # People are not told of each step of each file; machines are.
    logging.getLogger(steps.log.name).setLevel(logging.NOTSET if as_json else logging.WARNING)
