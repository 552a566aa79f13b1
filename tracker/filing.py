"""Filing: which box a conversation is in, who decided so, and why, in words.

What a person said (tagged, removed, dismissed) always wins and is remembered; rules only ever write where no
person has spoken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tracker import conversations, events, facts, topics
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import Base, Keyed, OfTeam, among, lock_team, new_key
from tracker.people import Viewer
from tracker.pipelines import Pipeline

SUGGESTED, FILED, REMOVED, DISMISSED = "suggested", "filed", "removed", "dismissed"
PERSON, RULE = "person", "rule"

#: From each state, where a person may take it. A rule makes `suggested` and `filed`, only out of nothing or of
#: its own suggestion.
ARROWS: dict[str, frozenset[str]] = {
    SUGGESTED: frozenset({FILED, DISMISSED}),
    FILED: frozenset({REMOVED}),
    REMOVED: frozenset({FILED}),
    DISMISSED: frozenset({FILED}),
}


class FilingError(ValueError):
    """A decision can't be made as asked; the text says why."""


class Filing(OfTeam, Keyed, Base):
    """One decision about a conversation and a box, or about a new box in a pipeline (`box_id` is None)."""

    __tablename__ = "filings"
    __table_args__ = (
        UniqueConstraint("conversation_id", "box_id"),
        Index(
            "uq_filings_new_box",
            "conversation_id",
            "pipeline_id",
            unique=True,
            postgresql_where=text("box_id IS NULL"),
        ),
        Index("ix_filings_box_id_state", "box_id", "state"),
        Index(
            "ix_filings_conversation_id_filed",
            "conversation_id",
            postgresql_include=["box_id"],
            postgresql_where=text("state = 'filed'"),
        ),
        CheckConstraint("state in ('suggested', 'filed', 'removed', 'dismissed')", name="state"),
        CheckConstraint("origin in ('person', 'rule')", name="origin"),
    )

    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"))
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"), index=True)
    state: Mapped[str]
    origin: Mapped[str]
    rule: Mapped[str | None]
    reason: Mapped[str]  #: in words
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    decided_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    box: Mapped[Box | None] = relationship()
    pipeline: Mapped[Pipeline] = relationship()


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule decided."""

    conversation_id: int
    box_id: int | None
    pipeline_id: int
    state: str
    rule: str
    reason: str


def file(session: Session, viewer: Viewer, conversation: Conversation, box: Box, reason: str = "") -> Filing:
    """A person puts a conversation into a box; from now on no rule touches that."""
    filing = _decide(session, viewer, conversation, box, FILED, reason or "because you put it here")
    withdraw_suggestions(session, conversation.id, box.pipeline_id)
    return filing


def remove(session: Session, viewer: Viewer, conversation: Conversation, box: Box, reason: str = "") -> Filing:
    """A person takes a conversation out of a box; no rule files it there again."""
    return _decide(session, viewer, conversation, box, REMOVED, reason or "because it was taken out by hand")


def dismiss(session: Session, viewer: Viewer, filing: Filing) -> None:
    """A person declines a suggestion. Raises `FilingError` if it is none any more."""
    _hold_still(session, viewer.team_id, filing.conversation_id)
    changed = session.execute(
        update(Filing)
        .where(Filing.id == filing.id, Filing.state == SUGGESTED)
        .values(state=DISMISSED, origin=PERSON, user_id=viewer.user_id, decided_at=func.clock_timestamp())
        .returning(Filing.id)
    ).scalar_one_or_none()
    if changed is None:
        raise FilingError("This is no longer a suggestion")
    _record(session, viewer, "conversation.dismissed", filing.conversation_id, filing.box_id, filing.reason)


def _decide(
    session: Session, viewer: Viewer, conversation: Conversation, box: Box, state: str, reason: str
) -> Filing:
    if not (conversation.team_id == box.team_id == viewer.team_id):
        raise FilingError("There is no such box")
    _hold_still(session, viewer.team_id, conversation.id)
    values = {
        "state": state,
        "origin": PERSON,
        "rule": None,
        "reason": reason,
        "user_id": viewer.user_id,
        "decided_at": func.clock_timestamp(),
    }
    before = session.scalar(
        select(Filing.state).where(Filing.conversation_id == conversation.id, Filing.box_id == box.id)
    )
    statement = insert(Filing).values(
        team_id=box.team_id,
        key=new_key(),
        conversation_id=conversation.id,
        box_id=box.id,
        pipeline_id=box.pipeline_id,
        **values,
    )
    statement = statement.on_conflict_do_update(index_elements=["conversation_id", "box_id"], set_=values)
    id_ = session.execute(statement.returning(Filing.id)).scalar_one()
    if before != state:
        _record(session, viewer, f"conversation.{state}", conversation.id, box.id, reason)
        facts.refresh(session, [box.id])
    return session.get_one(Filing, id_, populate_existing=True)


def _hold_still(session: Session, team_id: int, conversation_id: int) -> None:
    """Keep a sync from merging the conversation away under a person's word. Raises `FilingError`."""
    lock_team(session, team_id)
    if session.scalar(select(Conversation.id).where(Conversation.id == conversation_id)) is None:
        raise FilingError("This conversation has just been joined with another; look again")


