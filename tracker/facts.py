"""Facts: what a box's mail and tasks say of it, kept beside the box so that lists need not count.

All the mail that counts is mail that every reader of the box may see (with somebody outside the team, written by
a person), so the facts are the same for whoever looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker.db import Base, OfTeam


class BoxFacts(OfTeam, Base):
    """One row a box."""

    __tablename__ = "box_facts"
    __table_args__ = (
        Index("ix_box_facts_pipeline_id_last_mail_at", "pipeline_id", "last_mail_at"),
        Index("ix_box_facts_pipeline_id_next_task_on", "pipeline_id", "next_task_on"),
    )

    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True)
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    last_sent_at: Mapped[datetime | None]  #: the last mail of ours
    last_received_at: Mapped[datetime | None]  #: the last mail of theirs, automatic mail aside
    last_mail_at: Mapped[datetime | None]
    message_count: Mapped[int] = mapped_column(server_default="0")
    next_task_on: Mapped[date | None]  #: the earliest due date of a task that is not done
    open_task_count: Mapped[int] = mapped_column(server_default="0")


_REFRESH = text(
    """
    INSERT INTO box_facts AS f (team_id, box_id, pipeline_id, last_sent_at, last_received_at, last_mail_at,
                                message_count, next_task_on, open_task_count)
    SELECT b.team_id, b.id, b.pipeline_id, m.sent, m.received, greatest(m.sent, m.received), coalesce(m.n, 0),
           t.next_on, coalesce(t.n, 0)
    FROM boxes b
    LEFT JOIN LATERAL (
      SELECT max(g.sent_at) FILTER (WHERE sender.id IS NOT NULL) AS sent,
             max(g.sent_at) FILTER (WHERE sender.id IS NULL) AS received,
             count(*) AS n
      FROM filings x
      JOIN messages g ON g.conversation_id = x.conversation_id
      LEFT JOIN own_addresses sender ON sender.team_id = g.team_id AND sender.normalized = g.sender_normalized
      WHERE x.box_id = b.id AND x.state = 'filed' AND g.automatic IS NULL AND NOT g.auto_reply
        AND EXISTS (SELECT 1 FROM copies c WHERE c.message_id = g.id AND NOT c.hidden)
        AND (sender.id IS NULL OR EXISTS (
          SELECT 1 FROM recipients r
          WHERE r.message_id = g.id AND r.kind <> 'reply-to'
            AND NOT EXISTS (SELECT 1 FROM own_addresses o
                            WHERE o.team_id = g.team_id AND o.normalized = r.normalized)))
    ) m ON true
    LEFT JOIN LATERAL (
      SELECT min(k.due_on) AS next_on, count(*) AS n FROM tasks k WHERE k.box_id = b.id AND k.done_at IS NULL
    ) t ON true
    WHERE b.id = ANY (CAST(:ids AS bigint[]))
    ORDER BY b.id
    ON CONFLICT (box_id) DO UPDATE SET
      pipeline_id = excluded.pipeline_id, last_sent_at = excluded.last_sent_at,
      last_received_at = excluded.last_received_at, last_mail_at = excluded.last_mail_at,
      message_count = excluded.message_count, next_task_on = excluded.next_task_on,
      open_task_count = excluded.open_task_count
    """
)
_BOXES_OF = text(
    "SELECT DISTINCT box_id FROM filings"
    " WHERE conversation_id = ANY (CAST(:ids AS bigint[])) AND box_id IS NOT NULL"
)


def refresh(session: Session, box_ids: Iterable[int]) -> None:
    """Work out the facts of boxes again; whoever changes filings, mail or tasks of a box calls it."""
    ids = sorted(set(box_ids))
    if ids:
        session.flush()
        session.execute(_REFRESH, {"ids": ids})


def refresh_conversations(session: Session, conversation_ids: Iterable[int]) -> None:
    """Work out the facts of the boxes again that conversations are filed in."""
    ids = sorted(set(conversation_ids))
    if ids:
        session.flush()
        refresh(session, session.scalars(_BOXES_OF, {"ids": ids}))
