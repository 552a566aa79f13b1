"""Search: boxes, contacts, organizations and mail by their words.

What is typed is read once (`parse`). Mail is found only through `sharing.may_read`, asked in the very query that
finds it. A rare word is looked up in the index; for a common one that would mean to read most of the mail, so the
newest conversations are gone through instead, and the page says how far.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, literal, or_, select, text, true, tuple_, union
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session, aliased, joinedload, selectinload

from tracker import boxes, due
from tracker.addresses import normalize
from tracker.boxes import Box
from tracker.contacts import Contact, ContactAddress, Organization, OrganizationDomain
from tracker.conversations import Conversation
from tracker.db import among
from tracker.filing import FILED, Filing
from tracker.messages import Message, Recipient
from tracker.people import Viewer
from tracker.pipelines import Pipeline
from tracker.sharing import may_read

LIMIT = 200  # characters that are read of what is typed
TERMS = 10
RARE = 10_000  # messages: as many are fetched by the index and sorted
WINDOW = 1500  # conversations that are gone through for a common word
NAMES = 500  # names that are looked at for the best ones

#: Around what was found, in the database's excerpts; private-use characters, which are taken out of the text.
START, STOP = "\ue000", "\ue001"
#: What mail programs put before the lines that they quote; excerpts are without.
QUOTING = r"^[ \t\u00a0]*(>[ \t\u00a0]?)+"

_TERM = re.compile(
    r'(?P<no>-)?(?:(?P<key>from|to|in|has|before|after):)?(?:"(?P<phrase>[^"]*)"?|(?P<word>\S+))', re.I
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody searches for."""

    words: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    prefix: str = ""  #: the last word, which is perhaps still being typed
    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()  #: how their names begin
    attachment: bool = False
    before: datetime | None = None
    after: datetime | None = None
    problems: tuple[str, ...] = ()  #: what was not understood, in words

    @property
    def has_words(self) -> bool:
        """Whether there is anything to look up."""
        return bool(self.words or self.phrases or self.prefix)

    @property
    def only_mail(self) -> bool:
        """Whether it can only mean mail."""
        return bool(self.senders or self.recipients or self.attachment or self.before or self.after)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to search for."""
        return not (self.has_words or self.only_mail or self.pipelines)

    @property
    def terms(self) -> tuple[str, ...]:
        """The words and phrases to point out in what is found."""
        return tuple(term for term in (*self.phrases, *self.words, self.prefix) if term)


@dataclass(slots=True)
class _Reading:
    today: date
    zone: str
    parts: dict[str, list[str]] = field(default_factory=dict)
    dates: dict[str, datetime] = field(default_factory=dict)
    attachment: bool = False
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, value: str) -> None:
        self.parts.setdefault(name, []).append(value)


def parse(typed: str, today: date, zone: str = "UTC") -> Wanted:
    """Read what was typed: words, "phrases", -words, and `from:` `to:` `in:` `has:attachment` `before:` `after:`.

    Dates are days in the user's `zone`: before a day is before it begins, after it from its beginning on.
    """
    typed = typed.replace("\x00", " ")[:LIMIT]
    found = list(_TERM.finditer(typed))[:TERMS]
    reading, open_end = _Reading(today, zone), bool(typed) and not typed[-1].isspace()
    for number, match in enumerate(found):
        last = open_end and number == len(found) - 1
        _read(reading, match, last=last)
    parts = {name: tuple(values) for name, values in reading.parts.items()}
    prefix = parts.pop("prefix", ("",))[0]
    return Wanted(
        **parts,
        prefix=prefix,
        attachment=reading.attachment,
        before=reading.dates.get("before"),
        after=reading.dates.get("after"),
        problems=tuple(reading.problems),
    )


def _read(reading: _Reading, match: re.Match[str], *, last: bool) -> None:
    phrase, word, key = match["phrase"], match["word"], (match["key"] or "").lower()
    value = (phrase if phrase is not None else word).strip()
    if not any(char.isalnum() for char in value):
        return
    if match["no"] and not key:
        reading.add("without", value)
    elif key in ("from", "to", "in"):
        reading.add({"from": "senders", "to": "recipients", "in": "pipelines"}[key], value)
    elif key == "has":
        _has(reading, value)
    elif key:
        _date(reading, key, value)
    elif phrase is not None:
        reading.add("phrases", value)
    else:
        reading.add("prefix" if last else "words", value)


def _has(reading: _Reading, value: str) -> None:
    if "attachments".startswith(value.lower()):  # also while it is being typed
        reading.attachment = True
    else:
        reading.problems.append("has: knows only has:attachment")


def _date(reading: _Reading, key: str, value: str) -> None:
    try:
        day = due.parse(value.replace("/", "-"), reading.today)
    except due.DueError:
        day = None
    if day is None or not date(1971, 1, 1) <= day:
        reading.problems.append(f"{key}: expects a day such as {key}:2026-08-01")
        return
    reading.dates[key] = due.instant(day, time(), reading.zone)


# -- the words as PostgreSQL's tsquery


def _quoted(word: str, marks: str = "") -> ColumnElement[Any]:
    """A word as a tsquery; of one that is not plain ASCII each way to write its letters.

    In a database with the locale C, PostgreSQL folds the case of ASCII letters only.
    """
    forms = {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}
    found: ColumnElement[Any] | None = None
    for form in sorted(forms):
        escaped = form.replace("\\", "\\\\").replace("'", "''")
        one = func.to_tsquery(text("'simple'"), literal(f"'{escaped}'{':' if marks else ''}{marks}"))
        found = one if found is None else found.op("||")(one)
    assert found is not None
    return found.self_group()


def _query(wanted: Wanted, *, every_prefix: bool = False) -> ColumnElement[Any] | None:
    parts = [_quoted(word, "*" if every_prefix else "") for word in wanted.words]
    parts += [func.phraseto_tsquery(text("'simple'"), literal(phrase)) for phrase in wanted.phrases]
    if wanted.prefix:
        parts.append(_quoted(wanted.prefix, "*"))
    if not every_prefix:
        parts += [_quoted(sender, "*B") for sender in wanted.senders if not _is_address(sender)]
    parts += [func.tsquery_not(_quoted(word)) for word in wanted.without if parts]
    whole: ColumnElement[Any] | None = None
    for part in parts:
        whole = part if whole is None else whole.op("&&")(part)
    return whole


def _as_text(session: Session, query: ColumnElement[Any] | None) -> str:
    """The tsquery as PostgreSQL writes it; empty if there is nothing to look up."""
    if query is None:
        return ""
    return session.scalar(select(func.format("%s", query))) or ""


def _matches(column: Any, query: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = column.op("@@")(literal(query).cast(TSQUERY))
    return found


def _like(words: str) -> str:
    return words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _is_address(value: str) -> bool:
    return "@" in value or "." in value.strip(".")


# -- names


def _named(columns: Any, wanted: Wanted) -> list[ColumnElement[Any]]:
    """The order of what has a name: those called so, those that begin so, the rest."""
    whole = " ".join(wanted.terms).lower()
    return [case((func.lower(columns) == whole, 0), (func.lower(columns).like(f"{_like(whole)}%"), 1), else_=2)]


def find_boxes(session: Session, viewer: Viewer, wanted: Wanted, limit: int) -> Sequence[Box]:
    """Boxes by the words of their name, those called exactly so first, then the newest."""
    query = _as_text(session, _query(wanted, every_prefix=True))
    some = select(Box.id).where(Box.team_id == viewer.team_id, boxes.is_listed())
    if query:
        some = some.where(_matches(Box.search, query))
    elif not wanted.pipelines:
        return []
    if wanted.pipelines:
        some = some.where(Box.pipeline_id.in_(_pipelines(viewer, wanted)))
    found = (
        select(Box)
        .where(Box.id.in_(some.limit(NAMES)))
        .options(joinedload(Box.stage), joinedload(Box.pipeline), joinedload(Box.organization))
        .options(joinedload(Box.owner))
        .order_by(*_named(Box.name, wanted), Box.created_at.desc(), Box.id.desc())
    )
    return session.scalars(found.limit(limit)).all()


def newest_boxes(session: Session, viewer: Viewer, limit: int) -> Sequence[Box]:
    """The newest boxes of each of the team's pipelines; where nothing is typed yet."""
    one = aliased(Box)
    some = (
        select(one.id)
        .where(one.pipeline_id == Pipeline.id, boxes.is_listed(one))
        .order_by(one.created_at.desc(), one.id.desc())
        .limit(limit)
        .lateral()
    )
    ids = (
        select(some.c.id)
        .select_from(Pipeline)
        .join(some, true())
        .where(Pipeline.team_id == viewer.team_id, Pipeline.archived_at.is_(None))
    )
    query = select(Box).where(Box.id.in_(ids)).options(joinedload(Box.stage), joinedload(Box.pipeline))
    return session.scalars(query.order_by(Box.created_at.desc(), Box.id.desc()).limit(limit)).all()


