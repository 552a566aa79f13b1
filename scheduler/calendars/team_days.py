"""The team's own days off: an iCalendar that is fetched every day, or a file that somebody brought.

Kept are the text and the days that it holds for the next year, worked out again every day. What can't be fetched
or read leaves the days as they were, and its page says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date, datetime, timedelta

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from scheduler import local_time
from scheduler.calendars import ics, ics_days, outside
from scheduler.calendars.days_off import days_off
from scheduler.calendars.outside import Answer, Refused
from tracker import events
from tracker.charsets import clean
from tracker.db import Base, Identified, OfTeam, Sessions, insert_many, transaction
from tracker.people import Role, Viewer

log = logging.getLogger(__name__)
EVERY = timedelta(hours=24)
AGAIN = timedelta(hours=2)  #: after it could not be fetched
BACK = timedelta(days=7)
AHEAD = local_time.SEARCHED + timedelta(days=100)
AT_ONCE = 20  #: calendars of one tick

Fetch = Callable[..., Answer]


class DaysError(ValueError):
    """The calendar can't be taken; the text says why and what to do."""


class TeamCalendar(OfTeam, Identified, Base):
    """Where a team's days off come from; one a team."""

    __tablename__ = "team_calendars"
    __table_args__ = (
        UniqueConstraint("team_id"),
        Index("ix_team_calendars_next_at", "next_at"),
        CheckConstraint("url IS NOT NULL OR text IS NOT NULL", name="source"),
    )

    name: Mapped[str]  #: the file's name, or the address as it is shown
    url: Mapped[str | None]
    etag: Mapped[str] = mapped_column(server_default="")
    text: Mapped[str | None]  #: iCalendar
    next_at: Mapped[datetime]  #: when it is fetched, or read, again
    read_at: Mapped[datetime | None]  #: when its days were last worked out
    problem: Mapped[str | None]  #: in words
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TeamDay(OfTeam, Base):
    """A day off of the team, with its reason."""

    __tablename__ = "team_days"

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    reason: Mapped[str]


def of_team(session: Session, team_id: int) -> dict[date, str]:
    """The team's own days off with their reasons, as `days_off` takes them."""
    query = select(TeamDay.day, TeamDay.reason).where(TeamDay.team_id == team_id)
    return {row.day: row.reason for row in session.execute(query)}


def calendar_of(session: Session, team_id: int) -> TeamCalendar | None:
    """Where the team's days off come from."""
    return session.scalar(select(TeamCalendar).where(TeamCalendar.team_id == team_id))


def subscribe(session: Session, viewer: Viewer, url: str, now: datetime) -> TeamCalendar:
    """Take the days off from an address, from the next tick on; what there was before goes.

    Raises `DaysError`, `PermissionError`.
    """
    _may_set(viewer)
    try:
        url = outside.checked(url)
    except Refused as error:
        raise DaysError(str(error)) from None
    made = TeamCalendar(team_id=viewer.team_id, name=_host(url), url=url, next_at=now, user_id=viewer.user_id)
    return _put(session, viewer, made, "team_days.subscribed")


def upload(session: Session, viewer: Viewer, name: str, data: bytes, now: datetime) -> TeamCalendar:
    """Take the days off from a file. Raises `DaysError`, `PermissionError`."""
    _may_set(viewer)
    made = TeamCalendar(
        team_id=viewer.team_id, name=" ".join(name.split())[:200] or "days.ics", text=_text(data), next_at=now,
        user_id=viewer.user_id,
    )  # fmt: skip
    found = _days(made, now)
    _put(session, viewer, made, "team_days.uploaded", days=len(found.days))
    _store(session, made, found, now)
    return made


def remove(session: Session, viewer: Viewer) -> None:
    """Forget the team's own days off. Raises `PermissionError`."""
    _may_set(viewer)
    session.execute(delete(TeamDay).where(TeamDay.team_id == viewer.team_id))
    gone = session.scalars(
        delete(TeamCalendar).where(TeamCalendar.team_id == viewer.team_id).returning(TeamCalendar.name)
    ).all()
    for name in gone:
        _record(session, viewer, "team_days.removed", name)


def is_any_due(session: Session, now: datetime) -> bool:
    """Whether it is a calendar's turn."""
    return session.scalar(select(TeamCalendar.id).where(TeamCalendar.next_at <= now).limit(1)) is not None


