"""The private list: with whom a person's mail is shared with nobody. It is seen by its owner alone."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from tracker import events, facts
from tracker.addresses import domain_of, normalize
from tracker.people import OwnAddress, Viewer
from tracker.sharing.levels import SharingError
from tracker.sharing.tables import Private

MOST = 500  # entries of one person


def private_add(session: Session, viewer: Viewer, typed: str) -> str:
    """Put an address or a domain on the viewer's list; a domain stands for all below it. The entry as it is kept.

    Raises `SharingError`.
    """
    value = entry(typed)
    if viewer.user_id is None:
        raise SharingError("A private list is a person’s")
    number = session.scalar(select(func.count()).where(Private.user_id == viewer.user_id)) or 0
    if number >= MOST:
        raise SharingError(f"The list holds at most {MOST} entries")
    _refuse_own(session, viewer, value)
    made = insert(Private).values(team_id=viewer.team_id, user_id=viewer.user_id, value=value)
    if session.scalar(made.on_conflict_do_nothing().returning(Private.id)) is not None:
        _tell(session, viewer, value, added=True)
    return value


def private_remove(session: Session, viewer: Viewer, value: str) -> bool:
    """Take an entry off the viewer's list; whether it was there."""
    gone = delete(Private).where(
        Private.user_id == viewer.user_id, Private.value == value[:400].replace("\x00", "")
    )
    if session.scalar(gone.returning(Private.id)) is None:
        return False
    _tell(session, viewer, value, added=False)
    return True


def private_list(session: Session, user_id: int) -> Sequence[str]:
    """Somebody's entries, by the alphabet."""
    return session.scalars(select(Private.value).where(Private.user_id == user_id).order_by(Private.value)).all()


def entry(typed: str) -> str:
    """What somebody typed as the list keeps it. Raises `SharingError`."""
    plain = typed.strip()[:400].replace("\x00", "").removeprefix("*")
    local, at, domain = plain.rpartition("@")
    value = normalize(plain) if local and at else domain_of(normalize(f"x@{domain.strip('.')}"))
    host = domain_of(value) or value
    if "." not in host or any(char.isspace() for char in plain):
        raise SharingError("Give an address such as doctor@clinic.example, or a domain such as bank.example")
    return value


def _refuse_own(session: Session, viewer: Viewer, value: str) -> None:
    """An entry that covers an address of the owner's own would close every mail of theirs, unawares."""
    own = session.scalars(select(OwnAddress.normalized).where(OwnAddress.user_id == viewer.user_id))
    if any(address == value or address.endswith((f"@{value}", f".{value}")) for address in own):
        raise SharingError("That covers your own address: none of your mail would be shared at all")


def _tell(session: Session, viewer: Viewer, value: str, *, added: bool) -> None:
    """Whom it is about is told to nobody."""
    facts.refresh_owner(session, viewer.user_id or 0, about=value)
    events.record(
        session,
        viewer.team_id,
        "sharing.private",
        actor=viewer.actor,
        user_id=viewer.user_id,
        data={"added": added},
    )
