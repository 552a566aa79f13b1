"""Sessions: where a person is signed in. Each sign-in is a row that can be ended; its cookie then opens nothing.

The signed cookie holds a random token, the row only its SHA-256: whoever reads the database signs in nowhere.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, ForeignKey, Index, LargeBinary, delete, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import events, topics
from tracker.db import Base, Keyed, OfTeam
from tracker.people import Role, User, Viewer

UNUSED = timedelta(days=30)  #: then a session has ended
SEEN_EVERY = timedelta(minutes=5)  #: how often it is noted that it is used
KEPT = timedelta(days=30)  #: how long ended ones stay on record
AT_ONCE = 1000
ADDRESS_LENGTH, TOKEN_LENGTH = 64, 200  # characters that are looked at

_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS"), ("Windows", "Windows"),
    ("Mac OS X", "a Mac"), ("Macintosh", "a Mac"), ("Linux", "Linux"),
)  # fmt: skip
_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("Vivaldi", "Vivaldi"), ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"), ("FxiOS", "Firefox"), ("CriOS", "Chrome"), ("Chrome/", "Chrome"),
    ("Chromium/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip


class SignIn(OfTeam, Keyed, Base):
    """One sign-in of one person, in one browser."""

    __tablename__ = "sign_ins"
    __table_args__ = (
        Index("ix_sign_ins_user_id_open", "user_id", postgresql_where=text("ended_at IS NULL")),
        Index("ix_sign_ins_seen_at", "seen_at"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)  #: SHA-256
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]  #: within `SEEN_EVERY`
    ended_at: Mapped[datetime | None]
    address: Mapped[str]  #: where it was last used from
    program: Mapped[str]  #: the browser, in words


def begin(session: Session, user: User, *, address: str, agent: str, now: datetime) -> str:
    """Sign somebody in; the token for their cookie, told once. Raises `PermissionError` if they were removed."""
    # Held to the end: who is being removed right now gets no session behind the removal's back.
    open_ = select(User.id).where(User.id == user.id, User.removed_at.is_(None)).with_for_update(read=True)
    if session.scalar(open_) is None:
        raise PermissionError("This person was removed")
    token = secrets.token_urlsafe(32)
    made = SignIn(
        team_id=user.team_id, user_id=user.id, token_hash=_hash(token), created_at=now, seen_at=now,
        address=_plain(address), program=program(agent),
    )  # fmt: skip
    session.add(made)
    session.flush()
    data = {"user": user.key, "program": made.program}
    events.record(session, user.team_id, "session.began", actor=events.PERSON, user_id=user.id, data=data)
    return token


def signed_in(session: Session, token: object, now: datetime) -> tuple[SignIn, User] | None:
    """Whose session this token is: neither ended, nor unused for too long, nor that of somebody removed."""
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_LENGTH:
        return None
    query = (
        select(SignIn, User)
        .join(User, User.id == SignIn.user_id)
        .where(
            SignIn.token_hash == _hash(token),
            SignIn.ended_at.is_(None),
            SignIn.seen_at > now - UNUSED,
            User.removed_at.is_(None),
        )
    )
    found = session.execute(query).one_or_none()
    return (found[0], found[1]) if found else None


def seen(session: Session, found: SignIn, address: str, now: datetime) -> None:
    """Note that a session is used, at most once in `SEEN_EVERY`; who does so already is not waited for."""
    if found.seen_at > now - SEEN_EVERY:
        return
    free = select(SignIn.id).where(SignIn.id == found.id).with_for_update(skip_locked=True).scalar_subquery()
    session.execute(
        update(SignIn).where(SignIn.id == free).values(seen_at=now, address=_plain(address)),
        execution_options={"synchronize_session": False},
    )


def of_user(session: Session, user_id: int, now: datetime) -> Sequence[SignIn]:
    """Where somebody is signed in, what was used last first."""
    query = select(SignIn).where(
        SignIn.user_id == user_id, SignIn.ended_at.is_(None), SignIn.seen_at > now - UNUSED
    )
    return session.scalars(query.order_by(SignIn.seen_at.desc(), SignIn.id.desc())).all()


def end(session: Session, viewer: Viewer, key: str, now: datetime) -> bool:
    """End one session of the viewer's own; whether there was one."""
    found = session.scalar(select(SignIn).where(SignIn.key == key, SignIn.user_id == viewer.user_id))
    return found is not None and _end(session, viewer, found.user_id, now, SignIn.id == found.id) == 1


def end_all(session: Session, viewer: Viewer, user: User, now: datetime, *, but: SignIn | None = None) -> int:
    """End all sessions of somebody but one: one's own, or as an admin a teammate's. How many there were."""
    own = viewer.is_system or viewer.user_id == user.id or viewer.role == Role.ADMIN
    if user.team_id != viewer.team_id or not own:
        raise PermissionError("Only an admin ends the sessions of others")
    return _end(session, viewer, user.id, now, SignIn.id != but.id if but else SignIn.user_id == user.id)


def tidy(session: Session, now: datetime) -> int:
    """Forget some sessions that ended long ago; how many."""
    old = select(SignIn.id).where(SignIn.seen_at < now - UNUSED - KEPT).limit(AT_ONCE)
    return len(session.scalars(delete(SignIn).where(SignIn.id.in_(old)).returning(SignIn.id)).all())


def program(agent: str) -> str:
    """A browser in words, from its User-Agent."""
    said = agent[:500]
    browser = next((words for mark, words in _BROWSERS if mark in said), "")
    system = next((words for mark, words in _SYSTEMS if mark in said), "")
    return f"{browser or 'A browser'} on {system}" if system else browser or "An unknown program"


def topic(user_key: str) -> str:
    """What open pages of somebody are told of when their sessions may have ended; see `webhooks.live`."""
    return f"session:{user_key}"


def _end(session: Session, viewer: Viewer, user_id: int, now: datetime, which: ColumnElement[bool]) -> int:
    open_ones = update(SignIn).where(SignIn.user_id == user_id, SignIn.ended_at.is_(None), which)
    ended = open_ones.values(ended_at=now).returning(SignIn.id)
    number = len(session.scalars(ended, execution_options={"synchronize_session": False}).all())
    if number:
        key = session.get_one(User, user_id).key
        columns = {"user_id": viewer.user_id, "data": {"user": key, "number": number}}
        events.record(session, viewer.team_id, "session.ended", actor=viewer.actor, **columns)
        topics.tell(session, viewer.team_id, [topic(key)])
    return number


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _plain(address: str) -> str:
    return re.sub(r"[^0-9a-zA-Z:.%_-]", "", address)[:ADDRESS_LENGTH]
