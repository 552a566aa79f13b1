"""Joining: which user somebody is whom Google vouches for, and how they become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from gmail_sync.oauth import Identity
from tracker import invitations, people, sharing
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


def admit(session: Session, house: House, identity: Identity, now: datetime) -> User | None:
    """The user that Google vouches for, made one if they may join; None if they may not. Raises `Several`."""
    known = people.by_address(session, identity.address)
    found = known or _newcomer(session, house, identity, now)
    if found is not None and known is None:
        sharing.welcome_back(session, found)
    return _known(found, identity, now) if found is not None else None


def accept(session: Session, identity: Identity, key: str, now: datetime) -> User | None:
    """Join the team of the invitation that was chosen."""
    if people.by_address(session, identity.address) is not None:
        return None
    asking = invitations.to_address(session, normalize(identity.address), now)
    chosen = next((one for one in asking if one.key == key), None)
    if chosen is None:
        return None
    found = invitations.accept(session, chosen, identity.address, identity.name, now)
    sharing.welcome_back(session, found)
    return _known(found, identity, now)


def _known(found: User, identity: Identity, now: datetime) -> User | None:
    # An address may be given to another account later; Google's subject never is.
    if found.google_subject not in (None, identity.subject):
        return None
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
