"""`tracker privacy`: what is kept of a person's reading, handed out and erased, for the operator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from config.cli.base import Refused, rooms

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tracker.people import Viewer


@click.group()
def privacy() -> None:
    """What is kept of a person's reading of our mail."""


@privacy.command()
@click.argument("address")
def export(address: str) -> None:
    """Print as JSON what is kept of the person with ADDRESS."""
    from tracker.db import transaction, utc_now
    from webhooks import privacy_export

    with rooms() as furnished, transaction(furnished.sessions) as session:
        viewer, addresses = _person(session, address)
        click.echo(json.dumps(privacy_export.export(session, viewer, addresses, utc_now()), indent=2))


@privacy.command()
@click.argument("address")
@click.option("--never", is_flag=True, help="And never track mail to them again.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def erase(address: str, never: bool, yes: bool) -> None:
    """Erase what was heard of the person with ADDRESS; it can't be taken back."""
    from tracker.db import transaction, utc_now
    from webhooks import privacy as noun

    if not yes:
        click.confirm(f"Erase all that was heard of {address}?", abort=True, err=True)
    with rooms() as furnished, transaction(furnished.sessions) as session:
        viewer, addresses = _person(session, address)
        erased = noun.erase(session, viewer, addresses, utc_now(), never=never, why="by the operator")
    click.echo(f"Erased: {erased.mails} mails to them alone, and their part in {erased.shared} to several people")


def _person(session: Session, typed: str) -> tuple[Viewer, list[str]]:
    """The team, seen by the operator, and all addresses of the person: those of their contact, if they are one."""
    from tracker import contacts, people
    from tracker.addresses import parse_addresses

    named = parse_addresses([typed])
    if len(named) != 1:
        raise Refused(f"{typed} is no address; expected one such as anna@example.com")
    team = people.first_team(session)
    if team is None:
        raise Refused("There is no team yet")
    address = named[0].normalized
    contact = contacts.by_address(session, team.id, address)
    known = [one.normalized for one in contact.addresses] if contact is not None else []
    return people.system_viewer(team.id, "cli"), sorted({address, *known})
