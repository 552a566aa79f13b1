"""API keys: what a person's programs show instead of a sign-in. Shown once; only a hash of it is kept.

A key reads `trk_<handle>_<secret>`: the handle finds the row and may be seen; the secret is compared in constant
time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, ForeignKey, Index, LargeBinary, func, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import events
from tracker.attempts import Attempts
from tracker.db import Base, Keyed, OfTeam
from tracker.people import Role, User, Viewer, viewer_of

NAME_LENGTH = 100  # characters
MOST = 50  # keys of one person that are good at the same time
USED_EVERY = timedelta(minutes=1)  #: how often it is noted that a key is used
LONGEST = timedelta(days=3660)
_SHAPE = re.compile(r"trk_([A-Za-z0-9]{10})_([A-Za-z0-9_-]{43})")
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).digest()  #: compared with where there is no such key


class Scope(StrEnum):
    """What a key opens, beyond which nothing that its person may do is done with it."""

    READ = "read"
    WRITE = "write"
    SEND = "send"
    ADMIN = "admin"


class ApiKeyError(ValueError):
    """A key can't be made so; the text is for the person."""


class TooMany(Exception):
    """Too many wrong keys came from there; `seconds` says when to come again."""

    def __init__(self, seconds: int) -> None:
        super().__init__("Too many wrong keys")
        self.seconds = seconds


class ApiKey(OfTeam, Keyed, Base):
    """One key of one person."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_user_id_good", "user_id", postgresql_where=text("revoked_at IS NULL")),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    handle: Mapped[str] = mapped_column(unique=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)  #: SHA-256; the secret has 256 random bits
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]  #: within `USED_EVERY`
    revoked_at: Mapped[datetime | None]

    @property
    def prefix(self) -> str:
        """How it begins, to know it by."""
        return f"trk_{self.handle}_…"


def make(
    session: Session, user: User, name: str, scopes: Collection[Scope], expires_at: datetime | None, *,
    now: datetime, door: str = "web",
) -> tuple[ApiKey, str]:  # fmt: skip
    """Make a key; the second is the key itself, to be shown this once. Raises `ApiKeyError`."""
    name = " ".join(name.replace("\x00", "").split())[:NAME_LENGTH]
    _check(session, user, name, scopes, expires_at, now)
    handle = "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(10))
    secret = secrets.token_urlsafe(32)
    made = ApiKey(
        team_id=user.team_id, user_id=user.id, name=name, handle=handle, secret_hash=_hash(secret),
        scopes=sorted(scope.value for scope in scopes), created_at=now, expires_at=expires_at,
    )  # fmt: skip
    session.add(made)
    session.flush()
    _record(session, viewer_of(user, door), "api_key.made", made)
    return made, f"trk_{handle}_{secret}"


def _check(
    session: Session, user: User, name: str, scopes: Collection[Scope], expires_at: datetime | None, now: datetime
) -> None:
    if not name:
        raise ApiKeyError("Give it a name, to know later what it is for")
    if not scopes:
        raise ApiKeyError("Tick at least one thing that it may do")
    if Scope.ADMIN in scopes and user.role != Role.ADMIN:
        raise ApiKeyError("Only an admin’s key may administer")
    if expires_at is not None and not now < expires_at <= now + LONGEST:
        raise ApiKeyError("Choose a day in the future on which it ends, within ten years")
    good = select(func.count()).where(ApiKey.user_id == user.id, _good(now))
    if int(session.scalar(good) or 0) >= MOST:
        raise ApiKeyError(f"You have {MOST} keys; revoke those that nothing uses any more")


def check(session: Session, presented: str, now: datetime) -> tuple[Viewer, frozenset[Scope]] | None:
    """Who shows this key and what it opens; None if it is no good key of anybody who is in a team.

    Whether the handle is unknown, the secret wrong, or the key revoked takes the same work.
    """
    found = _SHAPE.fullmatch(presented) if len(presented) <= 100 else None
    handle, secret = (found[1], found[2]) if found else ("", "")
    query = select(ApiKey, User).join(User, User.id == ApiKey.user_id).where(ApiKey.handle == handle)
    row = session.execute(query).one_or_none()
    same = hmac.compare_digest(row[0].secret_hash if row else _NOBODY, _hash(secret))
    if row is None or not same or not _is_good(row[0], row[1], now):
        return None
    key, user = row
    _used(session, key, now)
    scopes = frozenset(map(Scope, key.scopes))
    return viewer_of(user, "api"), scopes if user.role == Role.ADMIN else scopes - {Scope.ADMIN}


def authenticate(
    session: Session, presented: str, address: str, guesses: Attempts, now: datetime
) -> tuple[Viewer, frozenset[Scope]] | None:
    """As `check`, for somebody at this address. Raises `TooMany` once too many keys from there were wrong."""
    if wait := guesses.wait(address):
        raise TooMany(wait)
    found = check(session, presented, now)
    if found is None:
        guesses.note(address)
    return found


def of_user(session: Session, user_id: int, now: datetime) -> Sequence[ApiKey]:
    """Somebody's keys that are not revoked, the newest first; those that expired are told for a month."""
    told = ApiKey.expires_at.is_(None) | (ApiKey.expires_at > now - timedelta(days=30))
    query = select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None), told)
    return session.scalars(query.order_by(ApiKey.id.desc())).all()


def revoke(session: Session, viewer: Viewer, key: str, now: datetime) -> ApiKey | None:
    """Revoke one key of the viewer's own, or as system work any of the team's; None if there is no such one."""
    mine = ApiKey.team_id == viewer.team_id if viewer.is_system else ApiKey.user_id == viewer.user_id
    query = select(ApiKey).where(ApiKey.key == key, mine, ApiKey.revoked_at.is_(None)).with_for_update()
    found = session.scalar(query)
    if found is not None:
        found.revoked_at = now
        _record(session, viewer, "api_key.revoked", found)
    return found


def revoke_all(session: Session, viewer: Viewer, user: User, now: datetime) -> int:
    """Revoke every key of somebody: one's own, or as an admin a teammate's. How many there were."""
    own = viewer.is_system or viewer.user_id == user.id or viewer.role == Role.ADMIN
    if user.team_id != viewer.team_id or not own:
        raise PermissionError("Only an admin revokes the keys of others")
    found = session.scalars(
        update(ApiKey)
        .where(ApiKey.user_id == user.id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(ApiKey)
    ).all()
    for one in found:
        _record(session, viewer, "api_key.revoked", one)
    return len(found)


def _good(now: datetime) -> ColumnElement[bool]:
    return ApiKey.revoked_at.is_(None) & (ApiKey.expires_at.is_(None) | (ApiKey.expires_at > now))


def _is_good(key: ApiKey, user: User, now: datetime) -> bool:
    expired = key.expires_at is not None and key.expires_at <= now
    return key.revoked_at is None and not expired and user.removed_at is None


def _used(session: Session, key: ApiKey, now: datetime) -> None:
    if key.used_at is not None and key.used_at > now - USED_EVERY:
        return
    free = select(ApiKey.id).where(ApiKey.id == key.id).with_for_update(skip_locked=True).scalar_subquery()
    session.execute(
        update(ApiKey).where(ApiKey.id == free).values(used_at=now),
        execution_options={"synchronize_session": False},
    )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _record(session: Session, viewer: Viewer, kind: str, key: ApiKey) -> None:
    data = {"key": key.key, "name": key.name, "scopes": key.scopes}
    events.record(session, key.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, data=data)
