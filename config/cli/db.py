"""`tracker db`: the tables."""

from __future__ import annotations

import sys

import click
from sqlalchemy import text

from config.cli.base import rooms
from tracker import migrations


@click.group()
def db() -> None:
    """The database."""


@db.command()
def upgrade() -> None:
    """Bring the tables to this version."""
    with rooms(migrate=False) as furnished:
        migrations.upgrade(furnished.engine)
    click.echo("The database is up to date")


@db.command()
def security() -> None:
    """Whether PostgreSQL's row-level security holds; if not, why and what to run."""
    from tracker import row_security

    with rooms() as furnished, furnished.engine.connect() as connection:
        lock = row_security.look(connection)
        user = str(connection.scalar(text("SELECT current_user")))
    if lock.holds:
        click.echo(f"Row-level security is on: requests run as the role {lock.role}")
        return
    for problem in lock.problems:
        click.echo(f"Row-level security is off: {problem}")
    click.echo(
        f"An administrator of the database runs this; then start Tracker again:\n{row_security.remedy(lock, user)}"
    )
    sys.exit(1)


@db.command(hidden=True)
@click.argument("message")
def revision(message: str) -> None:
    """Write a migration from the difference between tables and models (for developers)."""
    import config.tables  # noqa: F401 - makes the metadata whole

    with rooms() as furnished:
        migrations.revision(furnished.engine, message)
