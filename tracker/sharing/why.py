"""Why somebody sees a message, who sees one's own, and the places where something is withheld; in words.

Who holds a copy without standing in From, To or Cc got it by Bcc (or by a list): such an owner is never named,
neither to readers nor to another holder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, collate, null, or_, select, true
from sqlalchemy.orm import Session, aliased

from tracker import access, ours, people
from tracker.addresses import domain_of
from tracker.db import among
from tracker.messages import Kept, Message, recipients_of
from tracker.people import User, Viewer
from tracker.pipelines import Pipeline
from tracker.sharing import gate, parts
from tracker.sharing.levels import Level
from tracker.sharing.parts import copy, kept, mailbox
from tracker.sharing.tables import Rule

UNNAMED = "a teammate"
IN = " in {place}"
MOST_WITHHELD = 100  # places in one conversation

#: What a level lets see, by a verb of sharing.
_SHARED = {
    Level.FULL: "shares {what}",
    Level.SUBJECT: "shares the subjects of {what}",
    Level.EXISTENCE: "shares only the existence of {what}",
}


@dataclass(frozen=True, slots=True)
class Why:
    """Which word decided that somebody sees a message, and how much of it."""

    level: Level
    #: own, grant.conversation, grant.address, grant.pipeline, rule.conversation, rule.pipeline, rule.mailbox,
    #: default or kept
    rule: str
    owner_id: int | None
    because: str  #: "Bob shares mail with outsiders in Sales"
    place: tuple[int, str] | None = None  #: the pipeline that it speaks of, and its name

    @property
    def words(self) -> str:
        """As it stands by the message."""
        seen = {Level.FULL: "this", Level.SUBJECT: "this subject"}.get(self.level, "that there is this mail")
        return f"You see {seen} because {self.because}."


@dataclass(frozen=True, slots=True)
class Seer:
    """Somebody who sees a mail of one's own."""

    user: User
    level: Level
    words: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """A mail of which the viewer may know, and no more."""

    message_id: int
    message_key: str
    owner_id: int  #: whom to ask; not to be named unless `owner_names` does
    owner_names: str  #: "Bob", or "A teammate"
    at: datetime
    hosts: Sequence[str]  #: the domains of those outside the team
    subject: str | None  #: if that is shared


def why(session: Session, viewer: Viewer, message_ids: Iterable[int], *, shared: bool = False) -> dict[int, Why]:
    """Why the viewer sees each of these messages; those that they know nothing of are left out.

    With `shared`, by what others share alone, as if the viewer's own mailboxes were empty.
    """
    ids = list(message_ids)
    if not ids or viewer.user_id is None:
        return {}
    found: dict[int, Why] = {} if shared else dict.fromkeys(session.scalars(_held(viewer, ids)), _OWN)
    rest = [id_ for id_ in ids if id_ not in found]
    best: dict[int, tuple[tuple[int, ...], Why]] = {}
    for row in (*_copies(session, viewer, rest), *_kept(session, viewer, rest)) if rest else ():
        for order, one in _answers(row):
            if one.level > Level.NOTHING and (row.id not in best or order > best[row.id][0]):
                best[row.id] = (order, one)
    return found | {id_: one for id_, (_, one) in best.items()}


_OWN = Why(Level.FULL, "own", None, "it is in your own mailbox")


def _held(viewer: Viewer, ids: Sequence[int]) -> Select[int]:
    return select(Message.id).where(among(Message.id, ids), Message.team_id == viewer.team_id, gate.holds(viewer))


def _copies(session: Session, viewer: Viewer, ids: Sequence[int]) -> Sequence[Any]:
    """Each copy with what its owner said, once for each box that the viewer may see (and once without)."""
    owner, pipeline = mailbox.c.user_id, Pipeline.__table__.alias("shared_pipeline")
    place = (
        parts.filed(
            viewer,
            pipeline.c.name.label("pipeline"),
            pipeline.c.id.label("pipeline_id"),
            parts.pipeline_rule(owner).label("of_pipeline"),
            parts.granted_pipeline(viewer, owner).label("by_pipeline"),
            parts.word_in_box(viewer).label("word"),
        )
        .join(pipeline, pipeline.c.id == parts.box.c.pipeline_id)
        .correlate(parts.message, copy, mailbox)
        .lateral("place")
    )
    query = (
        select(
            Message.id,
            owner.label("owner_id"),
            User.name.label("name"),
            parts.is_seen_taking_part(owner).label("named"),
            parts.is_private(owner, bcc=True).label("private"),
            parts.with_outsider().label("outside"),
            parts.granted_conversation(viewer, owner).label("by_conversation"),
            parts.granted_address(viewer, owner).label("by_address"),
            parts.word_of_grant().label("granted"),
            parts.conversation_rule(owner).label("of_conversation"),
            parts.mailbox_rule().label("of_mailbox"),
            place.c.pipeline,
            place.c.pipeline_id,
            place.c.of_pipeline,
            place.c.by_pipeline,
            place.c.word,
            null().label("kept"),
        )
        .select_from(Message)
        .join(copy, copy.c.message_id == Message.id)
        .join(mailbox, mailbox.c.id == copy.c.mailbox_id)
        .join(User, User.id == owner)
        .outerjoin(place, true())
        .where(among(Message.id, ids), Message.team_id == viewer.team_id)
        .where(~copy.c.hidden, mailbox.c.left_at.is_(None), owner != viewer.user_id)
        .order_by(Message.id, copy.c.id)
    )
    return session.execute(query).all()


