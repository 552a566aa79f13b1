"""Two boxes become one: everything is there, nothing twice, and what people said stands."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_contact, a_team, pipeline, stage
from tests.tracker.web.factories_web import a_mail, a_mailbox
from tracker import activities, boxes, facts, fields, filing, links, merging, people, tasks, totals
from tracker.activities import Activity, ActivityKind
from tracker.boxes import Box, BoxConflict, BoxContact
from tracker.facts import BoxFacts
from tracker.fields import Field
from tracker.filing import DISMISSED, FILED, PERSON, REMOVED, RULE, SUGGESTED, Decision, Filing
from tracker.mailboxes import Mailbox
from tracker.merging import BOTH, OTHER, MergeError
from tracker.people import User, Viewer
from tracker.snoozes import Snooze
from tracker.tasks import Task


@pytest.fixture
def alice(session: Session) -> User:
    """The team's admin."""
    return a_team(session)


@pytest.fixture
def viewer(alice: User) -> Viewer:
    """Alice at work."""
    return people.viewer_of(alice, "test")


@pytest.fixture
def mailbox(session: Session, alice: User) -> Mailbox:
    """Alice's."""
    return a_mailbox(session, alice)


def field(session: Session, box: Box, name: str) -> Field:
    return next(one for one in fields.of_pipeline(session, box.pipeline_id) if one.name == name)


def again(session: Session, box: Box) -> Box:
    session.flush()
    session.expire_all()
    return session.get_one(Box, box.id)


def states(session: Session, box: Box) -> dict[int, tuple[str, str]]:
    found = session.scalars(
        select(Filing).where(Filing.box_id == box.id).execution_options(populate_existing=True)
    )
    return {one.conversation_id: (one.state, one.origin) for one in found}


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.soak) for n in range(6, 30))])
def test_the_union_is_there_whatever_was_in_either(
    session: Session, viewer: Viewer, mailbox: Mailbox, seed: int
) -> None:
    """Random boxes with random decisions, merged in either direction."""
    chance = random.Random(seed)
    two = [a_box(session, viewer, "One", at="Lead"), a_box(session, viewer, "Two", at="Lead")]
    third = a_box(session, viewer, "Third", at="Lead")
    conversations = [a_mail(session, mailbox, f"Mail {number}", sender=f"x{number}@a.test") for number in range(8)]
    for box in two:
        for one in conversations:
            _decide(session, viewer, chance, one.id, box)
        for number in chance.sample(range(6), 3):
            boxes.add_contact(session, viewer, box, a_contact(session, viewer, f"c{number}@acme.test"))
        for number in range(chance.randrange(4)):
            made = tasks.create(
                session, viewer, f"Task {number} of {box.name}", box=box, due_on=NOW.date(), now=NOW
            )
            if chance.random() < 0.4:
                tasks.complete(session, viewer, made, NOW)
        for number in range(chance.randrange(4)):
            activities.add(session, viewer, box, ActivityKind.NOTE, f"Note {number} of {box.name}", now=NOW)
        if chance.random() < 0.5:
            links.link(session, viewer, box, third)
        if chance.random() < 0.7:
            boxes.set_value(session, viewer, box, field(session, box, "Value"), f"{chance.randrange(1, 99)} EUR")
    if chance.random() < 0.5:
        links.link(session, viewer, *two)
    session.flush()
    one, two_ = chance.sample(two, 2)
    before = {box.id: _inside(session, box) for box in two}
    wanted = _strongest(session, two)
    values = {box.id: box.value_amount for box in two}

    merging.merge(session, viewer, one, two_, now=NOW)

    survivor, loser = again(session, one), again(session, two_)
    inside = _inside(session, survivor)
    for what, found in inside.items():
        assert found == before[one.id][what] | before[two_.id][what], what
    assert not any(_inside(session, loser).values())
    assert states(session, survivor) == wanted
    assert states(session, loser) == {}
    linked = {found.name for found in links.of_box(session, survivor.id)}
    assert linked == ({"Third"} if linked else set())
    assert links.of_box(session, loser.id) == []
    _is_counted_right(session, survivor)
    assert survivor.value_amount == (values[one.id] if values[one.id] is not None else values[two_.id])
    assert boxes.by_key(session, viewer.team_id, loser.key) is survivor


