"""Who may see which message: the one gate that every list, search and page asks, as SQL.

One's own mailboxes' mail is seen whole, whatever else was said. Of mail that only teammates hold, the best of
their copies counts (drafts, spam and trash are none). For each copy:

1. Does anybody on its owner's private list take part, that copy shares nothing, whatever was granted.
2. An owner who lets the viewer read this conversation shares all of it.
3. In each box that the viewer may see and in which the conversation is filed, the narrowest of the owner's words
   counts: of the conversation; a grant for the pipeline; of the pipeline; of the mailbox; the default. Of several
   boxes the best counts, since it was shared there; a box that the viewer may not see is as if it were not.
4. A grant for an address counts without a box, but what was said of this one conversation narrows it.

What a removed teammate had shared stays as `Kept`, and nothing else of the mailbox that they left. Bcc makes
nobody a participant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Integer,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

from tracker.messages import Message
from tracker.people import Role, Viewer
from tracker.sharing import parts, said
from tracker.sharing.levels import Level
from tracker.sharing.parts import Source, message


def may_read(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may read the `Message` of the enclosing query."""
    return _Gate("read", viewer)


def may_know(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may know that the `Message` of the enclosing query exists."""
    return _Gate("know", viewer)


def level(viewer: Viewer) -> ColumnElement[int]:
    """SQL: the `Level` at which the viewer may see the `Message` of the enclosing query."""
    return _Gate("level", viewer)


def shared_level(viewer: Viewer) -> ColumnElement[int]:
    """SQL: as `level`, by what others share alone: as if the viewer's own mailboxes were empty."""
    return _Gate("shared", viewer)


def lends(viewer: Viewer, copy_id: Any) -> ColumnElement[bool]:
    """SQL: by this copy, a teammate's, the viewer may read the `Message` of the enclosing query."""
    spoken, plain = parts.teammates_copies(viewer), parts.copies_by_default(viewer)
    rows = spoken.rows.where(spoken.level >= int(Level.FULL))
    return or_(copy_id.in_(rows.correlate(message)), copy_id.in_(plain.correlate(message)))


def holds(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: one of the viewer's mailboxes holds the `Message`, outside trash, spam and drafts."""
    return _Gate("holds", viewer)


def not_private() -> ColumnElement[bool]:
    """SQL: rules may look at the `Message`: of somebody who has it, it is not private."""
    return parts.not_private()


def whole_in(pipeline_id: Any, *outer: Any) -> ColumnElement[bool]:
    """SQL: all who see a box of the pipeline may read the `Message` there."""
    return parts.whole_in(pipeline_id, *outer)


class _Gate(ColumnElement[Any]):
    """The gate in a statement: a question, a role, and two values.

    The gate is a large expression. To build it, and to compare it with the last, for each of the questions that a
    page asks would cost more than to answer them; so a statement carries this, and the expression is made only
    when PostgreSQL's text of a new kind of statement is. All that differs between two viewers of a role, where the
    same kinds of words were said, are the two values, which are part of what SQLAlchemy compares: `answer` gives
    the parts nothing else of the viewer.
    """

    __visit_name__ = "sharing_gate"
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy reads it so
        ("question", InternalTraversal.dp_string),
        ("role", InternalTraversal.dp_string),
        ("said", InternalTraversal.dp_string),
        ("team", InternalTraversal.dp_clauseelement),
        ("user", InternalTraversal.dp_clauseelement),
    ]
    inherit_cache = True

    def __init__(self, question: str, viewer: Viewer) -> None:
        self.question = question
        self.role = "system" if viewer.is_system else viewer.role.value
        self.said = "" if viewer.is_system else said.of(viewer)
        self.team: Any = bindparam("gate_team", viewer.team_id, BigInteger, unique=True)
        self.user: Any = bindparam("gate_user", viewer.user_id or 0, BigInteger, unique=True)
        self.type = Integer() if self.is_level else Boolean()

    @property
    def is_level(self) -> bool:
        """Whether the answer is a level, not a yes or no."""
        return self.question in ("level", "shared")

    @property
    def _from_objects(self) -> list[Any]:
        return [Message.__table__]

    def answer(self) -> ColumnElement[Any]:
        """What it stands for."""
        same_team = message.c.team_id == self.team
        if self.role == "system":
            found: Any = literal(int(Level.FULL)) if self.is_level else literal(self.question != "holds")
        else:
            there = self.said
            viewer = Viewer(self.team, self.user, Role(self.role), "gate", said=lambda: there)
            found = _QUESTIONS[self.question](viewer)
        return case((same_team, found), else_=0) if self.is_level else and_(same_team, found)


@compiles(_Gate)
def _compile(element: _Gate, compiler: Any, **kw: Any) -> str:
    return f"({compiler.process(element.answer(), **kw)})"


def _reads(viewer: Viewer) -> ColumnElement[bool]:
    return _at_least(viewer, Level.FULL)


def _knows(viewer: Viewer) -> ColumnElement[bool]:
    return _at_least(viewer, Level.EXISTENCE)


def _level(viewer: Viewer) -> ColumnElement[int]:
    return case((_holds(viewer), int(Level.FULL)), else_=_shared(viewer))


def _shared(viewer: Viewer) -> ColumnElement[int]:
    rare = [case((matters, _best(source)), else_=0) for matters, source in _sources(viewer)]
    return case((parts.by_default(viewer), int(Level.FULL)), else_=func.greatest(*rare, 0) if rare else 0)


def _holds(viewer: Viewer) -> ColumnElement[bool]:
    return parts.own_copy(viewer)


def _sources(viewer: Viewer) -> Sequence[tuple[ColumnElement[bool], Source]]:
    """Where the default is not all; each with what tells, once a statement, whether there is any of it."""
    there, found = said.of(viewer), []
    if said.any_of(said.WORDS, there):
        found.append((parts.anybody_spoke(viewer), parts.teammates_copies(viewer)))
    if said.KEPT in there:
        found.append((parts.anything_kept(viewer), parts.kept_shares(viewer)))
    return found


def _at_least(viewer: Viewer, wanted: Level) -> ColumnElement[bool]:
    reached = [
        and_(
            matters,
            source.rows.where(source.level >= literal(int(wanted)))
            .limit(1)
            .correlate(message)
            .scalar_subquery()
            .is_not(None),
        )
        for matters, source in _sources(viewer)
    ]
    return or_(_holds(viewer), parts.by_default(viewer), *reached)


def _best(source: Source) -> ColumnElement[int]:
    return source.rows.with_only_columns(func.max(source.level)).correlate(message).scalar_subquery()


_QUESTIONS: dict[str, Callable[[Viewer], ColumnElement[Any]]] = {
    "read": _reads, "know": _knows, "level": _level, "shared": _shared, "holds": _holds,
}  # fmt: skip
