"""`tracker secrets`: the secret key, and what is encrypted with it.

A new key takes three steps, so that at none of them somebody holds only the wrong one: the new key is put before
the former (`new-key`, or in the environment), everything is started again, and what is stored is encrypted anew
(`rotate`). Then the former is worth nothing and can be forgotten (`rotate --forget`, which only looks whether
everything opens without it).
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
FIRST_ROTATE = "run `tracker secrets rotate`, start Tracker again, and then forget the former keys"


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
@click.option(
    "--forget", is_flag=True,
    help="Encrypt nothing; forget the former keys in the data folder, if everything opens without them.",
)  # fmt: skip
def rotate(forget: bool) -> None:
    """Encrypt everything that is stored with the present secret key."""
    if forget:
        _forget()
        return
    with rooms() as furnished:
        done, lost = rotated(furnished)
    click.echo(f"{done} secrets are encrypted with the present key")
    for one in lost:
        click.echo(f"It was encrypted with a key that is not here: {one}")
    if lost:
        raise Refused("put the former key into TRACKER_OLD_SECRET_KEYS and try again, or connect these again")
    click.echo(
        "Start Tracker again; then the former keys can be forgotten (`--forget`, or TRACKER_OLD_SECRET_KEYS)"
    )


def _forget() -> None:
    read = read_settings()
    if not settings_module.keeps_secret_itself():
        raise Refused(
            "the key comes from TRACKER_SECRET_KEY, so there is none to forget in the data folder: run "
            "`tracker secrets rotate`, then take the former one out of TRACKER_OLD_SECRET_KEYS and start again"
        )
    present, *former = settings_module.kept_secrets(read.data_dir)
    with rooms() as furnished:
        needed = needing_more_than(furnished, present)
    for one in needed:
        click.echo(f"It does not open with the present key alone: {one}")
    if needed:
        raise Refused(f"{len(needed)} secrets still need a former key: {FIRST_ROTATE}")
    settings_module.keep_secrets(read.data_dir, [present])
    click.echo(f"{len(former)} former keys are forgotten; whoever signed in before signs in again")


def needing_more_than(furnished: Rooms, present: str) -> list[str]:
    """What is stored and does not open with this key alone."""
    vault, pushes = furnished.gmail.vault.with_key(present), furnished.push_cipher.with_key(present)
    with transaction(furnished.sessions) as session:
        boxes = session.scalars(select(Mailbox).where(Mailbox.credentials.is_not(None)).order_by(Mailbox.id))
        needed = [f"mailbox {one.address}" for one in boxes if not vault.opens(one.credentials)]
        keys = session.scalars(select(VapidKey).order_by(VapidKey.id))
        return needed + [f"key for pushes of team {one.team_id}" for one in keys if not pushes.opens(one.private)]


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
