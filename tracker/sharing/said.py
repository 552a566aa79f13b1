"""Which kinds of words about sharing there are, so that the gate asks for no others.

The gate (`tracker.sharing.parts`) looks for rules, grants, private lists and kept shares, for each message. In
most teams some kinds of them don't exist. Which ones do is asked once a request, with what is narrowed
(`tracker.sight`), and again after a change in it; what does not exist is left out of the statements, which
PostgreSQL then plans in a fraction of the time.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, case, exists, func, literal, or_, select
from sqlalchemy.orm import Session

from tracker import sight
from tracker.access import TEAM
from tracker.boxes import Box
from tracker.messages import Kept
from tracker.people import Role, Viewer
from tracker.pipelines import Pipeline
from tracker.sharing.tables import Grant, Private, Rule

OF_CONVERSATION = "c"  #: a rule of a conversation
OF_PIPELINE = "p"
OF_MAILBOX = "m"
RULES = OF_CONVERSATION + OF_PIPELINE + OF_MAILBOX
GRANTED_CONVERSATION = "C"  #: a grant to the viewer
GRANTED_ADDRESS = "A"
GRANTED_PIPELINE = "P"
GRANTS = GRANTED_CONVERSATION + GRANTED_ADDRESS + GRANTED_PIPELINE
PRIVATE = "x"  #: somebody keeps a private list
WORDS = RULES + GRANTS + PRIVATE
KEPT = "k"  #: somebody who left had shared mail
NARROWED = sight.NARROWED  #: a pipeline or a box is not open to all members
EVERYTHING = WORDS + KEPT + NARROWED  #: nobody asked: look for all


def of(viewer: Viewer) -> str:
    """The kinds of words that there are, as the viewer's request knows."""
    return EVERYTHING if viewer.said is None else viewer.said()


def any_of(kinds: str, there: str) -> bool:
    """Whether any of these kinds is there."""
    return any(one in there for one in kinds)


def asked(viewer: Viewer) -> ColumnElement[str]:
    """SQL: the kinds of words that there are for a viewer, but for `NARROWED`."""
    rule, grant, private, kept = Rule.__table__, Grant.__table__, Private.__table__, Kept.__table__
    mine = and_(grant.c.team_id == viewer.team_id, grant.c.user_id == viewer.user_id)
    found = {
        OF_CONVERSATION: exists().where(rule.c.team_id == viewer.team_id, rule.c.conversation_id.is_not(None)),
        OF_PIPELINE: exists().where(rule.c.team_id == viewer.team_id, rule.c.pipeline_id.is_not(None)),
        OF_MAILBOX: exists().where(rule.c.team_id == viewer.team_id, rule.c.mailbox_id.is_not(None)),
        GRANTED_CONVERSATION: exists().where(mine, grant.c.conversation_id.is_not(None)),
        GRANTED_ADDRESS: exists().where(mine, grant.c.address.is_not(None)),
        GRANTED_PIPELINE: exists().where(mine, grant.c.pipeline_id.is_not(None)),
        PRIVATE: exists().where(private.c.team_id == viewer.team_id),
        KEPT: exists().where(kept.c.team_id == viewer.team_id),
    }
    return func.concat(*(case((there, literal(letter)), else_="") for letter, there in found.items()))


def in_team(session: Session, team_id: int) -> str:
    """The kinds of words that there are in a team: for each of its people at least what concerns them."""
    grant, box, pipeline = Grant.__table__, Box.__table__, Pipeline.__table__
    narrowed = or_(
        exists().where(pipeline.c.team_id == team_id, pipeline.c.access != TEAM),
        exists().where(box.c.team_id == team_id, box.c.access.is_not(None)),
    )
    granted = exists().where(grant.c.team_id == team_id)
    nobody = Viewer(team_id, 0, Role.MEMBER, "said")
    letters, any_grant, closed = session.connection().execute(select(asked(nobody), granted, narrowed)).one()
    return str(letters) + (GRANTS if any_grant else "") + (NARROWED if closed else "")


sight.ask_also(asked, {one.__tablename__ for one in (Rule, Grant, Private, Kept)})
