"""Conversations: the union of the team's copies of a thread.

Two messages belong together when they share a Gmail thread in any mailbox, or are the same mail (see
`messages`): a conversation is a connected component of the graph of threads and mails. Components don't depend
on the order in which edges are seen, so neither does the outcome on which mailbox synced first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, delete, func, or_, select, text, tuple_, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import events, ours
from tracker.db import Base, Keyed, OfTeam, among, insert_many, lock_team, new_ids, new_key
from tracker.messages import HIDING_LABELS, Copy, Kept, Message, Recipient


class Conversation(OfTeam, Keyed, Base):
    """A thread as the team has it."""

    __tablename__ = "conversations"
    __table_args__ = (Index("ix_conversations_team_id_last_message_at", "team_id", "last_message_at"),)

    subject: Mapped[str] = mapped_column(server_default="")
    first_message_at: Mapped[datetime | None]
    last_message_at: Mapped[datetime | None]
    message_count: Mapped[int] = mapped_column(server_default="0")


class Thread(OfTeam, Base):
    """A mailbox's Gmail thread, and the conversation that it is part of."""

    __tablename__ = "threads"
    __table_args__ = (
        Index("ix_threads_answers_id", "answers_id", postgresql_where=text("answers_id IS NOT NULL")),
    )

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True)
    gmail_thread_id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"), index=True)
    #: A mail of a teammate's that this thread was begun to answer; see `join`. It holds the two together.
    answers_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id", ondelete="SET NULL"))


