"""`tracker secrets`: the secret key, and what is encrypted with it.

A new key takes three steps, so that at none of them somebody holds only the wrong one: the new key is put before
the former (`new-key`, or in the environment), everything is started again, and what is stored is encrypted anew
(`rotate`). Then the former is worth nothing and can be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from config import settings as settings_module
from config.cli.base import Refused, read_settings, rooms
from config.rooms import Rooms
from tracker.db import transaction
from tracker.mailboxes import Mailbox
from tracker.secrets import SecretsError
from webhooks.bells.subscriptions import VapidKey

Reseal = Callable[[bytes], bytes]


@click.group()
def secrets() -> None:
    """The secret key, and what is encrypted with it."""


@secrets.command("new-key")
def new_key() -> None:
    """Put a new secret key before the former one in the data folder."""
    read = read_settings()
    if not settings_module.keeps_secret_itself():
        raise Refused(
            "the key comes from TRACKER_SECRET_KEY: set a new one there, put the former one into "
            "TRACKER_OLD_SECRET_KEYS, start Tracker again, and run `tracker secrets rotate`"
        )
    kept = settings_module.kept_secrets(read.data_dir)
    settings_module.keep_secrets(read.data_dir, [settings_module.new_secret(), *kept])
    click.echo("There is a new secret key. Start Tracker again, then run `tracker secrets rotate`")


@secrets.command()
@click.option("--forget", is_flag=True, help="Forget the former keys in the data folder, if nothing needs them.")
def rotate(forget: bool) -> None:
    """Encrypt everything that is stored with the present secret key."""
    with rooms() as furnished:
        done, lost = rotated(furnished)
        data_dir = furnished.settings.data_dir
    click.echo(f"{done} secrets are encrypted with the present key")
    for one in lost:
        click.echo(f"It was encrypted with a key that is not here: {one}")
    if lost:
        raise Refused("put the former key into TRACKER_OLD_SECRET_KEYS and try again, or connect these again")
    if forget:
        present, *former = settings_module.kept_secrets(data_dir)
        settings_module.keep_secrets(data_dir, [present])
        click.echo(f"{len(former)} former keys are forgotten; whoever signed in before signs in again")
    else:
        click.echo("The former keys can be forgotten now (`--forget`, or TRACKER_OLD_SECRET_KEYS)")


def rotated(furnished: Rooms) -> tuple[int, list[str]]:
    """Encrypt everything anew, in one transaction; how many, and what could not be read."""
    with transaction(furnished.sessions) as session:
        done, lost = _each(session, Mailbox.id, Mailbox.credentials, furnished.gmail.vault.reseal, "mailbox")
        more, also = _each(
            session, VapidKey.id, VapidKey.private, furnished.push_cipher.reseal, "key for pushes of team"
        )
    return done + more, lost + also


def _each(
    session: Session,
    ids: InstrumentedAttribute[int],
    column: InstrumentedAttribute[Any],
    reseal: Reseal,
    name: str,
) -> tuple[int, list[str]]:
    """Each row is locked while its secret changes: what a worker writes meanwhile is not overwritten."""
    done, lost = 0, []
    model = column.class_
    for row in session.scalars(select(model).where(column.is_not(None)).order_by(ids).with_for_update()):
        try:
            setattr(row, column.key, reseal(getattr(row, column.key)))
            done += 1
        except SecretsError:
            lost.append(f"{name} {getattr(row, 'address', row.team_id)}")
    return done, lost
