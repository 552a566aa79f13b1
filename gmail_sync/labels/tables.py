"""What Gmail's labels and our boxes last agreed on, and what was heard of labels since."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DDL, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, event, func, text
from sqlalchemy.orm import Mapped, mapped_column

from tracker.db import Base, Identified, OfTeam
from tracker.messages import Copy

ROOT = "Boxes"


class Mode(StrEnum):
    """Whether a mailbox's labels and boxes are kept the same."""

    OFF = "off"
    ON = "on"
    LEAVING = "leaving"  # off, and our labels are being removed from Gmail


class Kind(StrEnum):
    """What a label of ours stands for."""

    ROOT = "root"
    PIPELINE = "pipeline"
    BOX = "box"

    @classmethod
    def of(cls, pipeline_id: int | None, box_id: int | None) -> Kind:
        """That of a label for this pipeline or box, or for neither."""
        return cls.BOX if box_id else cls.PIPELINE if pipeline_id else cls.ROOT


class LabelMailbox(OfTeam, Base):
    """A mailbox for which somebody has switched labels on (no row: off)."""

    __tablename__ = "label_mailboxes"
    __table_args__ = (CheckConstraint("mode in ('off', 'on', 'leaving')", name="mode"),)

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True)
    mode: Mapped[str] = mapped_column(server_default=Mode.OFF.value)
    since: Mapped[datetime] = mapped_column(server_default=func.now())  #: when it was switched last
    wanted_at: Mapped[datetime | None]  #: something happened in Tracker that its labels have to follow
    listed_at: Mapped[datetime | None]  #: when Gmail's labels were last listed: their names are in no history
    trouble: Mapped[str | None]  #: what keeps labels from following, in words
    #: Labels of Gmail that stand under ours and say nothing to us: `{"name", "words"}` each.
    odd: Mapped[list[dict[str, Any]]] = mapped_column(server_default=text("'[]'::jsonb"))


class Label(OfTeam, Identified, Base):
    """A label of ours in a mailbox: the root, a pipeline's, a box's."""

    __tablename__ = "mailbox_labels"
    __table_args__ = (
        Index("uq_mailbox_labels_gmail", "mailbox_id", "gmail_label_id", unique=True),
        Index("ix_mailbox_labels_box_id", "box_id"),
        Index("ix_mailbox_labels_pipeline_id", "pipeline_id"),
        CheckConstraint("kind in ('root', 'pipeline', 'box')", name="kind"),
        CheckConstraint("(kind = 'box') = (box_id IS NOT NULL)", name="box"),
        CheckConstraint("(kind = 'pipeline') = (pipeline_id IS NOT NULL)", name="pipeline"),
    )

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    kind: Mapped[str]
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"))
    gmail_label_id: Mapped[str | None]  #: None while it is being made, or after it ceased to be ours
    name: Mapped[str] = mapped_column(server_default="")  #: the whole path, as last agreed
    color: Mapped[str | None]  #: its background, as we last set it
    pushing: Mapped[str | None]  #: the name that Gmail is being told; "" while it is being deleted
    #: Another label of a box that has one: its threads get that one, then it goes.
    former: Mapped[bool] = mapped_column(server_default="false")
    gone_at: Mapped[datetime | None]  #: somebody deleted it in Gmail: it isn't made again before they ask
    taken_at: Mapped[datetime | None]  #: in Gmail it was given the name of another box: its threads leave this one
    refused: Mapped[str | None]  #: a name that Gmail did not take for it


class Shadow(OfTeam, Base):
    """What both sides last agreed on about a thread and a box (no row: it is not in it)."""

    __tablename__ = "thread_labels"
    __table_args__ = (
        ForeignKeyConstraint(
            ["mailbox_id", "gmail_thread_id"],
            ["threads.mailbox_id", "threads.gmail_thread_id"],
            ondelete="CASCADE",
            name="fk_thread_labels_thread",
        ),
        Index("ix_thread_labels_box_id", "box_id"),
        Index("ix_thread_labels_pushing", "mailbox_id", postgresql_where=text("pushing IS NOT NULL")),
    )

    mailbox_id: Mapped[int] = mapped_column(primary_key=True)
    gmail_thread_id: Mapped[str] = mapped_column(primary_key=True)
    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True)
    base: Mapped[bool]
    pushing: Mapped[bool | None]  #: what Gmail is being told; committed before it is


