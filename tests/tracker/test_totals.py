"""Totals of stages: the same, after whatever happened, as counted afresh."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from random import Random

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_team, pipeline
from tracker import boxes, fields, people, pipelines, totals
from tracker.boxes import Box
from tracker.db import Sessions, transaction
from tracker.people import Team
from tracker.pipelines import Pipeline
from tracker.totals import StageTotal, Total


def by_hand(session: Session, of: Pipeline) -> dict[int, Total]:
    found: dict[int, Total] = defaultdict(Total)
    for box in session.scalars(select(Box).where(Box.pipeline_id == of.id)):
        if box.archived_at is None and box.deleted_at is None:
            total = found[box.stage_id]
            total.boxes += 1
            if box.value_currency:
                before = total.amounts.get(box.value_currency, Decimal())
                total.amounts[box.value_currency] = before + (box.value_amount or 0)
    return dict(found)


def differences(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(StageTotal)) or 0


@pytest.mark.parametrize("seed", range(4))
def test_totals_are_as_counted_afresh_after_anything_that_happens(session: Session, seed: int) -> None:
    random = Random(seed)
    viewer = people.viewer_of(a_team(session), "test")
    sales = pipeline(session, viewer.team_id)
    stages = pipelines.of_pipeline(session, sales.id)
    value = next(field for field in fields.of_pipeline(session, sales.id) if field.type == "money")
    made = [a_box(session, viewer, f"Box {number}") for number in range(6)]
    for turn in range(60):
        box = random.choice(made)
        act = random.randrange(5)
        if act == 0:
            boxes.move(session, viewer, box, random.choice(stages), now=NOW)
        elif act == 1:
            worth = random.choice(["1200.50 EUR", "80 USD", "0 EUR", "-5 EUR", None])
            boxes.set_value(session, viewer, box, value, worth)
        elif act == 2:
            boxes.archive(session, viewer, box, NOW) if box.archived_at is None else boxes.restore(
                session, viewer, box
            )
        elif act == 3:
            box.deleted_at = None if box.deleted_at else NOW
        elif turn % 7 == 0:
            totals.add_up(session, most=1)
        session.flush()
    session.expire_all()
    assert totals.of_pipeline(session, sales.id) == by_hand(session, sales)
    totals.add_up(session, most=1)
    assert totals.of_pipeline(session, sales.id) == by_hand(session, sales)


def test_adding_up_makes_one_row_a_stage_and_currency_of_many(session: Session) -> None:
    viewer = people.viewer_of(a_team(session), "test")
    for number in range(12):
        a_box(session, viewer, f"Box {number}", at="Lead")
    sales = pipeline(session, viewer.team_id)
    before = totals.of_pipeline(session, sales.id)
    totals.add_up(session, most=20)
    assert differences(session) == 12, "few differences are left alone"
    totals.add_up(session, most=10)
    assert differences(session) == 1
    assert totals.of_pipeline(session, sales.id) == before


def test_what_two_change_at_the_same_time_is_counted_and_nobody_waits(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        viewer = people.viewer_of(a_team(session), "test")
        sales = pipeline(session, viewer.team_id)
        for number in range(4):
            a_box(session, viewer, f"Box {number}", at="Lead")
    with transaction(sessions) as one, transaction(sessions) as other:
        a_box(one, viewer, "One's", at="Lead")
        a_box(other, viewer, "Other's", at="Lead")
        totals.add_up(other, most=1)
    with sessions() as session:
        assert totals.of_pipeline(session, sales.id) == by_hand(session, sales)


def test_a_team_that_is_deleted_takes_its_totals_along(session: Session) -> None:
    viewer = people.viewer_of(a_team(session), "test")
    a_box(session, viewer, "Box", at="Lead")
    session.flush()
    session.execute(delete(Box).where(Box.team_id == viewer.team_id))
    session.execute(delete(Team).where(Team.id == viewer.team_id))
    assert differences(session) == 0