def decide_by_rule(session: Session, team_id: int, decisions: Sequence[Decision], actor: Viewer) -> list[Decision]:
    """Write what rules decided, where no person has spoken; returns the filings that are new."""
    made = []
    for decision in decisions:
        statement = insert(Filing).values(
            team_id=team_id,
            key=new_key(),
            conversation_id=decision.conversation_id,
            box_id=decision.box_id,
            pipeline_id=decision.pipeline_id,
            state=decision.state,
            origin=RULE,
            rule=decision.rule,
            reason=decision.reason,
        )
        if decision.box_id is not None and decision.state == FILED:
            statement = statement.on_conflict_do_update(
                index_elements=["conversation_id", "box_id"],
                set_={"state": FILED, "reason": decision.reason, "rule": decision.rule},
                where=(Filing.origin == RULE) & (Filing.state == SUGGESTED),
            )
        else:
            statement = statement.on_conflict_do_nothing()
        if session.execute(statement.returning(Filing.id)).scalar_one_or_none() is None:
            continue
        made.append(decision)
        if decision.state == FILED:
            withdraw_suggestions(session, decision.conversation_id, decision.pipeline_id)
        _record(
            session,
            actor,
            f"conversation.{decision.state}",
            decision.conversation_id,
            decision.box_id,
            decision.reason,
            rule=decision.rule,
        )
    facts.refresh(session, [one.box_id for one in made if one.box_id is not None and one.state == FILED])
    return made


def withdraw_suggestions(session: Session, conversation_id: int, pipeline_id: int) -> None:
    """A conversation found its place in a pipeline: what rules had suggested there is moot."""
    session.execute(
        delete(Filing).where(
            Filing.conversation_id == conversation_id,
            Filing.pipeline_id == pipeline_id,
            Filing.state == SUGGESTED,
        )
    )


def of_conversations(session: Session, conversation_ids: Iterable[int]) -> dict[int, list[Filing]]:
    """The decisions about several conversations in one query."""
    found: dict[int, list[Filing]] = defaultdict(list)
    query = select(Filing).where(among(Filing.conversation_id, set(conversation_ids))).order_by(Filing.id)
    for filing in session.scalars(query):
        found[filing.conversation_id].append(filing)
    return found


def by_key(session: Session, team_id: int, key: str) -> Filing | None:
    """The team's decision with this key."""
    return session.scalar(select(Filing).where(Filing.team_id == team_id, Filing.key == key))


def of_box(session: Session, box_id: int, state: str = FILED) -> Sequence[Filing]:
    """What is filed in (or suggested for) a box."""
    query = select(Filing).where(Filing.box_id == box_id, Filing.state == state).order_by(Filing.decided_at)
    return session.scalars(query).all()


def first_box(session: Session, conversation_id: int) -> Box | None:
    """The box that a conversation was filed in first, and still is; none that was deleted."""
    query = (
        select(Box)
        .join(Filing, Filing.box_id == Box.id)
        .where(Filing.conversation_id == conversation_id, Filing.state == FILED, Box.deleted_at.is_(None))
        .order_by(Filing.id)
    )
    return session.scalars(query.limit(1)).first()


def _record(
    session: Session,
    viewer: Viewer,
    kind: str,
    conversation_id: int,
    box_id: int | None,
    reason: str,
    **data: Any,
) -> None:
    events.record(
        session,
        viewer.team_id,
        kind,
        actor=events.RULE if "rule" in data else viewer.actor,
        user_id=viewer.user_id,
        conversation_id=conversation_id,
        box_id=box_id,
        data={"reason": reason, **data},
    )


def _stronger(one: Filing, other: Filing) -> Filing:
    """Of two decisions about the same: a person's before a rule's, then the later."""
    return max(one, other, key=lambda filing: (filing.origin == PERSON, filing.decided_at, filing.id))


def _follow_merge(session: Session, loser: int, survivor: int) -> None:
    """Box links follow a merge; of two decisions about one box the stronger is kept."""
    decisions = of_conversations(session, [loser, survivor])
    kept = {(filing.box_id, filing.pipeline_id): filing for filing in decisions[survivor]}
    for filing in decisions[loser]:
        place = (filing.box_id, filing.pipeline_id)
        twin = kept.get(place)
        weaker = None if twin is None else (twin if _stronger(twin, filing) is filing else filing)
        if weaker is not None:
            session.delete(weaker)
            session.flush()
        if weaker is not filing:
            filing.conversation_id = survivor
            kept[place] = filing
    session.flush()


def _follow_split(session: Session, conversation_id: int, parts: Sequence[int]) -> None:
    """Each part of a conversation that came apart keeps what was decided about the whole."""
    columns = [
        column.name for column in Filing.__table__.columns if column.name not in ("id", "key", "conversation_id")
    ]
    rows = session.execute(
        select(*(Filing.__table__.c[name] for name in columns)).where(Filing.conversation_id == conversation_id)
    ).mappings()
    copies = [{**row, "key": new_key(), "conversation_id": part} for row in rows.all() for part in parts]
    if copies:
        session.execute(insert(Filing), copies)


conversations.on_merge.append(_follow_merge)
conversations.on_split.append(_follow_split)
conversations.on_change.append(facts.refresh_conversations)
conversations.on_change.append(topics.mail_changed)
