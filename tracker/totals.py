"""Totals: how many boxes a stage holds and what they are worth, without counting them.

A trigger writes a small difference for every change of a box; a total is the sum of a stage's differences, and a
tick adds them up from time to time. Nobody waits for anybody: a counter that is updated in place would make two
reps who drag cards at the same time wait for one another, or deadlock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from sqlalchemy import DDL, ForeignKey, Index, Numeric, event, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker.boxes import Box
from tracker.db import Base, Identified, OfTeam


class StageTotal(OfTeam, Identified, Base):
    """A difference, or the sum of many."""

    __tablename__ = "stage_totals"
    __table_args__ = (Index("ix_stage_totals_pipeline_id_stage_id", "pipeline_id", "stage_id"),)

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    stage_id: Mapped[int] = mapped_column(ForeignKey("stages.id", ondelete="CASCADE"))
    currency: Mapped[str] = mapped_column(server_default="")  #: "" for boxes without a value
    boxes: Mapped[int]
    amount: Mapped[Decimal] = mapped_column(Numeric)


COUNT_BOXES = """
CREATE OR REPLACE FUNCTION boxes_are_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.stage_id = OLD.stage_id
     AND NEW.value_amount IS NOT DISTINCT FROM OLD.value_amount
     AND NEW.value_currency IS NOT DISTINCT FROM OLD.value_currency
     AND (NEW.archived_at IS NULL AND NEW.deleted_at IS NULL)
       = (OLD.archived_at IS NULL AND OLD.deleted_at IS NULL)
  THEN RETURN NULL; END IF;
  -- A stage that is deleted together with its pipeline or team is gone already: its totals go with it.
  IF TG_OP <> 'INSERT' AND OLD.archived_at IS NULL AND OLD.deleted_at IS NULL THEN
    INSERT INTO stage_totals (team_id, pipeline_id, stage_id, currency, boxes, amount)
    SELECT OLD.team_id, s.pipeline_id, s.id, coalesce(OLD.value_currency, ''), -1, -coalesce(OLD.value_amount, 0)
    FROM stages s WHERE s.id = OLD.stage_id;
  END IF;
  IF TG_OP <> 'DELETE' AND NEW.archived_at IS NULL AND NEW.deleted_at IS NULL THEN
    INSERT INTO stage_totals (team_id, pipeline_id, stage_id, currency, boxes, amount)
    SELECT NEW.team_id, s.pipeline_id, s.id, coalesce(NEW.value_currency, ''), 1, coalesce(NEW.value_amount, 0)
    FROM stages s WHERE s.id = NEW.stage_id;
  END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER boxes_counted AFTER INSERT OR UPDATE OR DELETE ON boxes
  FOR EACH ROW EXECUTE FUNCTION boxes_are_counted();
"""
event.listen(Box.__table__, "after_create", DDL(COUNT_BOXES.replace("%", "%%")))


@dataclass(slots=True)
class Total:
    """A stage's boxes and their worth by currency (ISO 4217)."""

    boxes: int = 0
    amounts: dict[str, Decimal] = field(default_factory=dict)


def of_pipeline(session: Session, pipeline_id: int) -> dict[int, Total]:
    """The totals of a pipeline's stages, by stage; boxes that are archived or deleted don't count."""
    query = text(
        "SELECT stage_id, currency, sum(boxes), sum(amount) FROM stage_totals WHERE pipeline_id = :id"
        " GROUP BY stage_id, currency HAVING sum(boxes) <> 0 ORDER BY stage_id, currency"
    )
    found: dict[int, Total] = {}
    for stage_id, currency, boxes, amount in session.execute(query, {"id": pipeline_id}):
        total = found.setdefault(stage_id, Total())
        total.boxes += int(boxes)
        if currency:
            total.amounts[currency] = amount
    return found


_ADD_UP = text(
    """
    WITH crowded AS (
      SELECT stage_id FROM stage_totals GROUP BY stage_id HAVING count(*) > :most
    ), taken AS (
      DELETE FROM stage_totals WHERE id IN (
        SELECT id FROM stage_totals WHERE stage_id IN (SELECT stage_id FROM crowded) FOR UPDATE SKIP LOCKED)
      RETURNING team_id, pipeline_id, stage_id, currency, boxes, amount
    )
    INSERT INTO stage_totals (team_id, pipeline_id, stage_id, currency, boxes, amount)
    SELECT team_id, pipeline_id, stage_id, currency, sum(boxes), sum(amount)
    FROM taken GROUP BY team_id, pipeline_id, stage_id, currency HAVING sum(boxes) <> 0 OR sum(amount) <> 0
    """
)


def add_up(session: Session, most: int = 100) -> None:
    """A tick: where a stage has gathered more than so many differences, make them one."""
    session.execute(_ADD_UP, {"most": most})
