"""What a person wishes to be told: which kinds over which channels, which pipelines, quiet hours, a digest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import CheckConstraint, ForeignKey, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker.db import Base, OfTeam, among
from tracker.people import User
from webhooks.bells.kinds import Channel, Kind, defaults


class Digest(StrEnum):
    """How often a mail to oneself says what is new."""

    NONE = "none"
    DAILY = "daily"
    HOURLY = "hourly"


class NotificationSettings(OfTeam, Base):
    """One person's wishes; without a row the defaults hold."""

    __tablename__ = "notification_settings"
    __table_args__ = (CheckConstraint("digest in ('none', 'daily', 'hourly')", name="digest"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    #: Channels by kind, as chosen; a kind that is not in it has its defaults.
    channels: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    quiet_pipelines: Mapped[list[str]] = mapped_column(server_default="{}")  #: keys; new pipelines are heard
    quiet_from: Mapped[time | None]  #: wall times in the person's zone
    quiet_until: Mapped[time | None]
    digest: Mapped[str] = mapped_column(server_default=Digest.NONE.value)
    digest_at: Mapped[datetime | None]  #: when the digest is next due; None while there is none
    digest_after: Mapped[int] = mapped_column(server_default="0")  #: the last notification's id that it carried

    def on(self, kind: Kind) -> frozenset[Channel]:
        """The channels of a kind."""
        chosen = (self.channels or {}).get(kind.value)
        if not isinstance(chosen, list):
            return defaults(kind)
        return frozenset(one for one in Channel if one.value in chosen)


def new(user: User) -> NotificationSettings:
    """The defaults, as a row that is not kept yet."""
    return NotificationSettings(
        user_id=user.id, team_id=user.team_id, channels={}, quiet_pipelines=[], digest=Digest.NONE.value,
        digest_after=0,
    )  # fmt: skip


def of_user(session: Session, user: User) -> NotificationSettings:
    """A person's wishes, or the defaults."""
    return session.get(NotificationSettings, user.id) or new(user)


def of_users(session: Session, users: Iterable[User]) -> dict[int, NotificationSettings]:
    """The wishes of several people, by their ids."""
    listed = {user.id: user for user in users}
    query = select(NotificationSettings).where(among(NotificationSettings.user_id, listed))
    found = {one.user_id: one for one in session.scalars(query)}
    return {id_: found.get(id_) or new(user) for id_, user in listed.items()}


def change(
    session: Session, user: User, *, channels: Mapping[Kind, Collection[Channel]], quiet_pipelines: Iterable[str],
    quiet: tuple[time, time] | None, digest: Digest, newest: int, now: datetime,
) -> NotificationSettings:  # fmt: skip
    """Keep a person's wishes. `newest` is the id of their last notification: a digest begins behind it."""
    wishes = session.get(NotificationSettings, user.id, with_for_update=True)
    if wishes is None:
        wishes = new(user)
        session.add(wishes)
    wishes.channels = {kind.value: sorted(one.value for one in on) for kind, on in channels.items()}
    wishes.quiet_pipelines = sorted(set(quiet_pipelines))
    wishes.quiet_from, wishes.quiet_until = quiet or (None, None)
    if digest != wishes.digest:
        if wishes.digest == Digest.NONE:
            wishes.digest_after = newest
        wishes.digest = digest.value
    wishes.digest_at = next_digest(digest, user, now)
    session.flush()
    return wishes


def zone_of(user: User) -> ZoneInfo:
    """Where the person's day begins."""
    try:
        return ZoneInfo(user.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


DIGEST_TIME = time(8)


def next_digest(digest: Digest, user: User, now: datetime) -> datetime | None:
    """When the next digest is due: at eight in the person's morning, or at the next full hour."""
    if digest == Digest.NONE:
        return None
    if digest == Digest.HOURLY:
        return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return next_time(DIGEST_TIME, zone_of(user), now)


def next_time(wall: time, zone: ZoneInfo, now: datetime) -> datetime:
    """The next instant after `now` at which the clock there shows this time, or has just jumped over it.

    A clock that is put back shows it twice: the first of both that is still to come.
    """
    day = now.astimezone(zone).date()
    return min(one for ahead in range(3) for one in _shown(day + timedelta(days=ahead), wall, zone) if one > now)


def _shown(day: date, wall: time, zone: ZoneInfo) -> tuple[datetime, datetime]:
    first, second = (datetime.combine(day, wall.replace(fold=fold), zone).astimezone(UTC) for fold in (0, 1))
    return first, max(first, second)  # of a time that is jumped over, fold 1 names an instant before the jump


def is_quiet(wishes: NotificationSettings, zone: ZoneInfo, now: datetime) -> bool:
    """Whether nothing may ring now."""
    begins, ends = wishes.quiet_from, wishes.quiet_until
    if begins is None or ends is None or begins == ends:
        return False
    here = now.astimezone(zone).time()
    return begins <= here < ends if begins < ends else here >= begins or here < ends


def quiet_until(wishes: NotificationSettings, zone: ZoneInfo, now: datetime) -> datetime | None:
    """When it may ring again, if it may not now."""
    if not is_quiet(wishes, zone, now) or wishes.quiet_until is None:
        return None
    end = now
    while is_quiet(wishes, zone, end):
        ends = next_time(wishes.quiet_until, zone, end)
        end = _next_change(zone, end, ends) or ends  # a clock that is put on or back may end them too, or not yet
    return end


def _next_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The first instant after `after`, before `until`, at which the clock there is put on or back."""
    early = after.astimezone(UTC)
    while early < until:
        late = min(early + timedelta(hours=1), until)
        if _offset(zone, early) != _offset(zone, late):
            break
        early = late
    else:
        return None
    while late - early > timedelta(microseconds=1):
        middle = early + (late - early) / 2
        early, late = (middle, late) if _offset(zone, middle) == _offset(zone, early) else (early, middle)
    return late if late < until else None


def _offset(zone: ZoneInfo, at: datetime) -> timedelta | None:
    return at.astimezone(zone).utcoffset()
