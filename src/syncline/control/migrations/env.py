"""What Alembic runs: the steps, in the transaction that the caller has open."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
