"""What a session reads as one person: loose tasks, offers, totals, and who is told."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.tracker.access.conftest import House, viewer
from tests.tracker.domain import NOW, a_box
from tests.tracker.web.factories_web import counted
from tracker import access, boxes, followups, people, pipelines, sharing, sight, tasks, topics
from tracker.box_filters import BoxFilter
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.filing import Filing
from tracker.followups import Part, Scope
from tracker.people import Role, User
from tracker.sharing import Level
from tracker.tasks import Task
from tracker.web import cards
from tracker.web.cards import Head, Look


def test_a_guest_has_their_own_loose_tasks_and_no_others(house: House, session: Session) -> None:
    tasks.create(session, viewer(house.alice), "Of the team", due_on=NOW.date(), now=NOW)
    given = tasks.create(
        session, viewer(house.alice), "For Gina", assignee_id=house.gina.id, due_on=NOW.date(), now=NOW
    )
    own = tasks.create(
        session, viewer(house.gina), "From Gina", assignee_id=house.alice.id, due_on=NOW.date(), now=NOW
    )
    for user, wanted in ((house.gina, {given.title, own.title}), (house.gus, set()), (house.mia, None)):
        with sight.seen_by(session, viewer(user)):
            seen = set(session.scalars(select(Task.title)))
            scope = Scope(viewer(user), False, NOW, NOW.date())
            made = followups.plan(session, viewer(user))
            listed, _ = followups.page(session, scope, made, Part.DUE, 20)
            assert followups.counts(session, scope, made)[Part.DUE] == len(listed) == len(seen)
        assert seen == ({given.title, own.title, "Of the team"} if wanted is None else wanted)


def test_a_new_box_is_offered_where_the_whole_pipeline_is_seen(house: House, session: Session) -> None:
    talk = Conversation(team_id=house.alice.team_id, key="talk", subject="Hi")
    session.add(talk)
    session.flush()
    for pipeline in (house.sales, house.connections):
        session.add(
            Filing(
                team_id=talk.team_id, conversation_id=talk.id, pipeline_id=pipeline.id, state="suggested",
                origin="rule", reason="because",
            )
        )  # fmt: skip
    session.flush()
    offered = {}
    for user in (house.alice, house.mia, house.gina):
        with sight.seen_by(session, viewer(user)):
            offered[user.name] = set(session.scalars(select(Filing.pipeline_id)))
    # Mia sees the one box of Connections that is open; nothing new is made there by her.
    assert offered == {
        house.alice.name: {house.sales.id, house.connections.id}, "Mia": {house.sales.id}, "Gina": set(),
    }  # fmt: skip


def heads(session: Session, user: User, house: House) -> dict[int, Head]:
    with sight.seen_by(session, viewer(user)):
        stages = pipelines.of_pipeline(session, house.sales.id)
        look = Look(viewer(user), NOW, [], BoxFilter())
        return cards.heads(session, look, house.sales.id, stages)


def test_kept_totals_are_right_beside_hidden_boxes(
    house: House, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "COUNTED", 1)  # a board larger than what is counted
    worth = [("plain", "EUR", 100), ("closed", "EUR", 7), ("ginas", "EUR", 30)]
    for name, currency, amount in worth:
        box: Box = getattr(house, name)
        box.value_currency, box.value_amount = currency, Decimal(amount)
    nobodys = a_box(session, viewer(house.alice), "Nobody's yak")
    nobodys.owner_id, nobodys.value_currency, nobodys.value_amount = None, "USD", Decimal(9)
    session.flush()
    access.arrange(session, viewer(house.alice), nobodys, access.PEOPLE, {house.alice.id})
    gone = a_box(session, viewer(house.alice), "Gone hidden")
    access.arrange(session, viewer(house.alice), gone, access.PEOPLE, {house.alice.id})
    boxes.delete(session, viewer(house.alice), gone, NOW)
    session.flush()
    stage_id = house.plain.stage_id
    assert heads(session, house.alice, house)[stage_id] == Head(4, {"EUR": Decimal(137), "USD": Decimal(9)})
    assert heads(session, house.bob, house)[stage_id] == Head(3, {"EUR": Decimal(137)})
    assert heads(session, house.mia, house)[stage_id] == Head(2, {"EUR": Decimal(130)})


def test_what_somebody_said_of_a_pipeline_stays_theirs_when_it_is_closed(house: House, session: Session) -> None:
    mia = viewer(house.mia)
    sharing.set_rule(session, mia, pipeline=house.sales, outside=Level.NOTHING, inside=Level.NOTHING)
    access.arrange(session, viewer(house.alice), house.sales, access.PEOPLE, {house.alice.id})
    session.flush()
    with sight.seen_by(session, mia):
        assert len(sharing.rules_of(session, house.mia.id)) == 1


def test_watchers_are_asked_for_at_once_and_as_the_law_says(
    house: House, session: Session, engine: Engine
) -> None:
    users = [house.alice, house.ada, house.bob, house.mia, house.gina, house.gus]
    every = [house.plain, house.closed, house.ginas, house.inner, house.open, house.theirs]
    with counted(engine) as statements:
        found = access.watchers(session, {box.id for box in every}, users)
    assert len(statements) <= 2
    for user in users:
        law = set(session.scalars(select(Box.id).where(access.may_see(viewer(user)))))
        assert {id_ for who, id_ in found if who == user.id} == law, user.name
    with counted(engine) as statements:
        assert len(access.watchers(session, {house.plain.id}, users[:4])) == 4
    assert len(statements) == 1


def test_those_who_see_a_box_are_offered_in_it(house: House, session: Session) -> None:
    team = people.of_team(session, house.alice.team_id)
    assert {one.name for one in access.seers(session, house.closed, team)} == {house.alice.name, "Bo"}
    assert "Gina" in {one.name for one in access.seers(session, house.ginas, team)}
    assert "Gina" not in {one.name for one in access.seers(session, house.plain, team)}


def test_streams_are_asked_anew_when_somebody_may_see_more_or_less(house: House, session: Session) -> None:
    def told() -> bool:
        names = topics._pending(session).named[house.alice.team_id]
        was = access.TOPIC in names
        names.discard(access.TOPIC)
        return was

    told()
    people.change_role(session, viewer(house.alice), house.mia, Role.GUEST)
    assert told()
    boxes.assign(session, viewer(house.alice), house.closed, house.bob)
    assert told()
    boxes.assign(session, viewer(house.alice), house.plain, house.bob)
    assert not told()  # everybody sees it as before


def test_guests_are_not_told_that_the_team_has_done_a_task(house: House, session: Session) -> None:
    asked = {}
    for user in (house.mia, house.gina):
        with sight.seen_by(session, viewer(user)):
            asked[user.name] = sight.watchable(session, "tasks,inbox")
    assert asked == {"Mia": "tasks,inbox", "Gina": "inbox"}