@dataclass(frozen=True, slots=True)
class Incoming:
    """One mail on its way in: the columns of its message, of its recipients, and of this mailbox's copy."""

    message: dict[str, Any]
    recipients: list[dict[str, Any]]
    copy: dict[str, Any]

    @property
    def identity(self) -> bytes:
        """What the message is known by."""
        return bytes(self.message["identity"])


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What taking in brought."""

    new_message_ids: list[int]
    conversation_ids: set[int]


#: Called with (session, losing conversation, surviving conversation) when two become one, so that whatever
#: hangs on a conversation in higher rooms follows.
Merged = list[Any]
on_merge: Merged = []
#: The same, while each still has its own mail.
before_merge: Merged = []
#: Called with (session, conversation, parts) when a deleted mail had been the bridge between two.
on_split: Merged = []


#: Called with (session, conversations) after their mail changed, for whoever keeps facts about it.
on_change: Merged = []


def take_in(session: Session, team_id: int, mailbox_id: int, mails: Sequence[Incoming]) -> TakenIn:
    """Store mails of one mailbox: messages, copies, conversations. Taking in the same again changes nothing.

    Returns the ids of messages that nobody in the team had before, and of the conversations touched.
    """
    mails = list({mail.copy["gmail_id"]: mail for mail in mails}.values())
    if not mails:
        return TakenIn([], set())
    lock_team(session, team_id)
    held = _held(session, mailbox_id, mails)
    mails = [replace(mail, message={**mail.message, **held.get(mail.copy["gmail_id"], {})}) for mail in mails]
    conversations = _unite(session, team_id, mailbox_id, mails)
    ids, new = _store_messages(session, team_id, mails, conversations)
    _store_copies(session, team_id, mailbox_id, mails, ids, held.keys())
    touched = set(conversations.values())
    refresh(session, touched)
    return TakenIn(new, touched)


def join(session: Session, team_id: int, mailbox_id: int, gmail_thread_id: str, answered_id: int) -> None:
    """A thread of one mailbox was begun here to answer a mail that only others hold: they are one conversation.

    Only what we sent ourselves joins like this. A stranger's References prove nothing: whoever learnt a Message-ID
    could otherwise put a mail into a conversation, and into its boxes.
    """
    lock_team(session, team_id)
    thread = session.get(Thread, (mailbox_id, gmail_thread_id), populate_existing=True)
    answered = session.scalar(
        select(Message.conversation_id).where(Message.id == answered_id, Message.team_id == team_id)
    )
    if thread is None or answered is None or thread.conversation_id == answered:
        return
    thread.answers_id = answered_id
    session.flush()
    survivor, loser = sorted((thread.conversation_id, answered))
    _merge(session, loser, survivor)
    session.expire(thread)
    refresh(session, [survivor])


def _held(session: Session, mailbox_id: int, mails: Sequence[Incoming]) -> dict[str, dict[str, Any]]:
    """Of mails that the mailbox holds already, by Gmail's id, which message they are: that they stay.

    A later release may read the same bytes a little differently: that must not make a second message of them.
    """
    return {
        gmail_id: {"identity": bytes(identity), "kin": kin}
        for gmail_id, identity, kin in session.execute(
            select(Copy.gmail_id, Message.identity, Message.kin)
            .join(Message, Message.id == Copy.message_id)
            .where(Copy.mailbox_id == mailbox_id, among(Copy.gmail_id, [m.copy["gmail_id"] for m in mails]))
        )
    }


def _unite(session: Session, team_id: int, mailbox_id: int, mails: Sequence[Incoming]) -> dict[bytes, int]:
    """The conversation of each mail by identity, after those it connects were made one."""
    union = _Union()
    for mail in mails:
        node: tuple[str, Hashable] = ("identity", mail.identity)
        union.join(node, ("thread", mail.copy["gmail_thread_id"]))
        if mail.message["kin"]:
            union.join(node, ("kin", mail.message["kin"]))
    known = list(_known(session, team_id, mailbox_id, mails))
    for node, conversation_id in known:
        union.join(node, ("conversation", conversation_id))
    chosen: dict[Hashable, int] = {}
    roots: list[Hashable] = []
    for root, members in union.components().items():
        existing = sorted(value for kind, value in members if kind == "conversation")
        if not existing:
            roots.append(root)
            continue
        chosen[root] = existing[0]
        for loser in existing[1:]:
            _merge(session, loser, chosen[root])
    chosen.update(zip(roots, _create(session, team_id, len(roots)), strict=True))
    known_threads = {value for (kind, value), _ in known if kind == "thread"}
    threads = {mail.copy["gmail_thread_id"] for mail in mails} - known_threads
    found = {thread_id: chosen[union.find(("thread", thread_id))] for thread_id in sorted(threads)}
    _store_threads(session, team_id, mailbox_id, found)
    return {mail.identity: chosen[union.find(("identity", mail.identity))] for mail in mails}


def _known(
    session: Session, team_id: int, mailbox_id: int, mails: Sequence[Incoming]
) -> Iterable[tuple[tuple[str, Hashable], int]]:
    threads = {mail.copy["gmail_thread_id"] for mail in mails}
    query = select(Thread.gmail_thread_id, Thread.conversation_id)
    for thread_id, conversation_id in session.execute(
        query.where(Thread.mailbox_id == mailbox_id, among(Thread.gmail_thread_id, threads))
    ):
        yield ("thread", thread_id), conversation_id
    kin = {mail.message["kin"] for mail in mails} - {None}
    identities = {mail.identity for mail in mails}
    found = select(Message.identity, Message.kin, Message.conversation_id).where(
        Message.team_id == team_id, or_(among(Message.kin, kin), among(Message.identity, identities))
    )
    for identity, likeness, conversation_id in session.execute(found):
        yield ("identity", bytes(identity)), conversation_id
        if likeness:
            yield ("kin", bytes(likeness)), conversation_id


def _create(session: Session, team_id: int, number: int) -> Sequence[int]:
    ids = new_ids(session, Conversation, number)
    insert_many(session, Conversation, [{"id": id_, "team_id": team_id, "key": new_key()} for id_ in ids])
    return ids


def _merge(session: Session, loser: int, survivor: int) -> None:
    for prepare in before_merge:
        prepare(session, loser, survivor)
    for table in (Message, Thread):
        session.execute(
            update(table).where(table.conversation_id == loser).values(conversation_id=survivor),
            execution_options={"synchronize_session": False},
        )
    for follow in on_merge:
        follow(session, loser, survivor)
    session.execute(delete(Conversation).where(Conversation.id == loser))


def _store_threads(session: Session, team_id: int, mailbox_id: int, conversations: Mapping[str, int]) -> None:
    """Note the conversation of threads that are new (nobody else adds any: the team is locked)."""
    insert_many(
        session,
        Thread,
        [
            {
                "team_id": team_id,
                "mailbox_id": mailbox_id,
                "gmail_thread_id": thread_id,
                "conversation_id": conversation_id,
            }
            for thread_id, conversation_id in conversations.items()
        ],
    )


def _store_messages(
    session: Session, team_id: int, mails: Sequence[Incoming], conversations: dict[bytes, int]
) -> tuple[dict[bytes, int], list[int]]:
    rows = {
        mail.identity: {
            **mail.message,
            "team_id": team_id,
            "key": new_key(),
            "conversation_id": conversations[mail.identity],
        }
        for mail in mails
    }
    known = select(Message.identity, Message.id).where(Message.team_id == team_id, among(Message.identity, rows))
    ids = {bytes(identity): id_ for identity, id_ in session.execute(known)}
    wanting = [identity for identity in rows if identity not in ids]
    fresh = dict(zip(wanting, new_ids(session, Message, len(wanting)), strict=True))
    own = ours.of_team(session, team_id)
    for mail in mails:
        rows[mail.identity]["outside"] = own.outside(mail.message["sender_normalized"], mail.recipients)
    insert_many(session, Message, [{**rows[identity], "id": id_} for identity, id_ in fresh.items()])
    recipients = [
        {**recipient, "team_id": team_id, "message_id": fresh[mail.identity]}
        for mail in {mail.identity: mail for mail in mails if mail.identity in fresh}.values()
        for recipient in mail.recipients
    ]
    insert_many(session, Recipient, recipients)
    return ids | fresh, list(fresh.values())


def _store_copies(
    session: Session,
    team_id: int,
    mailbox_id: int,
    mails: Sequence[Incoming],
    ids: dict[bytes, int],
    held: Collection[str],
) -> None:
    rows = [
        {**mail.copy, "team_id": team_id, "mailbox_id": mailbox_id, "message_id": ids[mail.identity]}
        for mail in mails
    ]
    insert_many(session, Copy, [row for row in rows if row["gmail_id"] not in held])
    for row in rows:
        if row["gmail_id"] in held:  # a replay, or a repair: only what Gmail can change is taken over
            changed = {name: row[name] for name in ("label_ids", "history_id", "gmail_thread_id", "message_id")}
            session.execute(
                update(Copy)
                .where(Copy.mailbox_id == mailbox_id, Copy.gmail_id == row["gmail_id"])
                .values(**changed),
                execution_options={"synchronize_session": False},
            )


_REFRESH = text(
    """
    UPDATE conversations c SET subject = coalesce(a.subject, ''), first_message_at = a.first_at,
           last_message_at = a.last_at, message_count = a.n
    FROM (SELECT s.id,
                 (SELECT m.subject FROM messages m WHERE m.conversation_id = s.id
                  ORDER BY m.sent_at, m.identity LIMIT 1) AS subject,
                 min(m.sent_at) AS first_at, max(m.sent_at) AS last_at, count(m.id) AS n
          FROM unnest(CAST(:ids AS bigint[])) AS s(id) LEFT JOIN messages m ON m.conversation_id = s.id
          GROUP BY s.id) a
    WHERE c.id = a.id
    """
)


def refresh(session: Session, conversation_ids: Iterable[int]) -> None:
    """Work out subject, dates and count of conversations again from their messages."""
    ids = sorted(conversation_ids)
    session.execute(_REFRESH, {"ids": ids})
    changed(session, ids)


def changed(session: Session, conversation_ids: Sequence[int]) -> None:
    """Tell whoever keeps facts about conversations that their mail changed."""
    for follow in on_change:
        follow(session, conversation_ids)


def drop_copies(session: Session, mailbox_id: int, gmail_ids: Iterable[str]) -> int:
    """A mailbox no longer holds these: remove its copies, messages that nobody holds, emptied conversations.

    Where a deleted mail had been the only bridge between two threads, the conversation comes apart again, as if
    it had never been one. Returns how many copies there were.
    """
    ids = list(gmail_ids)
    team_id = session.scalar(
        select(Copy.team_id).where(Copy.mailbox_id == mailbox_id, among(Copy.gmail_id, ids)).limit(1)
    )
    if team_id is None:
        return 0
    lock_team(session, team_id)
    gone = (
        session.execute(
            delete(Copy).where(Copy.mailbox_id == mailbox_id, among(Copy.gmail_id, ids)).returning(Copy.message_id)
        )
        .scalars()
        .all()
    )
    touched = set(session.scalars(select(Message.conversation_id).where(among(Message.id, gone))))
    for conversation_id in sorted(touched):
        _regroup(session, team_id, conversation_id)
    return len(gone)


def _regroup(session: Session, team_id: int, conversation_id: int) -> None:
    """Recompute the components of one conversation after something in it was deleted.

    What the team keeps of somebody who left (`Kept`) is held by no mailbox, and nothing tells any more what it was
    the bridge between: where there is such mail, the conversation stays whole.
    """
    union = _Union()
    held = select(Copy.id).where(Copy.message_id == Message.id).exists()
    kept = select(Kept.id).where(Kept.message_id == Message.id).exists()
    session.execute(delete(Message).where(Message.conversation_id == conversation_id, ~held, ~kept))
    left = select(Message.id).where(Message.conversation_id == conversation_id, kept).limit(1)
    if session.scalar(left) is not None:
        _keep_whole(session, conversation_id)
        return
    rows = session.execute(
        select(Message.id, Message.kin, Message.sent_at, Copy.mailbox_id, Copy.gmail_thread_id)
        .join(Copy, Copy.message_id == Message.id)
        .where(Message.conversation_id == conversation_id)
    ).all()
    order = {id_: (sent_at, id_) for id_, _, sent_at, _, _ in rows}
    for id_, kin, _, mailbox_id, thread_id in rows:
        union.join(("message", id_), ("thread", (mailbox_id, thread_id)))
        if kin:
            union.join(("message", id_), ("kin", bytes(kin)))
    answering = select(Thread).where(Thread.conversation_id == conversation_id, Thread.answers_id.is_not(None))
    there = {(mailbox_id, thread_id) for _, _, _, mailbox_id, thread_id in rows}
    for thread in session.scalars(answering.execution_options(populate_existing=True)):
        name = (thread.mailbox_id, thread.gmail_thread_id)
        if thread.answers_id in order and name in there:
            union.join(("message", thread.answers_id), ("thread", name))
    parts = [
        (
            sorted((value for kind, value in part if kind == "message"), key=order.__getitem__),
            [value for kind, value in part if kind == "thread"],
        )
        for part in union.components().values()
    ]
    parts.sort(key=lambda part: order[part[0][0]])
    _drop_empty_threads(session, conversation_id, [thread for _, threads in parts for thread in threads])
    made = [_split_off(session, team_id, *part) for part in parts[1:]]
    if made:
        for follow in on_split:
            follow(session, conversation_id, made)
    if parts:
        refresh(session, [conversation_id, *made])
    else:
        _remove_empty(session, conversation_id)


def _keep_whole(session: Session, conversation_id: int) -> None:
    threads = (
        select(Copy.mailbox_id, Copy.gmail_thread_id)
        .join(Message, Message.id == Copy.message_id)
        .where(Message.conversation_id == conversation_id)
        .distinct()
    )
    left = [(mailbox_id, thread_id) for mailbox_id, thread_id in session.execute(threads)]
    _drop_empty_threads(session, conversation_id, left)
    refresh(session, [conversation_id])


def _drop_empty_threads(session: Session, conversation_id: int, kept: Sequence[tuple[int, str]]) -> None:
    emptied = delete(Thread).where(Thread.conversation_id == conversation_id)
    if kept:
        emptied = emptied.where(tuple_(Thread.mailbox_id, Thread.gmail_thread_id).not_in(kept))
    session.execute(emptied)


def _split_off(
    session: Session, team_id: int, message_ids: Sequence[int], threads: Sequence[tuple[int, str]]
) -> int:
    (made,) = _create(session, team_id, 1)
    session.execute(update(Message).where(Message.id.in_(message_ids)).values(conversation_id=made))
    session.execute(
        update(Thread)
        .where(tuple_(Thread.mailbox_id, Thread.gmail_thread_id).in_(threads))
        .values(conversation_id=made)
    )
    return made


def _remove_empty(session: Session, conversation_id: int) -> None:
    """Remove a conversation without mail, and with it its filings (by the foreign key)."""
    changed(session, [conversation_id])
    session.execute(delete(Conversation).where(Conversation.id == conversation_id))


def relabel(
    session: Session, mailbox_id: int, gmail_id: str, added: Iterable[str], removed: Iterable[str], history_id: int
) -> bool:
    """Add and remove labels of a copy; a change that the copy has already seen is passed over.

    Returns whether the mailbox holds the message at all.
    """
    copy = session.scalar(select(Copy).where(Copy.mailbox_id == mailbox_id, Copy.gmail_id == gmail_id))
    if copy is None:
        return False
    if history_id > copy.history_id:
        hidden, unread = copy.hidden, "UNREAD" in copy.label_ids
        copy.label_ids = sorted((set(copy.label_ids) | set(added)) - set(removed))
        copy.history_id = history_id  # type: ignore[assignment]
        if (hidden, unread) != (bool(set(copy.label_ids) & set(HIDING_LABELS)), "UNREAD" in copy.label_ids):
            session.flush()
            changed(
                session,
                session.scalars(select(Message.conversation_id).where(Message.id == copy.message_id)).all(),
            )
    return True


def by_key(session: Session, team_id: int, key: str) -> Conversation | None:
    """The team's conversation with this key."""
    return session.scalar(select(Conversation).where(Conversation.team_id == team_id, Conversation.key == key))


