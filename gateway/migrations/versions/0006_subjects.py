"""Who users are at an OpenID provider."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("account", sa.Column("subject", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("account", "subject")
