"""The alarms that are raised for a pipeline, and what is to be said of its configuration."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add two columns."""
    op.add_column("workers", sa.Column("alarms", sa.Text))
    op.add_column("workers", sa.Column("remark", sa.Text))
