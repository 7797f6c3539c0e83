"""Configurations that were run, who works on each pipeline, and what it tells."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "configurations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("taken", sa.Float(53), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("pipeline", sa.String(64), primary_key=True),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("supervisor", sa.Text, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("since", sa.Float(53), nullable=False),
        sa.Column("beat", sa.Float(53), nullable=False),
        sa.Column("retry_at", sa.Float(53)),
        sa.Column("exit_code", sa.Integer),
        sa.Column("trouble", sa.Text),
    )
    op.create_table(
        "figures",
        sa.Column("pipeline", sa.String(64), primary_key=True),
        sa.Column("written", sa.Float(53), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
