"""``python -m compose`` is the ``cytobus`` command."""

from compose.cli import app

app()
