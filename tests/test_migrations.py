"""The migrations make exactly the tables that the models describe."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from config import tables
from tracker import migrations


def test_migrations_equal_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": migrations.include_name, "compare_type": True}
        )
        assert compare_metadata(context, tables.metadata) == []


def test_a_fresh_database_is_current(engine: Engine) -> None:
    assert migrations.is_current(engine)


def test_upgrading_again_changes_nothing(engine: Engine) -> None:
    migrations.upgrade(engine)
    assert migrations.is_current(engine)


def test_every_row_belongs_to_a_team() -> None:
    without = [
        table.name
        for table in tables.metadata.sorted_tables
        # A reader reads the whole log.
        if table.name not in ("teams", "event_readers") and "team_id" not in table.columns
    ]
    assert without == []


@pytest.mark.parametrize("statement", ["UPDATE events SET kind = 'x'", "DELETE FROM events"])
def test_events_are_append_only(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO teams (key, name) VALUES ('k', 'Team')"))
        connection.execute(text("INSERT INTO events (team_id, kind, actor) SELECT id, 'a', 'system' FROM teams"))
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))