def count_of(session: Session, mailbox_id: int) -> int:
    """How many conversations a mailbox takes part in with at least one visible message."""
    query = (
        select(func.count(Thread.conversation_id.distinct()))
        .join(Copy, (Copy.mailbox_id == Thread.mailbox_id) & (Copy.gmail_thread_id == Thread.gmail_thread_id))
        .where(Thread.mailbox_id == mailbox_id, ~Copy.hidden)
    )
    return session.scalar(query) or 0


def record_arrivals(
    session: Session, team_id: int, mailbox_id: int, message_ids: Sequence[int], own: frozenset[str]
) -> None:
    """An event for each message that is new to the team; the same mail changed on its way gets none."""
    twin = Message.__table__.alias("twin")
    seen = (
        select(twin.c.id)
        .where(
            twin.c.team_id == team_id,
            twin.c.kin == Message.kin,
            twin.c.id < Message.id,
        )
        .exists()
    )
    rows = session.execute(
        select(Message.id, Message.conversation_id, Message.sender_normalized, Message.sent_at)
        .where(among(Message.id, message_ids), ~seen)
        .order_by(Message.sent_at, Message.id)
    )
    events.record_many(
        session,
        [
            {
                "team_id": team_id,
                "kind": "message.sent" if sender in own else "message.received",
                "actor": events.SYNC,
                "mailbox_id": mailbox_id,
                "message_id": id_,
                "conversation_id": conversation_id,
                "at": sent_at,
            }
            for id_, conversation_id, sender, sent_at in rows
        ],
    )


class _Union:
    """Union-find over hashable nodes ``(kind, value)``."""

    def __init__(self) -> None:
        self.parent: dict[Any, Any] = {}

    def find(self, node: Any) -> Any:
        self.parent.setdefault(node, node)
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def join(self, one: Any, other: Any) -> None:
        self.parent[self.find(one)] = self.find(other)

    def components(self) -> dict[Any, list[Any]]:
        found: dict[Any, list[Any]] = defaultdict(list)
        for node in list(self.parent):
            found[self.find(node)].append(node)
        return found
