"""Facts: what a box's mail and tasks say of it, kept beside the box so that lists need not count.

All the mail that counts is mail that every reader of the box may see (with somebody outside the team, written by
a person), so the facts are the same for whoever looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import ours
from tracker.db import Base, OfTeam


class BoxFacts(OfTeam, Base):
    """One row a box."""

    __tablename__ = "box_facts"
    __table_args__ = (
        Index("ix_box_facts_pipeline_id_last_mail_at", "pipeline_id", "last_mail_at"),
        Index("ix_box_facts_pipeline_id_next_task_on", "pipeline_id", "next_task_on"),
        Index("ix_box_facts_pipeline_id_last_sent_at", "pipeline_id", "last_sent_at"),
        Index("ix_box_facts_pipeline_id_last_received_at", "pipeline_id", "last_received_at"),
        Index("ix_box_facts_pipeline_id_message_count", "pipeline_id", "message_count"),
        Index("ix_box_facts_stale", "box_id", postgresql_where=text("stale")),
    )

    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True)
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    last_sent_at: Mapped[datetime | None]  #: the last mail of ours
    last_received_at: Mapped[datetime | None]  #: the last mail of theirs, automatic mail aside
    last_mail_at: Mapped[datetime | None]
    message_count: Mapped[int] = mapped_column(server_default="0")
    next_task_on: Mapped[date | None]  #: the earliest due date of a task that is not done
    open_task_count: Mapped[int] = mapped_column(server_default="0")
    stale: Mapped[bool] = mapped_column(server_default="false")  #: to be worked out again by the worker, soon


_REFRESH = text(
    f"""
    INSERT INTO box_facts AS f (team_id, box_id, pipeline_id, last_sent_at, last_received_at, last_mail_at,
                                message_count, next_task_on, open_task_count)
    SELECT b.team_id, b.id, b.pipeline_id, m.sent, m.received, greatest(m.sent, m.received), coalesce(m.n, 0),
           t.next_on, coalesce(t.n, 0)
    FROM boxes b
    LEFT JOIN LATERAL (
      SELECT max(g.sent_at) FILTER (WHERE sender.ours) AS sent,
             max(g.sent_at) FILTER (WHERE NOT sender.ours) AS received,
             count(*) AS n
      FROM filings x
      JOIN messages g ON g.conversation_id = x.conversation_id
      CROSS JOIN LATERAL (SELECT {ours.is_ours("g.team_id", "g.sender_normalized")} AS ours) sender
      WHERE x.box_id = b.id AND x.state = 'filed' AND g.outside AND g.automatic IS NULL AND NOT g.auto_reply
        -- Only mail that its owner shares whole with all who see the box (see tracker.sharing.gate), so that
        -- numbers and dates tell nobody of what they may not know. (It is with outsiders: the default is whole.)
        AND (EXISTS (
          SELECT 1 FROM copies c JOIN mailboxes mb ON mb.id = c.mailbox_id
          WHERE c.message_id = g.id AND NOT c.hidden AND mb.left_at IS NULL
            AND coalesce(
              (SELECT w.outside FROM sharing_rules w
               WHERE w.conversation_id = g.conversation_id AND w.user_id = mb.user_id),
              (SELECT w.outside FROM sharing_rules w
               WHERE w.pipeline_id = b.pipeline_id AND w.user_id = mb.user_id),
              (SELECT w.outside FROM sharing_rules w WHERE w.mailbox_id = mb.id), 3) = 3
            AND NOT EXISTS (
              SELECT 1 FROM sharing_private p
              WHERE p.user_id = mb.user_id AND EXISTS (
                SELECT 1 FROM (
                  SELECT g.sender_normalized AS one
                  UNION ALL SELECT r.normalized FROM recipients r
                            WHERE r.message_id = g.id AND r.kind <> 'reply-to'
                  UNION ALL SELECT coalesce(j ->> 'normalized', lower(j ->> 'address'))
                            FROM jsonb_array_elements(c.bcc) j
                ) a
                WHERE a.one = p.value OR right(a.one, length(p.value) + 1) IN ('@' || p.value, '.' || p.value))))
          OR EXISTS (SELECT 1 FROM kept_shares k WHERE k.message_id = g.id AND k.user_id IS NULL
                     AND k.pipeline_id = b.pipeline_id AND k.level = 3))
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
      open_task_count = excluded.open_task_count, stale = false
    WHERE f.stale OR (f.pipeline_id, f.last_sent_at, f.last_received_at, f.last_mail_at, f.message_count,
           f.next_task_on, f.open_task_count)
      IS DISTINCT FROM (excluded.pipeline_id, excluded.last_sent_at, excluded.last_received_at,
           excluded.last_mail_at, excluded.message_count, excluded.next_task_on, excluded.open_task_count)
    RETURNING f.box_id
    """  # noqa: S608 - our own words
)
# A statement sees what was committed when it began: without this, of two that add a task at the same time the
# second would wait for the first and then write what it had worked out before.
_HOLD = text("SELECT 1 FROM box_facts WHERE box_id = ANY (CAST(:ids AS bigint[])) ORDER BY box_id FOR UPDATE")
# Two mailboxes that are read at the same time meet in the same boxes, in any order.
_ONE_AFTER_THE_OTHER = text(
    "SELECT pg_advisory_xact_lock(1001, CAST(t.team_id AS integer)) FROM"
    " (SELECT DISTINCT team_id FROM conversations WHERE id = ANY (CAST(:ids AS bigint[]))) t"
)
_BOXES_OF = text(
    "SELECT DISTINCT box_id FROM filings"
    " WHERE conversation_id = ANY (CAST(:ids AS bigint[])) AND box_id IS NOT NULL"
)


_OWN = text("SELECT id FROM own_addresses")
_BOXES_WITH = text(
    """
    WITH mails AS (
      SELECT g.conversation_id FROM own_addresses o
      JOIN messages g ON g.sender_normalized = o.normalized AND g.team_id = o.team_id
      WHERE o.id = ANY (CAST(:ids AS bigint[]))
      UNION
      SELECT g.conversation_id FROM own_addresses o
      JOIN recipients r ON r.team_id = o.team_id AND r.normalized = o.normalized
      JOIN messages g ON g.id = r.message_id
      WHERE o.id = ANY (CAST(:ids AS bigint[]))
    )
    SELECT DISTINCT x.box_id FROM mails JOIN filings x ON x.conversation_id = mails.conversation_id
    WHERE x.state = 'filed' AND x.box_id IS NOT NULL ORDER BY x.box_id
    """
)
_STALE = text("SELECT box_id FROM box_facts WHERE stale ORDER BY box_id LIMIT :limit")
_NEXT = text("SELECT id FROM boxes WHERE id > :after ORDER BY id LIMIT :limit")


def refresh(session: Session, box_ids: Iterable[int]) -> int:
    """Work out the facts of boxes again; whoever changes filings, mail or tasks of a box calls it.

    Returns how many boxes had others.
    """
    ids = sorted(set(box_ids))
    if not ids:
        return 0
    session.flush()
    session.execute(_HOLD, {"ids": ids})
    return len(session.execute(_REFRESH, {"ids": ids}).all())


def refresh_conversations(session: Session, conversation_ids: Iterable[int]) -> None:
    """Work out the facts of the boxes again that conversations are filed in."""
    ids = sorted(set(conversation_ids))
    if ids:
        session.flush()
        session.execute(_ONE_AFTER_THE_OTHER, {"ids": ids})
        refresh(session, session.scalars(_BOXES_OF, {"ids": ids}))


@dataclass(slots=True)
class Audit:
    """Goes through all boxes, some at a time, and puts facts right that are not.

    Mail of an address that the team comes to own (a new teammate's, an alias) was theirs and is now ours: its
    boxes come first. Where a worker is in its round is kept in memory; a new one begins anew.
    """

    some: int = 500  #: boxes at a time
    after: int = 0
    known: frozenset[int] | None = None  #: the team's own addresses when we looked last
    waiting: list[int] = field(default_factory=list)

    def step(self, session: Session) -> bool:
        """Look at the next boxes, in the caller's transaction; whether more of them are urgent."""
        stale = session.scalars(_STALE, {"limit": self.some}).all()
        if stale:
            refresh(session, stale)
            return True
        own = frozenset(session.scalars(_OWN))
        if self.known is not None and own - self.known:
            self.waiting += session.scalars(_BOXES_WITH, {"ids": sorted(own - self.known)})
        self.known = own
        if not self.waiting:
            ids = session.scalars(_NEXT, {"after": self.after, "limit": self.some}).all()
            self.after = ids[-1] if len(ids) == self.some else 0
            refresh(session, ids)
            return False
        refresh(session, self.waiting[: self.some])
        del self.waiting[: self.some]
        return bool(self.waiting)


_OF_OWNER = (
    "SELECT DISTINCT f.box_id FROM mailboxes mb JOIN threads t ON t.mailbox_id = mb.id"
    " JOIN filings f ON f.conversation_id = t.conversation_id AND f.state = 'filed' AND f.box_id IS NOT NULL"
    " WHERE mb.user_id = :user AND mb.left_at IS NULL"
)
_COVERS = "({0} = :value OR right({0}, length(:value) + 1) IN ('@' || :value, '.' || :value))"
_BOXES_OF_OWNER = text(_OF_OWNER)
_BOXES_IN_PIPELINE = text(_OF_OWNER + " AND f.pipeline_id = :pipeline")
_BOXES_ABOUT = text(  # our own words, all of them
    _OF_OWNER  # noqa: S608
    + " AND EXISTS (SELECT 1 FROM messages g WHERE g.conversation_id = f.conversation_id AND ("
    + _COVERS.format("g.sender_normalized")
    + " OR EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = g.id AND "
    + _COVERS.format("r.normalized")
    + ") OR EXISTS (SELECT 1 FROM copies c, jsonb_array_elements(c.bcc) j WHERE c.message_id = g.id AND "
    + _COVERS.format("coalesce(j ->> 'normalized', lower(j ->> 'address'))")
    + ")))"
)
# Nothing is shown until it is worked out: that is right for whatever was said.
_CLOSE = text(
    "UPDATE box_facts SET stale = true, message_count = 0, last_sent_at = NULL, last_received_at = NULL,"
    " last_mail_at = NULL WHERE box_id = ANY (CAST(:ids AS bigint[]))"
)
AT_ONCE = 50  #: boxes that somebody waits for


def refresh_owner(
    session: Session, user_id: int, *, pipeline_id: int | None = None, about: str | None = None
) -> None:
    """Somebody shares their mail otherwise now: all, in a pipeline, or `about` an address or a domain.

    A few boxes are worked out at once. Of many the facts are closed at once, and the worker works them out.
    """
    session.flush()
    if pipeline_id is not None:
        found = session.scalars(_BOXES_IN_PIPELINE, {"user": user_id, "pipeline": pipeline_id})
    elif about is not None:
        found = session.scalars(_BOXES_ABOUT, {"user": user_id, "value": about})
    else:
        found = session.scalars(_BOXES_OF_OWNER, {"user": user_id})
    ids = sorted(found)
    if len(ids) <= AT_ONCE:
        refresh(session, ids)
    else:
        session.execute(_HOLD, {"ids": ids})
        session.execute(_CLOSE, {"ids": ids})
