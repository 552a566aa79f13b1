"""Topics: which open pages a change concerns, by opaque names such as ``box:<key>``. No name tells what happened.

A transaction that records events tells their topics once, at its commit, over PostgreSQL's NOTIFY; what a page
may read is decided when it asks again. Names:

``pipeline:<key>`` ``stage:<key>`` ``box:<key>`` ``contact:<key>`` ``organization:<key>`` ``tasks``
    the team's; ``inbox:<user's key>`` is one user's, to whom it goes as ``inbox``, and so is ``bell``.
``box:*``
    every box, where a transaction changed too many to name them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, TextClause, event, text
from sqlalchemy.orm import Session

CHANNEL = "tracker_events"
PAYLOAD_LIMIT = 7900  # bytes; PostgreSQL takes less than 8000
WATCH_LIMIT = 200  # topics of one page
MANY = 50  # conversations changed in one transaction
OWN = ("inbox", "bell")  # one user's alone
_PENDING = "topics"  # in `Session.info`
_NAME = re.compile(r"inbox|bell|tasks|(?:pipeline|stage|box|contact|organization):[A-Za-z0-9_-]{1,64}")
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")

#: What the data of events calls things by their keys, and the topic that stands for them.
_IN_DATA = {
    "pipeline": "pipeline", "stage": "stage", "from_key": "stage", "to_key": "stage", "box": "box", "into": "box",
    "other": "box", "contact": "contact", "organization": "organization", "owner": "inbox", "assignee": "inbox",
    "mentions": "inbox",
}  # fmt: skip


@dataclass(slots=True)
class Changed:
    """What a transaction changed, by number where only the number is known yet."""

    boxes: set[int] = field(default_factory=set)
    conversations: set[int] = field(default_factory=set)
    mailboxes: set[int] = field(default_factory=set)
    users: set[int] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    named: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))  #: by team

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add what events concern, given by their columns."""
        for row in rows:
            self._add_numbers(row)
            kind, data = row["kind"], row.get("data")
            if kind.startswith("task"):
                self.named[row["team_id"]].add("tasks")
            if data:
                self._add_keys(row["team_id"], kind, data)

    def _add_numbers(self, row: Mapping[str, Any]) -> None:
        if box_id := row.get("box_id"):
            self.boxes.add(box_id)
        if conversation_id := row.get("conversation_id"):
            self.conversations.add(conversation_id)
        if mailbox_id := row.get("mailbox_id"):
            self.mailboxes.add(mailbox_id)
        if "snooze" in row["kind"] and row.get("user_id"):
            self.users.add(row["user_id"])

    def _add_keys(self, team_id: int, kind: str, data: Mapping[str, Any]) -> None:
        for name in data.keys() & _IN_DATA.keys():
            keys = data[name] if isinstance(data[name], list) else [data[name]]
            self.named[team_id].update(f"{_IN_DATA[name]}:{key}" for key in keys if _is_key(key))
        if kind.startswith("field"):
            order = data.get("order")
            self.fields.update(order if isinstance(order, list) else [str(data.get("field"))])


def _is_key(given: Any) -> bool:
    """Some events tell a name where others tell a key: a name is no topic, and may have any letters in it."""
    return isinstance(given, str) and _KEY.fullmatch(given) is not None


_BOXES = text(
    """
    SELECT b.team_id, b.key, p.key, s.key, u.key
    FROM boxes b
    JOIN pipelines p ON p.id = b.pipeline_id
    JOIN stages s ON s.id = b.stage_id
    LEFT JOIN users u ON u.id = b.owner_id
    WHERE b.id = ANY (CAST(:ids AS bigint[]))
    """
)
_FILED = text(
    "SELECT DISTINCT box_id FROM filings"
    " WHERE conversation_id = ANY (CAST(:ids AS bigint[])) AND box_id IS NOT NULL"
)
_HOLDERS = text("SELECT DISTINCT mailbox_id FROM threads WHERE conversation_id = ANY (CAST(:ids AS bigint[]))")
_OWNERS = text(
    "SELECT u.team_id, u.key FROM mailboxes m JOIN users u ON u.id = m.user_id"
    " WHERE m.id = ANY (CAST(:ids AS bigint[]))"
)
_USERS = text("SELECT team_id, key FROM users WHERE id = ANY (CAST(:ids AS bigint[]))")
_FIELDS = text(
    "SELECT p.team_id, p.key FROM fields f JOIN pipelines p ON p.id = f.pipeline_id"
    " WHERE f.key = ANY (CAST(:ids AS text[]))"
)


