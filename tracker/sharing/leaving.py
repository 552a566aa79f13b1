"""What stays of somebody's sharing when they leave: the team keeps the text that it was given, and no more.

`keep_what_was_shared` freezes the gate's answers as rows of `Kept`: how much of each message is shared with
whoever may see a box of which pipeline, and with whom in person, by the owner's rules, grants and private list
as they stand now. From then on these rows count and the owner's copies no longer do (`mailboxes.left_at`). Who
may see a box, and what is filed in it, is still asked anew: what is shared in a box is shared with its people,
whoever they come to be. The copies of messages of which nothing is kept (`unshared`) are the caller's to delete.

Somebody who comes back is a newcomer, with no grant and no rule of before; but what they kept back stays so:
`welcome_back` gives them their private list again, and rules as strict as they were, none more generous than the
default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, literal, null, or_, select, update
from sqlalchemy.orm import Session

from tracker import conversations, events, mailboxes, people
from tracker.db import among, everything, lock_team
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Kept, Message
from tracker.people import User
from tracker.sharing import grants, parts
from tracker.sharing.levels import DEFAULT, Level
from tracker.sharing.parts import copy, mailbox
from tracker.sharing.tables import Grant, Private, Rule


def keep_what_was_shared(session: Session, user: User, now: datetime | None = None) -> int:
    """Freeze what somebody who is leaving shares with the team; how many messages something is kept of.

    Call it before `mailboxes.left_at` is set and before any copy is deleted. Their grants end, those they got too.
    Text of which only the subject or the existence was shared goes at once.
    """
    lock_team(session, user.team_id)
    with everything(session):
        return _keep(session, user, now)


def _keep(session: Session, user: User, now: datetime | None) -> int:
    session.execute(delete(Kept).where(or_(Kept.owner_id == user.id, Kept.user_id == user.id)))
    columns = ["team_id", "message_id", "owner_id", "pipeline_id", "user_id", "level"]
    for query in (_in_boxes(user), *_in_person(user)):
        session.execute(insert(Kept).from_select(columns, query))
    grants.forget_person(session, user.id)
    _forget_text(session, user)
    number = session.scalar(select(func.count(Kept.message_id.distinct())).where(Kept.owner_id == user.id)) or 0
    at: dict[str, Any] = {} if now is None else {"at": now}
    events.record(session, user.team_id, "sharing.kept", **at, data={"user": user.key, "messages": number})
    return number


def unshared(session: Session, mailbox_id: int, limit: int | None = None) -> Sequence[str]:
    """Gmail's ids of what a mailbox holds and nothing is kept of: to be deleted with whoever leaves."""
    owner = select(Mailbox.user_id).where(Mailbox.id == mailbox_id).scalar_subquery()
    of_it = select(Kept.id).where(Kept.message_id == Copy.message_id, Kept.owner_id == owner)
    query = select(Copy.gmail_id).where(Copy.mailbox_id == mailbox_id, or_(Copy.hidden, ~of_it.exists()))
    return session.scalars(query.order_by(Copy.id).limit(limit)).all()


def _shared_mail(user: User, *columns: Any) -> Select[Any]:
    """The mail that somebody's mailboxes hold and that is not private."""
    return (
        select(literal(user.team_id), Message.id, literal(user.id), *columns)
        .select_from(Message)
        .join(copy, copy.c.message_id == Message.id)
        .join(mailbox, mailbox.c.id == copy.c.mailbox_id)
        .where(mailbox.c.user_id == user.id, mailbox.c.left_at.is_(None), ~copy.c.hidden)
        .where(~parts.is_private(literal(user.id), bcc=True))
    )


def _in_boxes(user: User) -> Select[Any]:
    """What is shared with everybody who may see a box, by pipeline."""
    place = (
        parts.filed(None, parts.box.c.pipeline_id, parts.word_in_box(None).label("word"))
        .correlate(parts.message, copy, mailbox)
        .lateral("place")
    )
    best = func.max(place.c.word)
    query = _shared_mail(user, place.c.pipeline_id, null(), best).join(place, place.c.word > 0)
    return query.group_by(Message.id, place.c.pipeline_id)


def _in_person(user: User) -> Sequence[Select[Any]]:
    """What is shared with one person: all of a conversation, mail with an address, what is in a pipeline."""
    one = Grant.__table__.alias("given")
    takes_part = parts.takes_part(one.c.address, one)
    by_address = and_(one.c.address.is_not(None), parts.with_outsider(), takes_part)
    there = parts.filed(None, parts.filing.c.id).where(parts.box.c.pipeline_id == one.c.pipeline_id)
    ways: tuple[tuple[ColumnElement[bool], Any], ...] = (
        (one.c.conversation_id == Message.conversation_id, literal(int(Level.FULL))),
        (or_(by_address, parts.found(there, parts.message, one)), parts.word_of_grant()),
    )
    return [
        _shared_mail(user, one.c.pipeline_id, one.c.user_id, func.max(level))
        .join(one, and_(one.c.owner_id == user.id, condition, level > 0))
        .group_by(Message.id, one.c.pipeline_id, one.c.user_id)
        for condition, level in ways
    ]