def _decide(session: Session, viewer: Viewer, chance: random.Random, conversation_id: int, box: Box) -> None:
    """Nothing, a rule's decision, or a person's."""
    state = chance.choice([None, SUGGESTED, FILED, FILED, REMOVED, DISMISSED])
    if state is None:
        return
    by_person = state in (REMOVED, DISMISSED) or (state == FILED and chance.random() < 0.5)
    at = NOW + timedelta(seconds=chance.randrange(10_000))
    session.add(
        Filing(
            team_id=box.team_id, conversation_id=conversation_id, box_id=box.id, pipeline_id=box.pipeline_id,
            state=state, origin=PERSON if by_person else RULE, rule=None if by_person else "contact",
            reason="", user_id=viewer.user_id if by_person else None, decided_at=at,
        )
    )  # fmt: skip
    session.flush()
    facts.refresh(session, [box.id])


def _inside(session: Session, box: Box) -> dict[str, set[object]]:
    contacts_ = select(BoxContact.contact_id).where(BoxContact.box_id == box.id)
    return {
        "contacts": set(session.scalars(contacts_)),
        "tasks": set(session.scalars(select(Task.key).where(Task.box_id == box.id))),
        "notes": set(session.scalars(select(Activity.key).where(Activity.box_id == box.id))),
    }


def _strongest(session: Session, two: list[Box]) -> dict[int, tuple[str, str]]:
    """By the words of the law: a person before a rule; of persons the later; of rules what is filed."""
    found: dict[int, list[Filing]] = {}
    for one in session.scalars(select(Filing).where(Filing.box_id.in_([box.id for box in two]))):
        found.setdefault(one.conversation_id, []).append(one)
    kept = {}
    for conversation_id, decisions in found.items():
        persons = sorted(
            (one for one in decisions if one.origin == PERSON), key=lambda one: (one.decided_at, one.id)
        )
        if persons:
            kept[conversation_id] = (persons[-1].state, PERSON)
        else:
            kept[conversation_id] = (FILED if FILED in {one.state for one in decisions} else SUGGESTED, RULE)
    return kept


def _is_counted_right(session: Session, box: Box) -> None:
    there = session.get_one(BoxFacts, box.id)
    filed = select(func.count()).where(Filing.box_id == box.id, Filing.state == FILED)
    todo = select(func.count()).where(Task.box_id == box.id, Task.done_at.is_(None))
    assert there.message_count == session.scalar(filed)
    assert there.open_task_count == session.scalar(todo)
    total = totals.of_pipeline(session, box.pipeline_id)[box.stage_id]
    listed = session.scalars(select(Box).where(Box.stage_id == box.stage_id, boxes.is_listed())).all()
    assert total.boxes == len(listed)
    assert sum(total.amounts.values()) == sum((one.value_amount or Decimal(0)) for one in listed)


def test_each_value_is_that_of_the_side_that_was_chosen(session: Session, viewer: Viewer) -> None:
    bob = people.add_user(session, viewer.team_id, "bob@team.example", name="Bob")
    one, two = a_box(session, viewer, "One", at="Lead"), a_box(session, viewer, "Two", at="Won")
    tags = fields.add(session, viewer, one.pipeline_id, "Labels", "tags")
    value, close = field(session, one, "Value"), field(session, one, "Expected close")
    for box, amount, labels in ((one, "10 EUR", "a, b"), (two, "20 EUR", "b, c")):
        boxes.set_value(session, viewer, box, value, amount)
        boxes.set_value(session, viewer, box, tags, labels)
    boxes.set_value(session, viewer, two, close, "2026-12-24")
    boxes.assign(session, viewer, two, bob)
    session.flush()
    session.expire_all()
    told = {found.label for found in merging.differences(session, one, two)}
    assert told == {"Name", "Stage", "Owner", "Value", "Labels"}
    chosen = {"name": OTHER, "stage": OTHER, value.key: OTHER, tags.key: BOTH, "owner": "nonsense"}
    merging.merge(session, viewer, one, two, chosen, now=NOW)
    merged = again(session, one)
    assert (merged.name, merged.stage.name, merged.owner_id) == ("Two", "Won", viewer.user_id)
    assert merged.value_amount == 20
    assert merged.values[tags.key] == ["a", "b", "c"]
    assert merged.values[close.key] == "2026-12-24"
    assert totals.of_pipeline(session, one.pipeline_id).keys() == {stage(session, one.pipeline, "Won").id}


