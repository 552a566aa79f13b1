"""What may be tracked: a mailbox's defaults, links that a rep never has rewritten, and who is never tracked.

Who is on a list is never tracked, whatever a form asks for; a mail that goes to several people is not, if one of
them is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    Text,
    delete,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, aliased, mapped_column

from tracker import events
from tracker.addresses import domain_of, normalize
from tracker.contacts import Contact, ContactAddress
from tracker.db import Base, Identified, OfTeam, among
from tracker.mailboxes import Mailbox
from tracker.people import Role, Viewer

OPT_OUT_WORDS = "Don’t tell the sender when I read their mail"
OPT_OUT_LIMIT = 120  #: characters
LINES = 2000  #: entries of a list that somebody types
LINE = 500  #: characters of one


class TrackingError(ValueError):
    """A setting can't be as asked; the text says why and what to do."""


class Source(StrEnum):
    """Who said that somebody is never to be tracked."""

    PERSON = "person"  #: one of us, who may take it back
    SELF = "self"  #: they themselves: nobody of ours takes that back


class MailboxTracking(OfTeam, Base):
    """How mail of a mailbox is tracked unless a form says otherwise. Without a row: opens and clicks are."""

    __tablename__ = "tracking_mailboxes"

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True)
    opens: Mapped[bool] = mapped_column(Boolean, server_default="true", default=True)
    clicks: Mapped[bool] = mapped_column(Boolean, server_default="true", default=True)
    #: Links whose text is itself an address are rewritten too, though filters may take that for a lie.
    bare_links: Mapped[bool] = mapped_column(Boolean, server_default="false", default=False)
    opt_out: Mapped[bool] = mapped_column(Boolean, server_default="false", default=False)
    opt_out_words: Mapped[str] = mapped_column(server_default="", default="")  #: empty: `OPT_OUT_WORDS`

    @property
    def opt_out_line(self) -> str:
        """The words of the line under tracked mail; empty where none is wanted."""
        return (self.opt_out_words or OPT_OUT_WORDS) if self.opt_out else ""


class UserTracking(OfTeam, Base):
    """What a rep says of their own links."""

    __tablename__ = "tracking_users"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    links: Mapped[list[str]] = mapped_column(server_default="{}")  #: hosts, or beginnings of addresses


class NeverTracked(OfTeam, Identified, Base):
    """An address or a domain that is never tracked: the team's, or (`user_id`) one rep's."""

    __tablename__ = "tracking_never"
    __table_args__ = (
        # What one of us said stands beside what they asked themselves: taking back the one leaves the other.
        Index(
            "uq_tracking_never_team", "team_id", "value", "source", unique=True,
            postgresql_where=text("user_id IS NULL"),
        ),
        Index(
            "uq_tracking_never_user", "user_id", "value", unique=True, postgresql_where=text("user_id IS NOT NULL")
        ),
        CheckConstraint("source in ('person', 'self')", name="source"),
    )  # fmt: skip

    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    value: Mapped[str]  #: a normalized address, or a domain, which stands for those below it too
    why: Mapped[str] = mapped_column(server_default="", default="")
    source: Mapped[str] = mapped_column(server_default=Source.PERSON.value, default=Source.PERSON.value)
    at: Mapped[datetime]

    @property
    def is_domain(self) -> bool:
        """Whether all of a domain is meant."""
        return "@" not in self.value


#: Told in the transaction that adds to the list (session, team, addresses and domains, now): waiting mail follows.
#: It locks mail of the outbox, and tracked mail after it.
on_never: list[Callable[[Session, int, Sequence[str], datetime], None]] = []


# -- who is never tracked


def never_track(
    session: Session, team_id: int, normalized: str, now: datetime, why: str = "", *,
    source: Source = Source.PERSON, user_id: int | None = None, viewer: Viewer | None = None,
) -> None:  # fmt: skip
    """Never track mail to an address (in its normal form) or a domain again; what is kept of it is not touched.

    `source` is SELF if they asked it themselves: that stands until they say otherwise. Saying it twice changes
    nothing. With `user_id` it is that rep's own list.
    """
    never_track_any(session, team_id, [normalized], now, why, source=source, user_id=user_id, viewer=viewer)