def _forget_text(session: Session, user: User) -> None:
    kept = Message.id.in_(select(Kept.message_id).where(Kept.owner_id == user.id))
    _strip(session, kept, mailbox.c.user_id != user.id)
    of_user = select(Mailbox.id).where(Mailbox.user_id == user.id)
    session.execute(update(Copy).where(Copy.mailbox_id.in_(of_user)).values(bcc=[], headers=[]))


def _last_copy_gone(session: Session, conversation_ids: Sequence[int]) -> None:
    """Mail of a conversation went from mailboxes: of what nobody holds any more, only what was shared stays."""
    within = select(Kept.id).join(Message, Message.id == Kept.message_id)
    within = within.where(among(Message.conversation_id, conversation_ids), Kept.level < Level.FULL)
    if session.scalar(within.limit(1)) is not None:
        _strip(session, among(Message.conversation_id, conversation_ids))


def _strip(session: Session, which: ColumnElement[bool], *elsewhere: ColumnElement[bool]) -> None:
    """Of what is kept in part, the rest goes, unless another mailbox holds it.

    Such a message is another from now on: if the mail itself comes again, it comes whole, as a new message.
    """
    others = (
        select(copy.c.id)
        .join(mailbox, mailbox.c.id == copy.c.mailbox_id)
        .where(copy.c.message_id == Message.id, mailbox.c.left_at.is_(None), *elsewhere)
    )
    of = select(func.max(Kept.level)).where(Kept.message_id == Message.id).correlate(Message).scalar_subquery()
    whole = or_(
        Message.text != "", Message.html.is_not(None), Message.snippet != "",
        and_(of < Level.SUBJECT, Message.subject != ""),
    )  # fmt: skip
    query = select(Message.id, Message.identity, Message.conversation_id, of).where(
        which, of < Level.FULL, whole, ~others.correlate(Message).exists()
    )
    touched = set()
    for id_, identity, conversation_id, level in session.execute(query).all():
        touched.add(conversation_id)
        left: dict[str, Any] = {"text": "", "html": None, "snippet": "", "attachment_count": 0}
        left |= {} if level >= Level.SUBJECT else {"subject": ""}
        # Not by the mail alone: somebody may leave twice, and have kept the same mail twice.
        made = hashlib.sha256(bytes(identity) + b"kept" + str(id_).encode()).digest()
        session.execute(update(Message).where(Message.id == id_).values(identity=made, **left))
        emptied: dict[str, Any] = {"attachments": [], "calendars": [], "headers": []}
        session.execute(update(Copy).where(Copy.message_id == id_).values(**emptied))
    if touched:
        conversations.refresh(session, touched)


def welcome_back(session: Session, user: User) -> None:
    """Give somebody who was in the team before their private list again, and the rules that kept mail back."""
    with everything(session):
        _welcome(session, user)


def _welcome(session: Session, user: User) -> None:
    before = select(User.id).where(
        User.team_id == user.team_id, User.normalized == user.normalized, User.removed_at.is_not(None)
    )
    values = select(Private.value).where(Private.user_id.in_(before)).distinct()
    known = set(session.scalars(select(Private.value).where(Private.user_id == user.id)))
    session.add_all(
        Private(team_id=user.team_id, user_id=user.id, value=value)
        for value in session.scalars(values)
        if value not in known
    )
    session.flush()
    _strict_again(session, user, before)


def _strict_again(session: Session, user: User, before: Select[int]) -> None:
    """Rules about a mailbox come back with the account: see `mailbox_connected`."""
    found = select(Rule).where(Rule.user_id.in_(before), Rule.mailbox_id.is_(None)).order_by(Rule.id.desc())
    places = {(one.pipeline_id, one.conversation_id) for one in session.scalars(_rules_of(user.id))}
    for one in session.scalars(found).all():
        place = (one.pipeline_id, one.conversation_id)
        if place not in places:
            places.add(place)
            session.add(_stricter(one, user))
    session.flush()


def mailbox_connected(session: Session, found: Mailbox) -> None:
    """An account that somebody had left comes back: what they kept back of it stays so."""
    old = select(Mailbox.id).where(Mailbox.normalized == found.normalized, Mailbox.left_at.is_not(None))
    query = select(Rule).where(Rule.mailbox_id.in_(old)).order_by(Rule.id.desc()).limit(1)
    rule = session.scalar(query)
    known = session.scalar(select(Rule.id).where(Rule.mailbox_id == found.id))
    if rule is not None and rule.team_id == found.team_id and known is None:
        owner = session.get_one(User, found.user_id)
        made = _stricter(rule, owner)
        made.mailbox_id = found.id
        session.add(made)
        session.flush()


def _rules_of(user_id: int) -> Select[Rule]:
    return select(Rule).where(Rule.user_id == user_id)


def _stricter(one: Rule, user: User) -> Rule:
    return Rule(
        team_id=user.team_id,
        user_id=user.id,
        pipeline_id=one.pipeline_id,
        conversation_id=one.conversation_id,
        outside=min(one.outside, DEFAULT.outside),
        inside=min(one.inside, DEFAULT.inside),
    )


conversations.on_change.append(_last_copy_gone)
people.on_join.append(welcome_back)
mailboxes.on_connect.append(mailbox_connected)
