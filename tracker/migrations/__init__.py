"""Alembic migrations, and the commands that run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from tracker import row_security

HERE = Path(__file__).parent


def _config(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = engine
    return config


def include_name(name: str | None, kind: str, _: Any) -> bool:
    """Whether Alembic looks after a name: procrastinate's tables are its own."""
    return not (kind == "table" and name is not None and name.startswith("procrastinate_"))


def upgrade(engine: Engine) -> None:
    """Bring the database's tables to this version's; of several processes one does it, the others wait."""
    with engine.connect() as guard:
        guard.execute(text("SELECT pg_advisory_lock(1000, 1)"))
        try:
            command.upgrade(_config(engine), "head")
            row_security.ensure(engine)
        finally:
            guard.execute(text("SELECT pg_advisory_unlock(1000, 1)"))
            guard.commit()


def revision(engine: Engine, message: str) -> None:
    """Write a new migration from the difference between tables and models (for developers)."""
    command.revision(_config(engine), message=message, autogenerate=True)


def is_current(engine: Engine) -> bool:
    """Whether the database is at this version."""
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return current == ScriptDirectory.from_config(_config(engine)).get_current_head()
