"""`tracker db`: the tables."""

from __future__ import annotations

import click

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


@db.command(hidden=True)
@click.argument("message")
def revision(message: str) -> None:
    """Write a migration from the difference between tables and models (for developers)."""
    import config.tables  # noqa: F401 - makes the metadata whole

    with rooms() as furnished:
        migrations.revision(furnished.engine, message)