def called(session: Session, viewer: Viewer, name: str, limit: int = 2) -> Sequence[Box]:
    """Boxes of exactly this name, in whatever case."""
    plain = " ".join(name.split())
    query = _as_text(session, _query(Wanted(words=tuple(plain.split()[:TERMS]))))
    named = select(Box).where(
        Box.team_id == viewer.team_id, boxes.is_listed(), func.lower(Box.name) == func.lower(plain)
    )
    if query:
        named = named.where(_matches(Box.search, query))
    return session.scalars(named.limit(limit)).all()


def _pipelines(viewer: Viewer, wanted: Wanted) -> Select[int]:
    starts = [Pipeline.name.ilike(f"{_like(name)}%") for name in wanted.pipelines]
    return select(Pipeline.id).where(Pipeline.team_id == viewer.team_id, or_(*starts))


def find_contacts(session: Session, viewer: Viewer, wanted: Wanted, limit: int) -> Sequence[Contact]:
    """Contacts by the words of their name and place, or by how one of their addresses begins."""
    query = _as_text(session, _query(wanted, every_prefix=True))
    if not query or wanted.pipelines:
        return []
    named = select(Contact.id).where(Contact.team_id == viewer.team_id, _matches(Contact.search, query))
    found: Any = named.limit(NAMES).subquery().select()
    if len(wanted.terms) == 1:
        start = f"{_like(wanted.terms[0].lower())}%"
        addressed = select(ContactAddress.contact_id).where(
            ContactAddress.team_id == viewer.team_id, ContactAddress.normalized.like(start)
        )
        found = union(found, addressed.limit(NAMES).subquery().select())
    query_ = (
        select(Contact)
        .where(Contact.id.in_(found), Contact.team_id == viewer.team_id)
        .options(selectinload(Contact.addresses), joinedload(Contact.organization))
        .order_by(*_named(Contact.name, wanted), Contact.name, Contact.id)
    )
    return session.scalars(query_.limit(limit)).all()


