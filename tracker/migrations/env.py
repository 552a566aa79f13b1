"""Alembic's environment. Whoever calls has imported every slice, so that the metadata is whole."""

from __future__ import annotations

from alembic import context

from tracker.db import Base
from tracker.migrations import include_name

with context.config.attributes["engine"].connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=include_name,
        compare_server_default=False,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