def _kept(session: Session, viewer: Viewer, ids: Sequence[int]) -> Sequence[Any]:
    level = parts.kept_shares(viewer).level
    query = (
        select(
            Message.id,
            kept.c.owner_id.label("owner_id"),
            User.name.label("name"),
            parts.is_seen_taking_part(kept.c.owner_id).label("named"),
            level.label("kept"),
        )
        .select_from(Message)
        .join(kept, kept.c.message_id == Message.id)
        .join(User, User.id == kept.c.owner_id)
        .where(among(Message.id, ids), Message.team_id == viewer.team_id)
        .order_by(Message.id, kept.c.id)
    )
    return session.execute(query).all()


#: Of several words that give the same, the one that says the most about it is told.
_ORDER = (
    "kept", "default", "rule.mailbox", "rule.pipeline", "rule.conversation", "grant.pipeline", "grant.address",
    "grant.conversation",
)  # fmt: skip


def _answers(row: Any) -> Iterable[tuple[tuple[int, ...], Why]]:
    """What one row gives: the level first, then owners who may be named, then the narrower word."""
    for level, rule, because in _reasons(row):
        who = row.name if row.named else UNNAMED
        place = (row.pipeline_id, row.pipeline) if because.endswith(IN) else None
        words = because.replace("{who}", who).replace(IN, f" in {place[1]}" if place else "")
        told = Why(Level(level), rule, row.owner_id, words, place)
        yield (level, int(row.named), _ORDER.index(rule)), told


def _reasons(row: Any) -> Iterable[tuple[int, str, str]]:
    if row.kept is not None:
        yield row.kept, "kept", "{who} had shared it before they left the team"
        return
    if row.private:
        return
    if row.by_conversation:
        yield Level.FULL, "grant.conversation", "{who} shares this conversation with you"
        return
    if row.by_address and row.granted:
        rule = "grant.address" if row.of_conversation is None else "rule.conversation"
        what = "mail with this contact" if row.of_conversation is None else "this conversation"
        yield row.granted, rule, f"{{who}} {_shares(row.granted, what)} with you"
    if row.word:
        rule, what = _of_box(row)
        yield row.word, rule, f"{{who}} {_shares(row.word, what)}"


def _of_box(row: Any) -> tuple[str, str]:
    """Which word decided in a box, and of what it speaks."""
    if row.of_conversation is not None:
        return "rule.conversation", f"this conversation{IN}"
    if row.by_pipeline:
        return "grant.pipeline", f"with you what is{IN}"
    mail = "mail with outsiders" if row.outside else "mail among the team"
    if row.of_pipeline is not None:
        return "rule.pipeline", f"{mail}{IN}"
    return ("rule.mailbox" if row.of_mailbox is not None else "default"), f"{mail}{IN}"


def _shares(level: int, what: str) -> str:
    return _SHARED[Level(level)].format(what=what)


def who_sees(session: Session, viewer: Viewer, message_id: int) -> list[Seer]:
    """Who of the team sees a mail that one of the viewer's own mailboxes holds, and why; by name.

    A teammate whose mailbox holds it is told only if they stand in From, To or Cc, or if the viewer sent it: else
    they got it by Bcc, and are told as far as others share it with them. Nobody if the mail is not the viewer's.
    """
    if session.scalar(_held(viewer, [message_id])) is None:
        return []
    named = _named_holders(session, viewer, message_id)
    seen = set(session.scalars(select(Pipeline.id).where(access.may_see_pipeline(viewer))))
    found = []
    for user in people.of_team(session, viewer.team_id):
        if user.id == viewer.user_id:
            continue
        if user.id in named:
            found.append(Seer(user, Level.FULL, f"{user.name} has it in their own mailbox."))
            continue
        one = why(session, people.viewer_of(user, viewer.door), [message_id], shared=True).get(message_id)
        if one is not None:
            found.append(Seer(user, one.level, _of_another(session, viewer, user, one, seen)))
    return found


