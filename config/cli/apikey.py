"""`tracker apikey`: keys for programs, made and revoked by the operator."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from config.cli.base import Refused, rooms

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tracker.people import User

SCOPES = ("read", "write", "send", "admin")


@click.group()
def apikey() -> None:
    """Keys that programs show in a person's name."""


def _user(session: Session, address: str) -> User:
    from tracker import people

    found = people.by_address(session, address)
    if found is None:
        raise Refused(f"Nobody here has the address {address}")
    return found


@apikey.command()
@click.argument("address")
@click.option("--name", required=True, help="What it is for.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), default=("read",), show_default=True)
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How long it is good.")
def make(address: str, name: str, scopes: tuple[str, ...], days: int) -> None:
    """Make a key for the person with ADDRESS, and print it this once."""
    from tracker import api_keys
    from tracker.db import transaction

    with rooms() as furnished, transaction(furnished.sessions) as session:
        user, now = _user(session, address), furnished.gmail.now()
        chosen = [api_keys.Scope(one) for one in scopes]
        try:
            _, shown = api_keys.make(session, user, name, chosen, now + timedelta(days=days), now=now, door="cli")
        except api_keys.ApiKeyError as error:
            raise Refused(str(error)) from None
    click.echo(shown)


@apikey.command("list")
@click.argument("address")
def list_keys(address: str) -> None:
    """The keys of the person with ADDRESS."""
    from tracker import api_keys
    from tracker.db import transaction

    with rooms() as furnished, transaction(furnished.sessions) as session:
        for one in api_keys.of_user(session, _user(session, address).id, furnished.gmail.now()):
            ends = f"ends {one.expires_at:%Y-%m-%d}" if one.expires_at else "has no end"
            used = f"used {one.used_at:%Y-%m-%d}" if one.used_at else "never used"
            click.echo(f"{one.key}  {one.prefix}  {' '.join(one.scopes)}  {ends}, {used}  {one.name}")


@apikey.command()
@click.argument("address")
@click.argument("key")
def revoke(address: str, key: str) -> None:
    """Revoke the KEY (as `list` names it) of the person with ADDRESS."""
    from tracker import api_keys, people
    from tracker.db import transaction

    with rooms() as furnished, transaction(furnished.sessions) as session:
        viewer = people.viewer_of(_user(session, address), "cli")
        found = api_keys.revoke(session, viewer, key, furnished.gmail.now())
        if found is None:
            raise Refused(f"{address} has no such key")
    click.echo(f"{found.name} opens nothing any more")