class Touch(OfTeam, Base):
    """That a label on a thread changed in Gmail, until it is dealt with. Written by the trigger below alone."""

    __tablename__ = "label_touches"
    __table_args__ = (CheckConstraint("how in ('added', 'removed', 'arrived', 'used')", name="how"),)

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True)
    gmail_thread_id: Mapped[str] = mapped_column(primary_key=True)
    gmail_label_id: Mapped[str] = mapped_column(primary_key=True)
    heard_at: Mapped[datetime]
    #: `added` or `removed` by somebody; `arrived` with mail, or mail that had it came back or went; `used`: what
    #: it asks for was done, and it is still to be taken off.
    how: Mapped[str]
    twice: Mapped[bool] = mapped_column(server_default="false")  #: put on and taken off, or the other way round


OWN = "tracker.own_labels"  #: set for a transaction that writes down what we did in Gmail ourselves

# However the copies learn of a label (history, a comparison, mail that is fetched), this sees it, in that
# transaction: what somebody did in Gmail can't be missed, nor dated twice. A push since the last sync dates it.
NOTE_LABELS = f"""
CREATE OR REPLACE FUNCTION labels_are_noted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  had text[] := '{{}}'; has text[] := '{{}}'; mailbox bigint; thread text; shown boolean := true;
BEGIN
  IF current_setting('{OWN}', true) = 'on' THEN RETURN NULL; END IF;
  IF TG_OP <> 'INSERT' THEN had := OLD.label_ids; mailbox := OLD.mailbox_id; thread := OLD.gmail_thread_id; END IF;
  IF TG_OP <> 'DELETE' THEN has := NEW.label_ids; mailbox := NEW.mailbox_id; thread := NEW.gmail_thread_id; END IF;
  IF TG_OP = 'UPDATE' THEN shown := OLD.hidden <> NEW.hidden; END IF;
  INSERT INTO label_touches AS t (team_id, mailbox_id, gmail_thread_id, gmail_label_id, heard_at, how)
  SELECT b.team_id, b.id, thread, l.id,
         CASE WHEN b.pushed_at > coalesce(b.synced_at, '-infinity') AND b.pushed_at < clock_timestamp()
              THEN b.pushed_at ELSE clock_timestamp() END,
         CASE WHEN TG_OP <> 'UPDATE' OR (l.id = ANY (had) AND l.id = ANY (has)) THEN 'arrived'
              WHEN l.id = ANY (has) THEN 'added' ELSE 'removed' END
  FROM label_mailboxes m JOIN mailboxes b ON b.id = m.mailbox_id
  CROSS JOIN (SELECT DISTINCT unnest(had || has) AS id) l
  WHERE m.mailbox_id = mailbox AND m.mode = 'on' AND l.id LIKE 'Label\\_%'
    AND (shown OR (l.id = ANY (had)) <> (l.id = ANY (has)))
  ON CONFLICT (mailbox_id, gmail_thread_id, gmail_label_id) DO UPDATE
    SET heard_at = excluded.heard_at, how = excluded.how,
        twice = t.twice OR (t.how IN ('added', 'removed') AND t.how <> excluded.how)
    WHERE excluded.how <> 'arrived' OR t.how = 'arrived';
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER labels_noted_arriving AFTER INSERT ON copies
  FOR EACH ROW WHEN (NEW.label_ids::text LIKE '%Label\\_%') EXECUTE FUNCTION labels_are_noted();
CREATE OR REPLACE TRIGGER labels_noted AFTER UPDATE OF label_ids ON copies
  FOR EACH ROW WHEN (OLD.label_ids IS DISTINCT FROM NEW.label_ids
    AND OLD.label_ids::text || NEW.label_ids::text LIKE '%Label\\_%') EXECUTE FUNCTION labels_are_noted();
CREATE OR REPLACE TRIGGER labels_noted_leaving AFTER DELETE ON copies
  FOR EACH ROW WHEN (OLD.label_ids::text LIKE '%Label\\_%') EXECUTE FUNCTION labels_are_noted();
"""  # noqa: S608 - constants only
event.listen(Copy.__table__, "after_create", DDL(NOTE_LABELS.replace("%", "%%")))
