"""Runs migrations on the connection it is given, inside the caller's transaction."""

from alembic import context

import gateway.identity.tables  # noqa: F401 - they are part of the schema
from gateway.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