def refresh(sessions: Sessions, now: datetime, *, private: bool = False, fetch: Fetch = outside.fetch) -> int:
    """The job: fetch and read the calendars whose turn it is; returns how many there were.

    `private` allows addresses of one's own network. Nothing is open in the database while the network is awaited.
    """
    with transaction(sessions) as session:
        query = select(TeamCalendar).where(TeamCalendar.next_at <= now).order_by(TeamCalendar.next_at)
        due = session.scalars(query.limit(AT_ONCE).with_for_update(skip_locked=True)).all()
        for calendar in due:  # whoever else ticks leaves them alone meanwhile; a crash tries again
            calendar.next_at = now + AGAIN
    for calendar in due:
        try:
            _refresh(sessions, calendar, now, private, fetch)
        except Exception:  # whatever one holds, the others have their turn
            log.exception("Days off of team %s", calendar.team_id)
            with transaction(sessions) as session:
                _settle(session, calendar.id, calendar.url, None, _BROKEN, now)
    return len(due)


_BROKEN = "It could not be read, by an error of ours; it is tried again"


def _refresh(sessions: Sessions, calendar: TeamCalendar, now: datetime, private: bool, fetch: Fetch) -> None:
    problem, answer = None, None
    try:
        if calendar.url is not None:
            answer = fetch(calendar.url, etag=calendar.etag, private=private)
    except Refused as error:
        problem = str(error)
    with transaction(sessions) as session:
        _settle(session, calendar.id, calendar.url, answer, problem, now)


def _settle(
    session: Session, calendar_id: int, url: str | None, answer: Answer | None, problem: str | None, now: datetime
) -> None:
    calendar = session.get(TeamCalendar, calendar_id, with_for_update=True)
    if calendar is None or calendar.url != url:
        return  # somebody put another in its place meanwhile
    text, etag = calendar.text, calendar.etag
    try:
        if answer is not None and answer.body is not None:
            calendar.text, calendar.etag = _text(answer.body), answer.etag
        if problem is None:
            _store(session, calendar, _days(calendar, now), now)
    except DaysError as error:
        calendar.text, calendar.etag, problem = text, etag, str(error)
    if problem is not None:
        log.info("Days off of team %s: %s", calendar.team_id, problem)
        calendar.problem, calendar.next_at = problem, now + AGAIN


def _store(session: Session, calendar: TeamCalendar, found: ics_days.Days, now: datetime) -> None:
    session.execute(delete(TeamDay).where(TeamDay.team_id == calendar.team_id))
    rows = [{"team_id": calendar.team_id, "day": day, "reason": why} for day, why in sorted(found.days.items())]
    insert_many(session, TeamDay, rows)
    calendar.problem, calendar.read_at, calendar.next_at = "; ".join(found.problems) or None, now, now + EVERY
    session.flush()


def _days(calendar: TeamCalendar, now: datetime) -> ics_days.Days:
    try:
        return ics_days.read(calendar.text or "", (now - BACK).date(), (now + AHEAD).date())
    except ics.Unreadable as error:
        raise DaysError(str(error)) from None


def _text(data: bytes) -> str:
    if len(data) > ics.MOST_BYTES:
        raise DaysError(f"The calendar is larger than {ics.MOST_BYTES // 1_000_000} MB")
    return clean(data.decode("utf-8", "replace"))


def _put(session: Session, viewer: Viewer, made: TeamCalendar, kind: str, **data: object) -> TeamCalendar:
    session.execute(delete(TeamDay).where(TeamDay.team_id == viewer.team_id))
    session.execute(delete(TeamCalendar).where(TeamCalendar.team_id == viewer.team_id))
    session.add(made)
    session.flush()
    _record(session, viewer, kind, made.name, **data)
    return made


def _host(url: str) -> str:
    """What is shown of an address: often it is a secret."""
    return url.split("/")[2][:200]


def _may_set(viewer: Viewer) -> None:
    if viewer.role == Role.GUEST:
        raise PermissionError("Guests don't set the team's days off")


def _record(session: Session, viewer: Viewer, kind: str, name: str, **data: object) -> None:
    data = {"name": name, **data}
    events.record(session, viewer.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, data=data)


def free_for(session: Session, team_id: int, country: str | None) -> local_time.Free:
    """`days_off` of a country, with the team's own days."""
    return days_off(country, of_team(session, team_id))
