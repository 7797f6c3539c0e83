"""The state database's versions, each a step from the one before; Alembic takes them."""