def never_track_any(
    session: Session, team_id: int, values: Iterable[str], now: datetime, why: str = "", *,
    source: Source = Source.PERSON, user_id: int | None = None, viewer: Viewer | None = None,
) -> Sequence[str]:  # fmt: skip
    """The same for several addresses and domains at once; returns those that nobody had said so of before."""
    values = sorted(set(values))
    if not values:
        return []
    row = {"team_id": team_id, "user_id": user_id, "why": why, "source": source.value, "at": now}
    made = insert(NeverTracked).values([row | {"value": value} for value in values])
    new = session.scalars(made.on_conflict_do_nothing().returning(NeverTracked.value)).all()
    for value in sorted(new):
        _record(session, team_id, "tracking.never", value, viewer, source=source.value)
    for follow in on_never:
        follow(session, team_id, values, now)
    return new


def track_again(
    session: Session, team_id: int, values: Collection[str], *, user_id: int | None = None,
    viewer: Viewer | None = None,
) -> None:  # fmt: skip
    """Take addresses or domains off a list, except what people asked of us themselves."""
    of = NeverTracked.user_id.is_(None) if user_id is None else NeverTracked.user_id == user_id
    gone = session.scalars(
        delete(NeverTracked)
        .where(NeverTracked.team_id == team_id, of, among(NeverTracked.value, values))
        .where(NeverTracked.source == Source.PERSON.value)
        .returning(NeverTracked.value)
    ).all()
    for value in gone:
        _record(session, team_id, "tracking.again", value, viewer)


def withdraw(session: Session, team_id: int, normalized: str) -> bool:
    """They themselves say that they may be tracked again; whether they had asked otherwise."""
    gone = delete(NeverTracked).where(
        NeverTracked.team_id == team_id,
        NeverTracked.user_id.is_(None),
        NeverTracked.value == normalized,
        NeverTracked.source == Source.SELF.value,
    )
    if session.scalar(gone.returning(NeverTracked.id)) is None:
        return False
    _record(session, team_id, "tracking.again", normalized, None, source=Source.SELF.value)
    return True


def _record(session: Session, team_id: int, kind: str, value: str, viewer: Viewer | None, **data: str) -> None:
    told = {"of": "somebody" if "@" in value else value, **data}  # no address: events outlive what is erased
    actor, user_id = (viewer.actor, viewer.user_id) if viewer is not None else (events.SYSTEM, None)
    events.record(session, team_id, kind, actor=actor, user_id=user_id, data=told)


def may_track(session: Session, team_id: int, recipients: Iterable[str], user_id: int | None = None) -> str | None:
    """Why a mail to these (normalized) recipients may not be tracked, in words; None if it may.

    `user_id` is the sender, whose own list counts too.
    """
    people = list(recipients)
    return lists(session, team_id, people, user_id).reason(people)


@dataclass(frozen=True, slots=True)
class Lists:
    """What the lists say of some recipients."""

    rows: dict[str, NeverTracked] = field(default_factory=dict)
    siblings: dict[str, list[str]] = field(default_factory=dict)  #: address → those of the same contact
    names: dict[str, str] = field(default_factory=dict)

    def reason(self, recipients: Iterable[str]) -> str | None:
        """Why a mail to these is not tracked: what they asked themselves first."""
        found = [(one, row) for one in recipients for row in self._of(one)]
        found.sort(key=lambda each: each[1].source != Source.SELF)
        return self._words(*found[0]) if found else None

    def _of(self, address: str) -> list[NeverTracked]:
        values = [address, *self.siblings.get(address, ()), *_domains(address)]
        return [self.rows[one] for one in values if one in self.rows]

    def _words(self, address: str, row: NeverTracked) -> str:
        if row.is_domain:
            whose = "the team’s list" if row.user_id is None else "your list"
            return f"mail to {row.value} never is, says {whose}"
        name = self.names.get(address) or address
        return f"{name} asked not to be" if row.source == Source.SELF else f"{name} is marked so"


