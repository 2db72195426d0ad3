"""Schema revisions (Alembic)."""