def find_organizations(session: Session, viewer: Viewer, wanted: Wanted, limit: int) -> Sequence[Organization]:
    """Organizations by the words of their name, or by how one of their domains begins."""
    query = _as_text(session, _query(wanted, every_prefix=True))
    if not query or wanted.pipelines:
        return []
    team = Organization.team_id == viewer.team_id
    found: Any = (
        select(Organization.id).where(team, _matches(Organization.search, query)).limit(NAMES).subquery().select()
    )
    if len(wanted.terms) == 1:
        start = f"{_like(wanted.terms[0].lower().rsplit('@', 1)[-1])}%"
        domains = select(OrganizationDomain.organization_id).where(
            OrganizationDomain.team_id == viewer.team_id, OrganizationDomain.domain.like(start)
        )
        found = union(found, domains.limit(NAMES).subquery().select())
    query_ = select(Organization).where(Organization.id.in_(found), team)
    query_ = query_.order_by(*_named(Organization.name, wanted), Organization.name, Organization.id)
    return session.scalars(query_.limit(limit)).all()


# -- mail


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of conversations ended."""

    at: datetime
    key: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A conversation, by its newest mail that was found and that the viewer may read."""

    conversation_key: str
    message: Message
    excerpt: str  #: of its text, with `START` and `STOP` around what was found


@dataclass(frozen=True, slots=True)
class Mail:
    """A page of mail that was found."""

    hits: list[Hit]
    more: Place | None = None
    searched_to: datetime | None = None  #: older conversations were not looked at yet


def find_mail(session: Session, viewer: Viewer, wanted: Wanted, limit: int, after: Place | None = None) -> Mail:
    """Conversations with mail that fits, those with the newest mail first."""
    query = _as_text(session, _query(wanted))
    if not query and not wanted.only_mail and not wanted.pipelines:
        return Mail([])
    ids = _candidates(session, viewer, wanted, query)
    newest = _newest(viewer, wanted, ids, after)
    one = aliased(Conversation, newest)
    hit = (
        select(Message.id)
        .where(Message.conversation_id == one.id, *_conditions(wanted, query), may_read(viewer))
        .order_by(Message.sent_at.desc(), Message.id.desc())
        .limit(1)
        .lateral("hit")
    )
    found = session.execute(
        select(one.last_message_at, one.key, hit.c.id)
        .join(hit, true())
        .order_by(one.last_message_at.desc(), one.id.desc())
        .limit(limit + 1)
    ).all()
    hits = _hits(session, query, [(key, id_) for _, key, id_ in found[:limit]])
    if len(found) > limit:
        return Mail(hits, Place(found[limit - 1][0], found[limit - 1][1]))
    end = session.execute(select(newest.c.last_message_at, newest.c.key).offset(WINDOW - 1).limit(1)).first()
    return Mail(hits, Place(end[0], end[1]), end[0]) if end and ids is None else Mail(hits)


