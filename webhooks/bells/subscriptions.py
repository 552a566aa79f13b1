"""Push subscriptions: the browsers that a person switched on, and the key that our pushes are signed with."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import ForeignKey, Integer, LargeBinary, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import outside, row_security
from tracker.db import Base, Identified, Keyed, OfTeam, new_key
from tracker.people import User
from tracker.row_security import Why
from tracker.secrets import Cipher

MOST = 20  # browsers of a person; the one that was silent the longest goes
ENDPOINT_LIMIT = 1000  # characters


class SubscriptionError(ValueError):
    """A browser can't be switched on; the text says why and what to do."""


class PushSubscription(OfTeam, Keyed, Base):
    """One browser, as its push service knows it (RFC 8030), with its keys (RFC 8291 §2)."""

    __tablename__ = "push_subscriptions"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    endpoint: Mapped[str] = mapped_column(unique=True)
    p256dh: Mapped[str]  #: base64url
    auth: Mapped[str]
    label: Mapped[str]  #: "Chrome on Linux"
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_ok_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(Integer, server_default="0")  #: since the last that got through


class VapidKey(OfTeam, Identified, Base):
    """A team's key (RFC 8292). Browsers are subscribed to it: with another they have to subscribe anew."""

    __tablename__ = "vapid_keys"

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), unique=True)
    public: Mapped[str]  #: base64url of the uncompressed point, as browsers take it
    private: Mapped[bytes] = mapped_column(LargeBinary)  #: sealed
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


def vapid_key(session: Session, team_id: int, cipher: Cipher) -> VapidKey:
    """The team's key, made when it is first asked for."""
    query = select(VapidKey).where(VapidKey.team_id == team_id)
    found = session.scalar(query)
    if found is not None:
        return found
    made = ec.generate_private_key(ec.SECP256R1())
    number = made.private_numbers().private_value.to_bytes(32, "big")
    point = made.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    values = {"team_id": team_id, "public": _written(point), "private": cipher.seal({"d": _written(number)})}
    session.execute(insert(VapidKey).values(**values).on_conflict_do_nothing())
    return session.scalars(query).one()


def subscribe(
    session: Session,
    user: User,
    *,
    endpoint: str,
    p256dh: str,
    auth: str,
    label: str,
    private: bool,
    now: datetime,
) -> PushSubscription:
    """Switch a browser on. It may have been another person's before: now it is this one's.

    `private` allows push services inside one's own network, without TLS. Raises `SubscriptionError`.
    """
    _check(endpoint, p256dh, auth, private)
    values = {
        "team_id": user.team_id, "user_id": user.id, "p256dh": p256dh, "auth": auth, "label": label[:100],
        "created_at": now, "last_ok_at": None, "failures": 0, "key": new_key(),
    }  # fmt: skip
    made = insert(PushSubscription).values(endpoint=endpoint, **values)
    with row_security.as_system(session, Why.ONE_BROWSER_ONE_PERSON):
        kept = session.scalars(
            made.on_conflict_do_update(index_elements=["endpoint"], set_=values).returning(PushSubscription),
            execution_options={"populate_existing": True},
        ).one()
    _forget_oldest(session, user)
    return kept


def _check(endpoint: str, p256dh: str, auth: str, private: bool) -> None:
    try:
        parts = outside.checked(endpoint)
    except outside.Refused:
        raise SubscriptionError("This browser names a push service that is no address") from None
    if len(endpoint) > ENDPOINT_LIMIT or not (private or parts.scheme == "https"):
        raise SubscriptionError("This browser names a push service without TLS, which is not asked")
    point, secret = _read(p256dh), _read(auth)
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise SubscriptionError("This browser gave no usable key; try again") from None
    if len(point) != 65 or len(secret) != 16:
        raise SubscriptionError("This browser gave no usable key; try again")


def _read(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text[:200] + "=" * (-len(text[:200]) % 4))
    except (binascii.Error, ValueError):
        return b""


def _written(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _forget_oldest(session: Session, user: User) -> None:
    heard = func.coalesce(PushSubscription.last_ok_at, PushSubscription.created_at)
    surplus = (
        select(PushSubscription.id)
        .where(PushSubscription.user_id == user.id)
        .order_by(heard.desc(), PushSubscription.id.desc())
        .offset(MOST)
    )
    session.execute(delete(PushSubscription).where(PushSubscription.id.in_(surplus)))


def of_user(session: Session, user: User) -> Sequence[PushSubscription]:
    """The browsers of a person, the newest first."""
    query = select(PushSubscription).where(PushSubscription.user_id == user.id)
    return session.scalars(query.order_by(PushSubscription.id.desc())).all()


def by_endpoint(session: Session, user: User, endpoint: str) -> PushSubscription | None:
    """A person's browser, by its address at the push service."""
    query = select(PushSubscription).where(PushSubscription.user_id == user.id)
    return session.scalar(query.where(PushSubscription.endpoint == endpoint))


def remove(session: Session, user: User, key: str) -> bool:
    """Switch a person's browser off; whether there was one."""
    gone = delete(PushSubscription).where(PushSubscription.user_id == user.id, PushSubscription.key == key)
    return session.scalar(gone.returning(PushSubscription.id)) is not None