def _named_holders(session: Session, viewer: Viewer, message_id: int) -> set[int]:
    mine = aliased(people.OwnAddress)
    sent = select(mine.id).where(mine.user_id == viewer.user_id, mine.normalized == Message.sender_normalized)
    query = (
        select(mailbox.c.user_id)
        .select_from(Message)
        .join(copy, copy.c.message_id == Message.id)
        .join(mailbox, mailbox.c.id == copy.c.mailbox_id)
        .where(Message.id == message_id, ~copy.c.hidden, mailbox.c.left_at.is_(None))
        .where(or_(parts.is_seen_taking_part(mailbox.c.user_id), sent.correlate(Message).exists()))
    )
    return set(session.scalars(query))


def _of_another(session: Session, viewer: Viewer, user: User, one: Why, pipelines: set[int]) -> str:
    """The same in the third person; whoever asks is "you". A pipeline that they may not see is not named."""
    because = one.because
    if one.place is not None and one.place[0] not in pipelines:
        because = f"{because.removesuffix(f' in {one.place[1]}')} in a box that you don’t see"
    if one.owner_id == viewer.user_id:
        owner = session.get_one(User, one.owner_id)
        for name in (owner.name, UNNAMED):
            if because.startswith(f"{name} shares"):
                because = f"you share{because.removeprefix(f'{name} shares')}"
    seen = {Level.FULL: "it", Level.SUBJECT: "its subject"}.get(one.level, "that there is such a mail")
    return f"{user.name} sees {seen} because {because.replace(' with you', ' with them')}."


def withheld(
    session: Session, viewer: Viewer, conversation_id: int, *, before: datetime | None = None
) -> list[Withheld]:
    """The mails of a conversation of which the viewer may know, and no more; the newest first."""
    older = [] if before is None else [Message.sent_at < before]
    return withheld_where(session, viewer, Message.conversation_id == conversation_id, *older)


def withheld_where(
    session: Session, viewer: Viewer, *conditions: ColumnElement[bool], limit: int = MOST_WITHHELD
) -> list[Withheld]:
    """As `withheld`, of all messages for which these conditions hold."""
    if not _withholds_anything(session, viewer.team_id):
        return []
    level = gate.level(viewer).label("level")
    query = (
        select(Message.id, Message.key, Message.sent_at, Message.subject, Message.sender_normalized, level)
        .where(*conditions, gate.may_know(viewer), ~gate.may_read(viewer))
        .order_by(Message.sent_at.desc(), collate(Message.key, "C").desc())
        .limit(limit)
    )
    rows = session.execute(query).all()
    if not rows:
        return []
    reasons = why(session, viewer, [row.id for row in rows])
    names = {user.id: user.name for user in people.of_team(session, viewer.team_id, removed=True)}
    hosts = _hosts(session, viewer.team_id, {row.id: row.sender_normalized for row in rows})
    return [
        Withheld(
            row.id,
            row.key,
            reasons[row.id].owner_id or 0,
            _told(reasons[row.id], names),
            row.sent_at,
            hosts[row.id],
            row.subject if row.level >= Level.SUBJECT else None,
        )
        for row in rows
        if row.id in reasons
    ]


def _withholds_anything(session: Session, team_id: int) -> bool:
    """Whether anybody said anything between all and nothing: most teams never do, and are not asked further."""
    between = (int(Level.EXISTENCE), int(Level.SUBJECT))
    rules = select(Rule.id).where(Rule.team_id == team_id, Rule.outside.in_(between) | Rule.inside.in_(between))
    left = select(Kept.id).where(Kept.team_id == team_id, Kept.level.in_(between))
    return bool(session.scalar(select(or_(rules.exists(), left.exists()))))


def _told(one: Why, names: dict[int, str]) -> str:
    name = names.get(one.owner_id or 0, "")
    return name if name and one.because.startswith(name) else UNNAMED.capitalize()


def _hosts(session: Session, team_id: int, senders: dict[int, str]) -> dict[int, list[str]]:
    """The domains of those outside the team who take part, by message."""
    own = ours.of_team(session, team_id)
    recipients = recipients_of(session, list(senders))
    found = {}
    for id_, sender in senders.items():
        everybody = [sender, *(one.normalized for one in recipients[id_] if one.kind != "reply-to")]
        hosts = [domain_of(address) for address in everybody if address not in own]
        found[id_] = [host for host in dict.fromkeys(hosts) if host][:5]
    return found