def lists(session: Session, team_id: int, recipients: Collection[str], user_id: int | None = None) -> Lists:
    """What the team's list and the sender's own say of these recipients, in two queries for any number."""
    if not recipients:
        return Lists()
    siblings, names = _contacts(session, team_id, recipients)
    values = {*recipients, *(one for each in siblings.values() for one in each)}
    values |= {one for address in recipients for one in _domains(address)}
    own = NeverTracked.user_id == user_id if user_id is not None else text("false")
    query = (
        select(NeverTracked)
        .where(NeverTracked.team_id == team_id, or_(NeverTracked.user_id.is_(None), own))
        .where(among(NeverTracked.value, values))
        .order_by(NeverTracked.user_id.nulls_first(), NeverTracked.source.desc())  # their own words first
    )
    rows: dict[str, NeverTracked] = {}
    for row in session.scalars(query):
        rows.setdefault(row.value, row)
    return Lists(rows, siblings, names)


def _contacts(
    session: Session, team_id: int, recipients: Collection[str]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The other addresses of the recipients' contacts, and their names: who has several is one person."""
    other = aliased(ContactAddress)
    query = (
        select(ContactAddress.normalized, other.normalized, Contact.name)
        .join(Contact, Contact.id == ContactAddress.contact_id)
        .join(other, other.contact_id == Contact.id)
        .where(ContactAddress.team_id == team_id, among(ContactAddress.normalized, recipients))
    )
    siblings: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for address, sibling, name in session.execute(query):
        siblings.setdefault(address, []).append(sibling)
        names[address] = name
    return siblings, names


def among_values(
    session: Session, recipients: InstrumentedAttribute[list[str]], team_id: int, values: Collection[str]
) -> ColumnElement[bool]:
    """SQL: whether one of these addresses or domains is a recipient's, or another address of their contact's."""
    addresses = {one for one in values if "@" in one}
    siblings = _contacts(session, team_id, addresses)[0].values()
    people = sorted(addresses.union(*siblings))
    to_people = recipients.bool_op("&&")(literal(people, ARRAY(Text())))
    domains = "|".join(re.escape(one) for one in sorted({*values} - addresses))
    below = func.array_to_string(recipients, " ").regexp_match(f"[@.](?:{domains})(?: |$)")
    return to_people | below if domains else to_people


def _domains(address: str) -> list[str]:
    """A recipient's domain and those above it."""
    labels = domain_of(address).split(".")
    return [".".join(labels[start:]) for start in range(len(labels) - 1)]


def marks(session: Session, team_id: int, addresses: Collection[str]) -> Sequence[NeverTracked]:
    """What the team's list says of these addresses themselves, domains aside."""
    query = select(NeverTracked).where(
        NeverTracked.team_id == team_id, NeverTracked.user_id.is_(None), among(NeverTracked.value, addresses)
    )
    return session.scalars(query).all()


def never_of(session: Session, team_id: int, user_id: int | None) -> Sequence[NeverTracked]:
    """A whole list: the team's, or one rep's."""
    of = NeverTracked.user_id.is_(None) if user_id is None else NeverTracked.user_id == user_id
    query = select(NeverTracked).where(NeverTracked.team_id == team_id, of).order_by(NeverTracked.value)
    return session.scalars(query).all()


def value_of(typed: str) -> str:
    """An address or a domain as somebody types it, in its normal form. Raises `TrackingError`."""
    typed = typed.strip().strip("@").strip().lower()
    normalized = normalize(typed if "@" in typed else f"x@{typed}")
    domain = domain_of(normalized)
    if "." not in domain or " " in normalized or len(normalized) > LINE or not normalized.partition("@")[0]:
        raise TrackingError(f"“{typed[:60]}” is neither an address nor a domain; write it as client.example")
    return normalized if "@" in typed else domain


def set_never(
    session: Session, viewer: Viewer, typed: str, now: datetime, *, shown: Collection[str],
    user_id: int | None = None,
) -> None:  # fmt: skip
    """Change a list that was `shown` into what was typed, a line each. Raises `TrackingError`.

    What was added to it meanwhile stays, and so does what people asked themselves.
    """
    if viewer.role == Role.GUEST:
        raise PermissionError("Guests don’t change whom the team tracks")
    wanted = {value_of(line) for line in _lines(typed)}
    there = never_of(session, viewer.team_id, user_id)
    gone = [one.value for one in there if one.source == Source.PERSON and one.value in {*shown} - wanted]
    if gone:
        track_again(session, viewer.team_id, gone, user_id=user_id, viewer=viewer)
    new = wanted - {one.value for one in there}
    never_track_any(session, viewer.team_id, new, now, user_id=user_id, viewer=viewer)


# -- mailboxes and reps


def of_mailbox(session: Session, mailbox: Mailbox) -> MailboxTracking:
    """A mailbox's settings; the defaults where nobody has said anything."""
    return of_mailboxes(session, [mailbox])[mailbox.id]


def of_mailboxes(session: Session, found: Sequence[Mailbox]) -> dict[int, MailboxTracking]:
    """Settings by mailbox."""
    query = select(MailboxTracking).where(among(MailboxTracking.mailbox_id, [one.id for one in found]))
    known = {one.mailbox_id: one for one in session.scalars(query.execution_options(populate_existing=True))}
    return {one.id: known.get(one.id) or _default(one.team_id, one.id) for one in found}


def of_mailbox_id(session: Session, team_id: int, mailbox_id: int) -> MailboxTracking:
    """The same by number."""
    return session.get(MailboxTracking, mailbox_id, populate_existing=True) or _default(team_id, mailbox_id)


def _default(team_id: int, mailbox_id: int) -> MailboxTracking:
    return MailboxTracking(
        team_id=team_id, mailbox_id=mailbox_id, opens=True, clicks=True, bare_links=False, opt_out=False,
        opt_out_words="",
    )  # fmt: skip


def change_mailbox(
    session: Session, viewer: Viewer, mailbox: Mailbox, *, opens: bool, clicks: bool, bare_links: bool = False,
    opt_out: bool = False, opt_out_words: str = "",
) -> None:  # fmt: skip
    """Set a mailbox's defaults; only its owner does."""
    if not viewer.is_system and mailbox.user_id != viewer.user_id:
        raise PermissionError("Only its owner says how mail of this mailbox is tracked")
    words = " ".join(opt_out_words.split())[:OPT_OUT_LIMIT]
    columns = {
        "opens": opens, "clicks": clicks, "bare_links": bare_links, "opt_out": opt_out,
        "opt_out_words": "" if words == OPT_OUT_WORDS else words,
    }  # fmt: skip
    made = insert(MailboxTracking).values(mailbox_id=mailbox.id, team_id=mailbox.team_id, **columns)
    session.execute(made.on_conflict_do_update(index_elements=["mailbox_id"], set_=columns))
    events.record(
        session, mailbox.team_id, "tracking.changed", actor=viewer.actor, user_id=viewer.user_id,
        mailbox_id=mailbox.id, data={"opens": opens, "clicks": clicks, "opt_out": opt_out},
    )  # fmt: skip


def links_of(session: Session, user_id: int | None) -> Sequence[str]:
    """Links that a rep never has rewritten: hosts, or beginnings of addresses."""
    query = select(UserTracking.links).where(UserTracking.user_id == user_id)
    return (session.scalar(query) or []) if user_id is not None else []


def set_links(session: Session, viewer: Viewer, typed: str) -> None:
    """Make the list of one's own links what was typed, a line each. Raises `TrackingError`."""
    assert viewer.user_id is not None
    links = list(dict.fromkeys(_link(line) for line in _lines(typed)))
    made = insert(UserTracking).values(user_id=viewer.user_id, team_id=viewer.team_id, links=links)
    session.execute(made.on_conflict_do_update(index_elements=["user_id"], set_={"links": links}))
    events.record(
        session, viewer.team_id, "tracking.links", actor=viewer.actor, user_id=viewer.user_id,
        data={"links": len(links)},
    )  # fmt: skip


def _link(typed: str) -> str:
    bare = typed.lower().removeprefix("https://").removeprefix("http://").removeprefix("www.")
    host = bare.partition("/")[0]
    if "." not in host or " " in bare:
        raise TrackingError(f"“{typed[:60]}” is no address of a page; write it as linkedin.com/in/anna")
    return bare.rstrip("/")


def _lines(typed: str) -> list[str]:
    lines = [line.strip() for line in typed.replace(",", "\n").splitlines() if line.strip()]
    if len(lines) > LINES or any(len(line) > LINE for line in lines):
        raise TrackingError(f"At most {LINES} lines of {LINE} characters")
    return lines