def _candidates(session: Session, viewer: Viewer, wanted: Wanted, query: str) -> list[int] | None:
    """The conversations in which something fits, if they are few; None if they are many."""
    few = select(Message.conversation_id).where(Message.team_id == viewer.team_id)
    address = next((normalize(one) for one in wanted.senders if "@" in one.strip("@")), None)
    recipient = next((normalize(one) for one in wanted.recipients if "@" in one.strip("@")), None)
    if query:
        if _estimated(session, query) > 3 * RARE:
            return None
        few = few.where(_matches(Message.search, query))
    elif address:
        few = few.where(Message.sender_normalized == address)
    elif recipient:
        few = few.join(Recipient, Recipient.message_id == Message.id)
        few = few.where(Recipient.team_id == viewer.team_id, Recipient.normalized == recipient)
    else:
        return None
    found = session.scalars(few.limit(RARE + 1)).all()
    return None if len(found) > RARE else sorted(set(found))


def _estimated(session: Session, query: str) -> int:
    """How many messages PostgreSQL expects to fit, from its statistics; takes no time."""
    explain = text("EXPLAIN (FORMAT JSON) SELECT 1 FROM messages WHERE search @@ CAST(:query AS tsquery)")
    plan = session.scalar(explain, {"query": query})
    return int(plan[0]["Plan"]["Plan Rows"])


def _newest(viewer: Viewer, wanted: Wanted, ids: list[int] | None, after: Place | None) -> Any:
    place = tuple_(Conversation.last_message_at, Conversation.id)
    query = select(Conversation).where(
        Conversation.team_id == viewer.team_id, Conversation.last_message_at.is_not(None)
    )
    if ids is not None:
        query = query.where(among(Conversation.id, ids))
    if wanted.after is not None:
        query = query.where(Conversation.last_message_at >= wanted.after)
    if wanted.before is not None:
        query = query.where(Conversation.first_message_at < wanted.before)
    if wanted.pipelines:
        filed = select(Filing.id).where(
            Filing.conversation_id == Conversation.id,
            Filing.state == FILED,
            Filing.pipeline_id.in_(_pipelines(viewer, wanted)),
        )
        query = query.where(filed.exists())
    if after is not None:
        seen = select(Conversation.id).where(Conversation.team_id == viewer.team_id, Conversation.key == after.key)
        query = query.where(place < tuple_(literal(after.at), func.coalesce(seen.scalar_subquery(), 0)))
    query = query.order_by(Conversation.last_message_at.desc(), Conversation.id.desc())
    return query.limit(RARE + 1 if ids is not None else WINDOW).subquery("newest")


def _conditions(wanted: Wanted, query: str) -> list[ColumnElement[bool]]:
    """What a message must fulfil, apart from the right to read it."""
    found = [_matches(Message.search, query)] if query else []
    found += [_addressed(Message.sender_normalized, one) for one in wanted.senders if _is_address(one)]
    for one in wanted.recipients:
        named = Recipient.name.ilike(f"%{_like(one)}%")
        to = select(Recipient.id).where(
            Recipient.message_id == Message.id,
            Recipient.kind != "reply-to",
            or_(_addressed(Recipient.normalized, one), named),
        )
        found.append(to.correlate(Message).exists())
    if wanted.attachment:
        found.append(Message.attachment_count > 0)
    if wanted.before is not None:
        found.append(Message.sent_at < wanted.before)
    if wanted.after is not None:
        found.append(Message.sent_at >= wanted.after)
    return found


def _addressed(column: Any, value: str) -> ColumnElement[bool]:
    """An address, how one begins, or its domain."""
    value = value.lower().strip()
    if "@" in value.strip("@"):
        found: ColumnElement[bool] = or_(column == normalize(value), column.like(f"{_like(value)}%"))
        return found
    domain = _like(value.lstrip("@"))
    return or_(column.like(f"{domain}%"), column.like(f"%@{domain}%"), column.like(f"%.{domain}"))


def _hits(session: Session, query: str, found: Sequence[tuple[str, int]]) -> list[Hit]:
    """The messages, which the viewer may read, with an excerpt; only of those that are shown is one cut."""
    if not found:
        return []
    plain: Any = func.translate(func.left(Message.text, 20_000), START + STOP, "")
    plain = func.regexp_replace(plain, QUOTING, "", "gn")
    options = f"StartSel={START}, StopSel={STOP}, MaxFragments=1, MinWords=8, MaxWords=24"
    excerpt: Any = Message.snippet
    if query:
        excerpt = func.ts_headline(text("'simple'"), plain, literal(query).cast(TSQUERY), options)
    messages = {
        message.id: (message, str(words))
        for message, words in session.execute(
            select(Message, excerpt).where(among(Message.id, [id_ for _, id_ in found]))
        )
    }
    return [Hit(key, *messages[id_]) for key, id_ in found if id_ in messages]
