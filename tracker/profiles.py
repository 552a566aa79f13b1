"""Profiles: what a person sets for themselves: their name, and the time zone in which their day begins."""

from __future__ import annotations

from zoneinfo import available_timezones

from sqlalchemy import update
from sqlalchemy.orm import Session

from tracker import events
from tracker.people import User, Viewer

NAME_LIMIT = 100  # characters
UNKNOWN = "UTC"  #: nobody has said yet where the person is; whoever is there indeed chooses `CHOSEN_UTC`
CHOSEN_UTC = "Etc/UTC"


class ProfileError(ValueError):
    """A profile can't be changed so; the text says what would do."""


def zones() -> list[str]:
    """The zones that can be chosen (IANA), without the old names and POSIX's."""
    kept = {name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/"))}
    return [CHOSEN_UTC, *sorted(kept)]


def change(session: Session, viewer: Viewer, user: User, *, name: str, time_zone: str) -> None:
    """Set a person's name and time zone. Raises `ProfileError`."""
    name = " ".join(name.replace("\x00", "").split())
    if not 1 <= len(name) <= NAME_LIMIT:
        raise ProfileError(f"A name has 1 to {NAME_LIMIT} characters")
    zone = _known(time_zone)
    changed = [
        what
        for what, before, after in (("name", user.name, name), ("time_zone", user.time_zone, zone))
        if before != after
    ]
    if not changed:
        return
    user.name, user.time_zone = name, zone
    _record(session, viewer, user, changed)


def learn_time_zone(session: Session, viewer: Viewer, user: User, time_zone: str) -> bool:
    """Take over the zone of a person's browser, once; what they chose stays. Raises `ProfileError`."""
    zone = _known(time_zone)
    learnt = session.scalar(
        update(User)
        .where(User.id == user.id, User.time_zone == UNKNOWN)
        .values(time_zone=zone)
        .returning(User.id),
        execution_options={"synchronize_session": False},
    )
    if learnt is None:
        return False
    session.refresh(user, ["time_zone"])
    _record(session, viewer, user, ["time_zone"])
    return True


def _known(time_zone: str) -> str:
    if time_zone == UNKNOWN:
        return CHOSEN_UTC
    if time_zone not in available_timezones():
        raise ProfileError("Choose a time zone from the list, such as Europe/Berlin")
    return time_zone


def _record(session: Session, viewer: Viewer, user: User, changes: list[str]) -> None:
    data = {"user": user.key, "changes": changes}
    events.record(session, viewer.team_id, "user.changed", actor=viewer.actor, user_id=viewer.user_id, data=data)
