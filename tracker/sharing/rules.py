"""Rules: what an owner says of their mail, by mailbox, in a pipeline, in one conversation."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from tracker import access, conversations, events, facts
from tracker.conversations import Conversation
from tracker.db import everything, lock_team
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.people import Viewer
from tracker.pipelines import Pipeline
from tracker.sharing import gate
from tracker.sharing.levels import DEFAULT, Level, Pair, SharingError
from tracker.sharing.tables import Rule


def set_rule(
    session: Session,
    viewer: Viewer,
    *,
    mailbox: Mailbox | None = None,
    pipeline: Pipeline | None = None,
    conversation: Conversation | None = None,
    outside: Level | int | None,
    inside: Level | int | None,
) -> Rule | None:
    """Say at which levels the viewer's own mail is shared, in exactly one of these places; None takes it back.

    Raises `SharingError` for what is not the viewer's to say, or what they may not see.
    """
    pair = None if outside is None or inside is None else Pair(_level(outside), _level(inside))
    with everything(session):
        return _set(session, viewer, _place(session, viewer, mailbox, pipeline, conversation, pair), pair)


def _set(session: Session, viewer: Viewer, place: dict[str, int], pair: Pair | None) -> Rule | None:
    lock_team(session, viewer.team_id)
    rule = session.scalar(_of(viewer.user_id).filter_by(**place))
    before = None if rule is None else Pair(Level(rule.outside), Level(rule.inside))
    if pair == before:
        return rule
    if pair is None:
        session.execute(delete(Rule).where(Rule.user_id == viewer.user_id).filter_by(**place))
        rule = None
    elif rule is None:
        rule = Rule(
            team_id=viewer.team_id, user_id=viewer.user_id, outside=pair.outside, inside=pair.inside, **place
        )
        session.add(rule)
    else:
        rule.outside, rule.inside = int(pair.outside), int(pair.inside)
    session.flush()
    if "conversation_id" in place:
        facts.refresh_conversations(session, [place["conversation_id"]])
    else:
        facts.refresh_owner(session, viewer.user_id or 0, pipeline_id=place.get("pipeline_id"))
    _tell(session, viewer, place, before, pair)
    return rule


def rules_of(session: Session, user_id: int) -> Sequence[Rule]:
    """What somebody said of their own mail, the widest first."""
    query = _of(user_id).order_by(Rule.mailbox_id, Rule.pipeline_id, Rule.conversation_id)
    return session.scalars(query).all()


def rule_for(session: Session, user_id: int, conversation: Conversation) -> Rule | None:
    """What somebody said of their own mail in this conversation."""
    return session.scalar(_of(user_id).where(Rule.conversation_id == conversation.id))


def inside_of(session: Session, user_id: int, rule: Rule | None) -> Level:
    """What teammates see of somebody's internal mail in a conversation of which they said this.

    Without a word for the conversation the strictest of the wider ones.
    """
    if rule is not None:
        return Level(rule.inside)
    rules = [one for one in rules_of(session, user_id) if one.conversation_id is None]
    said = {one.mailbox_id for one in rules}
    own = session.scalars(select(Mailbox.id).where(Mailbox.user_id == user_id)).all()
    unsaid = [int(DEFAULT.inside)] if set(own) - said else []
    return Level(min([*(one.inside for one in rules), *unsaid], default=int(DEFAULT.inside)))


def _of(user_id: int | None) -> Select[Rule]:
    return select(Rule).where(Rule.user_id == user_id)


def _level(given: Level | int) -> Level:
    try:
        return Level(given)
    except ValueError:
        raise SharingError("There is no such level") from None


def _place(
    session: Session,
    viewer: Viewer,
    mailbox: Mailbox | None,
    pipeline: Pipeline | None,
    conversation: Conversation | None,
    pair: Pair | None,
) -> dict[str, int]:
    if viewer.user_id is None or [mailbox, pipeline, conversation].count(None) != 2:
        raise SharingError("A rule is a person's, for a mailbox, a pipeline or a conversation")
    if mailbox is not None:
        if mailbox.user_id != viewer.user_id or mailbox.left_at is not None:
            raise SharingError("That is not your mailbox")
        return {"mailbox_id": mailbox.id}
    if pipeline is not None:
        if not sees_pipeline(session, viewer, pipeline.id) and not _narrows(session, viewer, pipeline, pair):
            raise SharingError("There is no such pipeline")
        return {"pipeline_id": pipeline.id}
    assert conversation is not None
    if not holds_any(session, viewer, conversation.id):
        raise SharingError("None of your mailboxes holds mail of this conversation")
    return {"conversation_id": conversation.id}


def sees_pipeline(session: Session, viewer: Viewer, pipeline_id: int) -> bool:
    """Whether the viewer may see the pipeline, or some box in it."""
    query = select(Pipeline.id).where(Pipeline.id == pipeline_id, access.may_see_pipeline(viewer))
    return session.scalar(query) is not None


def _narrows(session: Session, viewer: Viewer, pipeline: Pipeline, pair: Pair | None) -> bool:
    """Whether the viewer said something of the pipeline while they saw it, and takes it back or shares less."""
    rule = session.scalar(_of(viewer.user_id).where(Rule.pipeline_id == pipeline.id))
    if rule is None:
        return False
    return pair is None or (pair.outside <= rule.outside and pair.inside <= rule.inside)


def holds_any(session: Session, viewer: Viewer, conversation_id: int) -> bool:
    """Whether one of the viewer's mailboxes holds mail of the conversation."""
    query = select(Message.id).where(Message.conversation_id == conversation_id, gate.holds(viewer))
    return session.scalar(query.limit(1)) is not None


