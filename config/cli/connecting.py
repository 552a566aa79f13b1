"""`tracker mailbox connect`."""

from __future__ import annotations

import json
from typing import Any

import click
from sqlalchemy.orm import Session

from config import teams
from config.cli.base import Refused, rooms
from config.rooms import Rooms
from gmail_sync import oauth, sync
from gmail_sync import session as gmail_session
from gmail_sync.errors import GmailError
from tracker import mailboxes, people, sharing
from tracker.addresses import normalize
from tracker.db import transaction


@click.command()
@click.argument("address")
@click.option(
    "--credentials", "file", required=True, type=click.File("r"),
    help="A google-auth authorized-user JSON; - for standard input.",
)  # fmt: skip
def connect(address: str, file: Any) -> None:
    """Connect ADDRESS without a browser."""
    try:
        kept = oauth.authorized_user(json.load(file))
    except ValueError as error:
        raise Refused(f"These are no authorized-user credentials: {error}") from None
    with rooms() as furnished:
        _check_credentials(furnished, address, kept)
        with transaction(furnished.sessions) as session:
            user = people.by_address(session, address) or _user_for(furnished, session, address)
            sealed = furnished.gmail.vault.seal(kept)
            try:
                connected = mailboxes.connect(session, user, address, sealed, furnished.gmail.now())
                sharing.mailbox_connected(session, connected)
            except (PermissionError, people.PeopleError) as error:
                raise Refused(str(error)) from None
        sync.wake(furnished.jobs, connected.id)
    click.echo(f"{address} is connected; a worker reads it now (`tracker mailbox list` tells how far it is)")


def _user_for(furnished: Rooms, session: Session, address: str) -> people.User:
    team = people.first_team(session)
    if team is None:
        return teams.found(session, furnished.settings.team_name, address, "")
    return people.add_user(session, team.id, address)


def _check_credentials(furnished: Rooms, address: str, kept: dict[str, Any]) -> None:
    try:
        found = gmail_session.profile_address(kept, furnished.settings.gmail_api_url)
    except GmailError as error:
        raise Refused(f"Gmail does not accept these credentials: {error}") from None
    if normalize(found) != normalize(address):
        raise Refused(f"These credentials are {found}'s, not {address}'s")
