"""Joining: which user somebody is whom Google vouches for, and how they become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from gmail_sync.oauth import Identity
from tracker import invitations, people
from tracker.addresses import normalize
from tracker.invitations import Invitation
from tracker.people import Role, User

#: Makes a team with its first admin out of an address and a name.
Found = Callable[[Session, str, str], User]


@dataclass(frozen=True, slots=True)
class House:
    """Who may found, and how a team is made."""

    found: Found
    admins: frozenset[str]  #: normal forms of the addresses that may found the team; empty: whoever is first


class Several(Exception):
    """More than one team has invited this person: they say which one they meant."""

    def __init__(self, asking: Sequence[Invitation]) -> None:
        super().__init__("invited by several teams")
        self.asking = asking


class AnotherAccount(Exception):
    """The address is a user's, who signed in with another Google account so far."""


def admit(session: Session, house: House, identity: Identity, now: datetime) -> User | None:
    """The user that Google vouches for, made one if they may join; None if they may not.

    Raises `Several`, and `AnotherAccount` of the same address.
    """
    known = _one_by_one(session, identity)
    found = known or _newcomer(session, house, identity, now)
    return _known(session, found, identity, now) if found is not None else None


def accept(session: Session, identity: Identity, key: str, now: datetime) -> User | None:
    """Join the team of the invitation that was chosen. Raises `AnotherAccount`."""
    known = _one_by_one(session, identity)
    if known is not None:  # by another tab, a moment ago
        return _known(session, known, identity, now)
    asking = invitations.to_address(session, normalize(identity.address), now)
    chosen = next((one for one in asking if one.key == key), None)
    if chosen is None:
        return None
    found = invitations.accept(session, chosen, identity.address, identity.name, now)
    return _known(session, found, identity, now)


def _one_by_one(session: Session, identity: Identity) -> User | None:
    """Who this is, if they are a user already."""
    # Two who are the first here would found two teams, and one person in two tabs would be two.
    session.execute(text("SELECT pg_advisory_xact_lock(1005, 0)"))
    # An address may be given to another account, or an account another address; Google's subject stays.
    return people.by_account(session, identity.subject, identity.address)


def _known(session: Session, found: User, identity: Identity, now: datetime) -> User:
    if found.google_subject not in (None, identity.subject):
        raise AnotherAccount
    if found.normalized != normalize(identity.address):
        people.move_address(session, found, identity.address)
    invitations.settle(session, found)
    found.google_subject, found.workspace, found.signed_in_at = identity.subject, identity.workspace or None, now
    if found.name == found.address and identity.name:
        found.name = identity.name[:100]
    return found


def _newcomer(session: Session, house: House, identity: Identity, now: datetime) -> User | None:
    return (
        _named_admin(session, house, identity) or _invited(session, identity, now) or _of_domain(session, identity)
    )


def _named_admin(session: Session, house: House, identity: Identity) -> User | None:
    """Whom the operator named founds the first team, or joins it; who was removed from it needs an invitation."""
    team, named = people.first_team(session), normalize(identity.address) in house.admins
    if team is None:
        return house.found(session, identity.address, identity.name) if named or not house.admins else None
    if not named or people.was_removed(session, team.id, identity.address, identity.subject):
        return None
    return people.add_user(session, team.id, identity.address, name=identity.name, role=Role.ADMIN)


def _invited(session: Session, identity: Identity, now: datetime) -> User | None:
    asking = invitations.to_address(session, normalize(identity.address), now)
    if len(asking) > 1:
        raise Several(asking)
    return invitations.accept(session, asking[0], identity.address, identity.name, now) if asking else None


def _of_domain(session: Session, identity: Identity) -> User | None:
    """Whose Workspace domain a team allows is a member of it; who was removed there needs an invitation."""
    team = invitations.by_domain(session, identity.workspace) if identity.workspace else None
    if team is None or people.was_removed(session, team.id, identity.address, identity.subject):
        return None
    return people.add_user(session, team.id, identity.address, name=identity.name)
