"""What commands share: settings, the rooms that they work with, and what an operator can mend, in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from config.rooms import Rooms
    from config.settings import Settings


class Refused(click.ClickException):
    """Something the operator can mend; printed without a traceback."""

    def show(self, file: Any = None) -> None:
        """Print what is wrong."""
        click.echo(f"tracker: {self.message}", file=file or sys.stderr, err=True)


def read_settings() -> Settings:
    """The settings; refused in words where one is wrong."""
    from config import settings

    try:
        return settings.load()
    except settings.SettingsError as error:
        raise Refused(str(error)) from None


@contextmanager
def rooms(*, migrate: bool = True) -> Iterator[Rooms]:
    """What commands work with; the embedded server runs at least as long as the command."""
    from sqlalchemy.exc import OperationalError

    from config import postgres

    read = read_settings()
    try:
        if read.database_url:
            yield from _furnished(read, migrate)
        else:
            with postgres.embedded(read.data_dir) as cluster:
                yield from _furnished(read.model_copy(update={"database_url": cluster.url}), migrate)
    except postgres.PostgresError as error:
        raise Refused(str(error)) from None
    except OperationalError as error:
        raise Refused(f"The database can't be reached: {str(error.orig).strip()}") from None


def _furnished(read: Settings, migrate: bool) -> Iterator[Rooms]:
    from config.rooms import furnish
    from tracker import migrations

    furnished = furnish(read)
    try:
        if migrate:
            migrations.upgrade(furnished.engine)
        yield furnished
    finally:
        furnished.close()
