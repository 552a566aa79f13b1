"""Tasks and notes of the open thread's box, and the home; all posted as Gmail does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Engine, select

from tests.gmail_sync.addon.house import House
from tests.gmail_sync.addon.quick import house
from tests.gmail_sync.addon.test_box import box_of, filed
from tests.gmail_sync.syncing import BOB
from tests.tracker.domain import a_box, pipeline, stage
from tests.tracker.web.factories_web import counted
from tracker import access, boxes, fields, filing, tasks
from tracker.activities import Activity
from tracker.db import transaction
from tracker.events import Event
from tracker.tasks import Task

__all__ = ["house"]

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_a_task_is_set_with_a_day_and_somebody_and_ticked_off(house: House) -> None:
    sent = filed(house)
    house.at(MONDAY)
    panel = house.panel().open(sent.gmail_id).press("Add task")
    assert panel.chosen("Who") == [house.user().name]
    panel.press("Add task", {"task-title": ["Call her"], "task-due": ["the day of reckoning"]})
    assert "Expected a day such as tomorrow" in panel.text
    assert panel.input("What is to be done?")["value"] == "Call her"
    panel.press("Add task", {"task-due": ["next friday"], "task-owner": [house.user(BOB).key]})
    assert panel.says == "Task set, due Fri 13 Mar"
    assert f"Due Fri 13 Mar · {house.user(BOB).name}" in panel.text
    with house.sessions() as session:
        task = session.scalars(select(Task)).one()
        assert (task.title, task.due_on, task.assignee_id) == ("Call her", date(2026, 3, 13), house.user(BOB).id)
        assert task.box_id == box_of(session).id
    panel.press("Done")
    assert panel.says == "Done: Call her"
    assert "Call her" not in panel.text
    with house.sessions() as session:
        assert session.scalars(select(Task.done_at)).one() == MONDAY


def test_a_task_wants_a_title_and_somebody_who_sees_the_box(house: House) -> None:
    sent = filed(house)
    panel = house.panel().open(sent.gmail_id).press("Add task").press("Add task")
    assert "A task needs a title" in panel.text
    with transaction(house.sessions) as session:
        access.open_to(session, house.viewer(), box_of(session), access.PEOPLE)
    panel.press("Add task", {"task-title": ["Plan"], "task-owner": [house.user(BOB).key]})
    assert "doesn’t see this box" in panel.text
    assert house.user(BOB).name not in panel.options("Who")
    with house.sessions() as session:
        assert session.scalars(select(Task)).all() == []


def test_a_note_is_written_down_and_whoever_is_mentioned_is_told(house: House) -> None:
    sent = filed(house)
    panel = house.panel().open(sent.gmail_id).press("Add note").press("Add note")
    assert "The note is empty" in panel.text
    panel.press("Add note", {"note-text": [f"She asks for @{house.user(BOB).name}\nagain"]})
    assert panel.says == "Note added"
    with house.sessions() as session:
        note = session.scalars(select(Activity)).one()
        assert note.mentions == [house.user(BOB).key]
        assert note.text.endswith("}\nagain")
        assert session.scalars(select(Event).where(Event.kind == "user.mentioned")).one()


def test_of_several_boxes_one_says_which(house: House) -> None:
    sent = filed(house)
    filed(house, "Second", into="Connections", sent=sent)
    panel = house.panel().open(sent.gmail_id).press("Add task")
    second = next(one["value"] for one in panel.choice("Box")["items"] if one["text"] == "Second")
    panel.press("Add task", {"work-box": [second], "task-title": ["There"]})
    with transaction(house.sessions) as session:
        assert session.scalars(select(Task)).one().box_id == box_of(session, "Second").id
        filing.remove(session, house.viewer(), house.conversation(session, sent), box_of(session, "Second"))
    panel.press("Add note", {})
    panel.do("note.save", {"note-text": ["Late"], "work-box": [second]})
    assert "This thread is in Second no more" in panel.says


def test_a_thread_in_no_box_has_no_tasks(house: House) -> None:
    panel = house.panel().open(house.mail().gmail_id)
    assert "Add task" not in panel.buttons
    panel.do("task.add")
    assert "put it into one first" in panel.says


def test_the_home_tells_what_waits_in_a_few_lines_and_in_fixed_queries(house: House, engine: Engine) -> None:
    house.at(MONDAY)
    panel = house.panel().home()
    assert "Nothing waits for you today" in panel.text
    with counted(engine) as few:
        panel.home()
    with transaction(house.sessions) as session:
        viewer = house.viewer()
        sales = pipeline(session, viewer.team_id)
        day = fields.add(session, viewer, sales.id, "Revisit on", "date")
        for number in range(9):
            box = a_box(session, viewer, f"Deal {number}", now=MONDAY - timedelta(days=9))
            due_on = MONDAY.date() - timedelta(days=number)
            tasks.create(session, viewer, f"Task {number}", box=box, due_on=due_on, now=MONDAY)
            boxes.move(session, viewer, box, stage(session, sales, sales.stages[1].name), now=MONDAY)
        boxes.set_value(session, viewer, box, day, "2026-02-01")
        hers = a_box(session, house.viewer(BOB), "Bob's own", now=MONDAY)
        tasks.create(session, house.viewer(BOB), "Bob's task", box=hers, due_on=MONDAY.date(), now=MONDAY)
        tasks.create(session, viewer, "On my own", due_on=date(2026, 1, 1), now=MONDAY)
    with counted(engine) as many:
        panel.home()
    assert "On my own" in panel.text
    assert "Revisit on: Sun 1 Feb" in panel.text
    assert "6 more due" in panel.text
    assert "Bob's" not in panel.text
    assert "Deal 8" in panel.text
    assert f"{sales.stages[1].name}, today" in panel.text
    assert len(panel.widgets) <= 12
    assert len(many) <= len(few) + 2, [one for one in many if one not in few]  # tasks, and boxes, by their ids
    panel.press("Done")
    assert panel.says == "Done: On my own"
    assert "On my own" not in panel.text