def resolve(session: Session, changed: Changed) -> dict[int, set[str]]:
    """The topics of what changed, by team.

    Small questions, and only those that are needed: their planning is what costs, and they come with each mail.
    """
    topics = {team_id: set(names) for team_id, names in changed.named.items()}

    def ask(question: TextClause, ids: Iterable[int | str]) -> Sequence[Row[Any]]:
        wanted = list(ids)
        return session.execute(question, {"ids": wanted}).all() if wanted else ()

    boxes, mailboxes = set(changed.boxes), set(changed.mailboxes)
    boxes.update(row[0] for row in ask(_FILED, changed.conversations))
    if len(changed.conversations) <= MANY:  # else a mailbox is read for the first time
        mailboxes.update(row[0] for row in ask(_HOLDERS, changed.conversations))
    for kinds, rows in (
        (("box", "pipeline", "stage", "inbox"), ask(_BOXES, boxes)),
        (("inbox",), [*ask(_OWNERS, mailboxes), *ask(_USERS, changed.users)]),
        (("pipeline",), ask(_FIELDS, changed.fields)),
    ):
        for row in rows:
            keys: tuple[str | None, ...] = tuple(row[1:])
            names = topics.setdefault(row[0], set())
            names.update(f"{kind}:{key}" for kind, key in zip(kinds, keys, strict=True) if key)
    return topics


def note(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Have the topics of events told when the transaction commits."""
    _pending(session).add(rows)


def mail_changed(session: Session, conversation_ids: Iterable[int]) -> None:
    """Have it told that conversations changed in ways that no event says: copies, labels, deletions of mail."""
    _pending(session).conversations.update(conversation_ids)


def tell(session: Session, team_id: int, names: Iterable[str]) -> None:
    """Have topics told as they are when the transaction commits."""
    _pending(session).named[team_id].update(names)


def _pending(session: Session) -> Changed:
    found = session.info.setdefault(_PENDING, Changed())
    assert isinstance(found, Changed)
    return found


def _tell(session: Session) -> None:
    if _PENDING not in session.info or session.in_nested_transaction():
        return
    changed = session.info.pop(_PENDING)
    for team_id, names in resolve(session, changed).items():
        if names:
            values = {"channel": CHANNEL, "payload": payload(team_id, names)}
            session.execute(text("SELECT pg_notify(:channel, :payload)"), values)


def _forget(session: Session, previous: Any) -> None:
    if not previous.nested:  # what a savepoint took back is told all the same: a page looks once in vain
        session.info.pop(_PENDING, None)


event.listen(Session, "before_commit", _tell)
event.listen(Session, "after_soft_rollback", _forget)


def payload(team_id: int, names: Iterable[str]) -> str:
    """What is sent over the channel; too many names of a kind become one that stands for them all."""
    names = set(names)
    for kind in ("box:", "contact:", "organization:", "bell:", "inbox:", "stage:", "pipeline:"):
        told = " ".join([str(team_id), *sorted(names)])
        if len(told) <= PAYLOAD_LIMIT:
            return told
        names = {name for name in names if not name.startswith(kind)} | {f"{kind}*"}
    return " ".join([str(team_id), *sorted(names)])


def parse(told: str) -> tuple[int, frozenset[str]]:
    """The team and the topics of a payload. Raises `ValueError`."""
    team_id, *names = told.split()
    return int(team_id), frozenset(names)


@dataclass(frozen=True, slots=True)
class Watch:
    """What one page of one user watches."""

    names: Mapping[str, str]  #: how a topic is told, and how the page calls it
    kinds: frozenset[str]

    @classmethod
    def of(cls, user_key: str, given: str) -> Watch:
        """From what a page asked for, names separated by commas; made-up ones are left out."""
        asked = [name for name in given.split(",", WATCH_LIMIT)[:WATCH_LIMIT] if _NAME.fullmatch(name)]
        names = {f"{name}:{user_key}" if name in OWN else name: name for name in asked}
        return cls(names, frozenset(name.partition(":")[0] for name in names if ":" in name))

    def hits(self, told: frozenset[str]) -> set[str]:
        """The page's own names of those topics that it watches."""
        found = {self.names[name] for name in told & self.names.keys()}
        for name in told:
            if name.endswith(":*") and name[:-2] in self.kinds:
                found.update(shown for whole, shown in self.names.items() if whole.startswith(name[:-1]))
        return found
