"""The alarms that are raised for a pipeline."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add a column."""
    op.add_column("workers", sa.Column("alarms", sa.Text))
