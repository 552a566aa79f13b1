"""Who is told what happened to queued mail: whoever may see the mail, and nobody else."""

from __future__ import annotations

from sqlalchemy import Boolean, ColumnElement, and_, literal_column, or_, select

from scheduler import outbox, sequences
from scheduler.outbox import ScheduledEmail
from scheduler.sequences import SequenceRun
from tracker.events import Event
from tracker.people import Viewer

#: As literals, so that the planner sees that the index of a mail's events holds them.
OF_MAIL: ColumnElement[bool] = literal_column("events.kind LIKE 'email.%'", Boolean)
OF_FOLLOW_UPS: ColumnElement[bool] = literal_column("events.kind LIKE 'sequence.%'", Boolean)


def may_be_told(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may see the `Event` of the enclosing query, as far as the outbox is concerned.

    It names a subject and recipients as they were: what was within the team then stays its sender's.
    """
    inside = Event.data.has_key("inside")
    mail = select(ScheduledEmail.id).where(
        ScheduledEmail.key == Event.data["email"].astext,
        outbox.visible(viewer),
        or_(~inside, ScheduledEmail.user_id == viewer.user_id),
    )
    run = select(SequenceRun.id).where(
        SequenceRun.key == Event.data["run"].astext,
        sequences.visible(viewer),
        or_(~inside, SequenceRun.user_id == viewer.user_id),
    )
    return and_(
        or_(~OF_MAIL, mail.correlate(Event).exists()),
        or_(~OF_FOLLOW_UPS, run.correlate(Event).exists()),
    )