def _tell(
    session: Session, viewer: Viewer, place: dict[str, int], before: Pair | None, after: Pair | None
) -> None:
    data = {"before": _told(before), "after": _told(after), **_key(session, place)}
    where = {name: id_ for name, id_ in place.items() if name != "pipeline_id"}
    events.record(
        session,
        viewer.team_id,
        "sharing.rule",
        actor=viewer.actor,
        user_id=viewer.user_id,
        data=data,
        **where,
    )


def _key(session: Session, place: dict[str, int]) -> dict[str, str]:
    if "pipeline_id" not in place:
        return {}
    return {"pipeline": session.get_one(Pipeline, place["pipeline_id"]).key}


def _told(pair: Pair | None) -> dict[str, int] | None:
    return None if pair is None else {"outside": int(pair.outside), "inside": int(pair.inside)}


def owners_of(session: Session, conversation_id: int) -> set[int]:
    """Whose mailboxes hold mail of a conversation."""
    query = (
        select(Mailbox.user_id)
        .join(Copy, Copy.mailbox_id == Mailbox.id)
        .join(Message, Message.id == Copy.message_id)
        .where(Message.conversation_id == conversation_id)
    )
    return set(session.scalars(query))


def _before_merge(session: Session, loser: int, survivor: int) -> None:
    """Two conversations become one. What an owner said of one opens nothing of theirs in the other.

    Of both words the stricter counts; of one word, where the other conversation holds mail of the owner's too, it
    counts as far as the strictest of their wider words goes. (Whoever can make two conversations one, by an answer
    in the wrong thread, could otherwise read what was never shared.)
    """
    both = {one: owners_of(session, one) for one in (loser, survivor)}
    words: dict[int, list[Rule]] = {}
    for rule in session.scalars(select(Rule).where(Rule.conversation_id.in_((loser, survivor))).order_by(Rule.id)):
        words.setdefault(rule.user_id, []).append(rule)
    for user_id, (kept, *rest) in words.items():
        pairs = [(one.outside, one.inside) for one in rest]
        other = loser if kept.conversation_id == survivor else survivor
        if not rest and user_id in both[other]:
            wide = select(Rule).where(Rule.user_id == user_id, Rule.conversation_id.is_(None))
            pairs = [(one.outside, one.inside) for one in session.scalars(wide)]
            pairs.append((DEFAULT.outside, DEFAULT.inside))
        for one in rest:
            session.delete(one)
        session.flush()
        kept.conversation_id = survivor
        kept.outside = min(kept.outside, *(outside for outside, _ in pairs)) if pairs else kept.outside
        kept.inside = min(kept.inside, *(inside for _, inside in pairs)) if pairs else kept.inside
    session.flush()


def _follow_split(session: Session, conversation_id: int, made: Sequence[int]) -> None:
    """Each part of a conversation that came apart keeps what was said of the whole."""
    for rule in session.scalars(select(Rule).where(Rule.conversation_id == conversation_id)).all():
        session.add_all(
            Rule(
                team_id=rule.team_id,
                user_id=rule.user_id,
                conversation_id=part,
                outside=rule.outside,
                inside=rule.inside,
                said_at=rule.said_at,
            )
            for part in made
        )
    session.flush()


conversations.before_merge.append(_before_merge)
conversations.on_split.append(_follow_split)
