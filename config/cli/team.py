"""`tracker team`: the teams of this installation, wholly apart from one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

import click

from config.cli.base import Refused, rooms

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tracker.people import User


@click.group()
def team() -> None:
    """The teams of this installation."""


@team.command()
@click.argument("name")
@click.option("--admin", required=True, metavar="ADDRESS", help="Who signs in as its first admin.")
def add(name: str, admin: str) -> None:
    """Found a team called NAME; nothing in it is seen by another one."""
    from config import teams
    from tracker.addresses import parse_addresses
    from tracker.db import transaction
    from tracker.people import PeopleError

    found = parse_addresses([admin])
    if len(found) != 1:
        raise Refused(f"{admin} is no address; expected one such as anna@example.com")
    with rooms() as furnished, transaction(furnished.sessions) as session:
        try:
            teams.found_another(session, name, found[0].address)
        except PeopleError as error:
            raise Refused(str(error)) from None
    click.echo(f"{name} is founded; {found[0].address} signs in as its admin")


@team.command("list")
def list_teams() -> None:
    """The teams, and their admins."""
    from sqlalchemy import select

    from tracker import people
    from tracker.db import transaction
    from tracker.people import Role, Team

    with rooms() as furnished, transaction(furnished.sessions) as session:
        for one in session.scalars(select(Team).order_by(Team.id)):
            users = people.of_team(session, one.id)
            admins = ", ".join(user.address for user in users if user.role == Role.ADMIN)
            click.echo(f"{one.name}: {len(users)} people, admin {admins or 'nobody'}")


@team.command()
@click.argument("address")
def admin(address: str) -> None:
    """Make the person with ADDRESS an admin of their team: when the only one is gone."""
    from tracker import people
    from tracker.db import transaction
    from tracker.people import Role

    with rooms() as furnished, transaction(furnished.sessions) as session:
        user = _user(session, address)
        people.change_role(session, people.system_viewer(user.team_id, "cli"), user, Role.ADMIN)
    click.echo(f"{user.name} is an admin now")


@team.command("forget-google")
@click.argument("address")
def forget_google(address: str) -> None:
    """Let the person with ADDRESS sign in with another Google account of that address: theirs was made anew."""
    from tracker import people
    from tracker.db import transaction

    with rooms() as furnished, transaction(furnished.sessions) as session:
        user = _user(session, address)
        people.forget_google(session, people.system_viewer(user.team_id, "cli"), user)
    click.echo(f"Whoever signs in with Google as {user.address} next is {user.name}")


def _user(session: Session, address: str) -> User:
    from tracker import people

    return people.by_address(session, address) or _nobody(address)


def _nobody(address: str) -> Never:
    raise Refused(f"Nobody here has the address {address}")


@team.command("allow-domain")
@click.argument("address")
@click.argument("domain")
def allow_domain(address: str, domain: str) -> None:
    """Let everybody of the Workspace DOMAIN join the team of the person with ADDRESS."""
    from tracker import invitations, people
    from tracker.db import transaction
    from tracker.people import PeopleError

    with rooms() as furnished, transaction(furnished.sessions) as session:
        user = _user(session, address)
        try:
            invitations.allow(session, people.system_viewer(user.team_id, "cli"), domain)
        except PeopleError as error:
            raise Refused(str(error)) from None
    click.echo(f"Everybody of {domain} may join as a member")