def test_nobody_decides_about_values_that_they_did_not_see(session: Session, viewer: Viewer) -> None:
    one, two = a_box(session, viewer, "One"), a_box(session, viewer, "Two")
    seen = merging.preview(session, viewer, one, two).fingerprint
    boxes.rename(session, viewer, two, "Another")
    with pytest.raises(BoxConflict):
        merging.merge(session, viewer, one, two, fingerprint=seen, now=NOW)


def test_what_cannot_be_merged_is_refused(session: Session, viewer: Viewer) -> None:
    one, two = a_box(session, viewer, "One"), a_box(session, viewer, "Two")
    elsewhere = a_box(session, viewer, "Anna", into="Connections")
    with pytest.raises(MergeError, match="one box already"):
        merging.merge(session, viewer, one, one, now=NOW)
    with pytest.raises(MergeError, match="another pipeline"):
        merging.merge(session, viewer, one, elsewhere, now=NOW)
    merging.merge(session, viewer, one, two, now=NOW)
    with pytest.raises(BoxConflict):
        merging.merge(session, viewer, one, two, now=NOW)
    with pytest.raises(boxes.BoxError, match="can't be undone"):
        boxes.undelete(session, viewer, two)
    assert two not in boxes.deleted(session, one.pipeline_id)


def test_a_chain_of_merges_leads_to_the_last(session: Session, viewer: Viewer) -> None:
    first, second, third = (a_box(session, viewer, name) for name in ("1", "2", "3"))
    merging.merge(session, viewer, second, first, now=NOW)
    merging.merge(session, viewer, third, second, now=NOW)
    assert boxes.by_key(session, viewer.team_id, first.key) is third
    assert set(boxes.ids_of(session, third)) == {first.id, second.id, third.id}


def test_mail_that_spoke_for_both_is_filed_once_they_are_one(
    session: Session, viewer: Viewer, mailbox: Mailbox
) -> None:
    one, two = (a_box(session, viewer, name, "anna@acme.test", at="Lead") for name in ("One", "Two"))
    mail = a_mail(session, mailbox, "For which?", sender="anna@acme.test")
    assert {state for state, _ in (states(session, one) | states(session, two)).values()} == {SUGGESTED}
    merging.merge(session, viewer, one, two, now=NOW)
    assert states(session, one) == {mail.id: (FILED, RULE)}


def test_snoozes_follow_and_no_rule_overrules_a_removal_afterwards(
    session: Session, viewer: Viewer, mailbox: Mailbox
) -> None:
    one = a_box(session, viewer, "One", at="Lead")
    two = a_box(session, viewer, "Two", "anna@acme.test", at="Lead")
    mail = a_mail(session, mailbox, "Private", sender="anna@acme.test", thread="t")
    filing.remove(session, viewer, mail, two)
    row = {"team_id": viewer.team_id, "user_id": viewer.user_id, "box_id": two.id}
    session.add(Snooze(**row, until=NOW + timedelta(days=1)))
    session.flush()
    merging.merge(session, viewer, one, two, now=NOW)
    assert session.scalars(select(Snooze.box_id)).all() == [one.id]
    a_mail(session, mailbox, "Re: Private", sender="anna@acme.test", thread="t")
    assert states(session, one) == {mail.id: (REMOVED, PERSON)}
    decision = Decision(mail.id, one.id, pipeline(session, viewer.team_id).id, FILED, "contact", "because")
    assert filing.decide_by_rule(session, viewer.team_id, [decision], viewer) == []
