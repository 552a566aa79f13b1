"""Tasks, and due dates as people say them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_team
from tracker import boxes, due, people, tasks
from tracker.boxes import Box
from tracker.due import DueError
from tracker.events import Event
from tracker.facts import BoxFacts
from tracker.people import Viewer
from tracker.tasks import TaskError

SATURDAY = date(2026, 11, 21)
DAYS = st.dates(date(2000, 1, 1), date(2100, 1, 1))


@pytest.mark.parametrize(
    ("typed", "day"),
    [
        ("", None),
        ("  ", None),
        ("today", "2026-11-21"),
        ("Tomorrow", "2026-11-22"),
        ("day after  tomorrow", "2026-11-23"),
        ("yesterday", "2026-11-20"),
        ("monday", "2026-11-23"),
        ("on Mon", "2026-11-23"),
        ("saturday", "2026-11-28"),
        ("next monday", "2026-11-23"),
        ("next sunday", "2026-11-29"),
        ("next week", "2026-11-23"),
        ("next month", "2026-12-21"),
        ("in 3 days", "2026-11-24"),
        ("3d", "2026-11-24"),
        ("+2w", "2026-12-05"),
        ("in a week", "2026-11-28"),
        ("two months from now", "2027-01-21"),
        ("in a year", "2027-11-21"),
        ("end of week", "2026-11-27"),
        ("end of month", "2026-11-30"),
        ("2026-11-24", "2026-11-24"),
        ("2026-1-4", "2026-01-04"),
        ("24.11.", "2026-11-24"),
        ("24. 11. 2027", "2027-11-24"),
        ("24 nov", "2026-11-24"),
        ("November 24th, 2027", "2027-11-24"),
        ("by 1 february", "2027-02-01"),
        ("20 nov", "2027-11-20"),
        ("29 feb", "2028-02-29"),
    ],
)
def test_a_due_date_is_typed_as_people_say_it(typed: str, day: str | None) -> None:
    assert due.parse(typed, SATURDAY) == (date.fromisoformat(day) if day else None)


@pytest.mark.parametrize(
    "typed",
    ["soon", "31 feb 2027", "2026-13-01", "3/4", "in 99999 years", "0001-01-01", "9999-12-31", "x" * 500, "32.1.",
     "in 9999 years", "next", "in days", "٣ days ago", "29 feb 2027"],
)  # fmt: skip
def test_what_is_no_day_is_refused_with_what_would_be_one(typed: str) -> None:
    with pytest.raises(DueError, match="Expected a day such as tomorrow"):
        due.parse(typed, SATURDAY)


def test_next_monday_is_that_of_the_week_after_this_one() -> None:
    assert due.parse("monday", date(2026, 11, 24)) == date(2026, 11, 30)
    assert due.parse("next wednesday", date(2026, 11, 24)) == date(2026, 12, 2)
    assert due.parse("wednesday", date(2026, 11, 24)) == date(2026, 11, 25)


@given(day=DAYS, today=DAYS)
def test_every_date_is_read_back_as_it_is_written(day: date, today: date) -> None:
    assert due.parse(day.isoformat(), today) == day
    assert due.parse(f"{day.day} {day:%B} {day.year}", today) == day
    assert due.parse(f"{day.day}.{day.month}.{day.year}", today) == day


@given(today=DAYS, number=st.integers(1, 300))
def test_so_many_days_on_are_so_many_days_on(today: date, number: int) -> None:
    assert due.parse(f"in {number} days", today) == today + timedelta(days=number)


@given(today=DAYS, weekday=st.sampled_from(["mon", "tuesday", "wed", "thurs", "friday", "sat", "sunday"]))
def test_a_weekday_is_within_the_next_seven_days(today: date, weekday: str) -> None:
    found = due.parse(weekday, today)
    assert found is not None
    assert 1 <= (found - today).days <= 7
    assert f"{found:%A}".lower().startswith(weekday[:3])


@given(today=DAYS, typed=st.text(max_size=80))
def test_no_text_breaks_the_reader(today: date, typed: str) -> None:
    try:
        found = due.parse(typed, today)
    except DueError:
        return
    assert found is None or isinstance(found, date)


def test_a_day_and_a_time_are_an_instant_in_the_owners_zone() -> None:
    assert due.instant(date(2026, 11, 24), time(9), "Asia/Tokyo") == datetime(2026, 11, 24, tzinfo=UTC)
    assert due.instant(date(2026, 3, 29), time(2, 30), "Europe/Berlin") == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert due.today("Pacific/Auckland", datetime(2026, 11, 21, 12, tzinfo=UTC)) == date(2026, 11, 22)
    assert due.today("No/Where", datetime(2026, 11, 21, 12, tzinfo=UTC)) == SATURDAY


@pytest.fixture
def viewer(session: Session) -> Viewer:
    """Alice."""
    return people.viewer_of(a_team(session), "test")


@pytest.fixture
def box(session: Session, viewer: Viewer) -> Box:
    """One of hers."""
    return a_box(session, viewer, "Acme deal")


def facts_of(session: Session, box: Box) -> tuple[date | None, int]:
    session.expire_all()
    found = session.get_one(BoxFacts, box.id)
    return found.next_task_on, found.open_task_count


def kinds(session: Session) -> list[str]:
    query = select(Event.kind).where(Event.kind.startswith("task.")).order_by(Event.id)
    return list(session.scalars(query))


def test_the_box_knows_its_next_task_at_each_step(session: Session, viewer: Viewer, box: Box) -> None:
    later = tasks.create(session, viewer, "Call back", box=box, due_on=date(2026, 12, 1), now=NOW)
    sooner = tasks.create(session, viewer, "Send offer", box=box, due_on=date(2026, 11, 24), now=NOW)
    assert facts_of(session, box) == (date(2026, 11, 24), 2)
    tasks.complete(session, viewer, sooner, NOW)
    assert facts_of(session, box) == (date(2026, 12, 1), 1)
    tasks.reopen(session, viewer, sooner)
    assert facts_of(session, box) == (date(2026, 11, 24), 2)
    tasks.change(session, viewer, sooner, due_on=date(2027, 1, 1))
    assert facts_of(session, box) == (date(2026, 12, 1), 2)
    tasks.remove(session, viewer, later)
    assert facts_of(session, box) == (date(2027, 1, 1), 1)


def test_each_change_is_told_once(session: Session, viewer: Viewer, box: Box) -> None:
    task = tasks.create(session, viewer, "Call back", box=box, now=NOW)
    for _ in range(2):
        tasks.complete(session, viewer, task, NOW)
    for _ in range(2):
        tasks.reopen(session, viewer, task)
    for _ in range(2):
        tasks.change(session, viewer, task, title="Call Anna back")
    told = ["task.created", "task.completed", "task.reopened", "task.changed"]
    assert kinds(session) == told


def test_a_deleted_task_comes_back_as_it_was(session: Session, viewer: Viewer, box: Box) -> None:
    task = tasks.create(session, viewer, "Call", box=box, due_on=SATURDAY, remind_at=NOW, now=NOW)
    key = task.key
    tasks.complete(session, viewer, task, NOW)
    tasks.remove(session, viewer, task)
    session.expunge(task)
    assert tasks.by_key(session, viewer.team_id, key) is None
    back = tasks.restore(session, viewer, key, box)
    assert (back.title, back.due_on, back.remind_at, back.done_at) == ("Call", SATURDAY, NOW, NOW)
    assert back.assignee_id == viewer.user_id
    again = tasks.restore(session, viewer, key, box)
    assert again.id == back.id
    with pytest.raises(TaskError):
        tasks.restore(session, viewer, "made-up", box)
    with pytest.raises(TaskError):
        tasks.restore(session, viewer, key)


def test_a_task_needs_a_title_that_is_one(session: Session, viewer: Viewer, box: Box) -> None:
    for title in ("", "  ", "\x00", "x" * 301):
        with pytest.raises(TaskError):
            tasks.create(session, viewer, title, box=box, now=NOW)


def test_what_is_due_is_listed_by_day_and_waits_with_its_box(session: Session, viewer: Viewer, box: Box) -> None:
    bob = people.add_user(session, viewer.team_id, "bob@team.example")
    for title, day, owner, where in (
        ("overdue", SATURDAY - timedelta(days=3), None, box),
        ("today", SATURDAY, None, None),
        ("tomorrow", SATURDAY + timedelta(days=1), None, box),
        ("some day", None, None, box),
        ("bob's", SATURDAY, bob.id, box),
    ):
        tasks.create(session, viewer, title, box=where, due_on=day, assignee_id=owner, now=NOW)
    listed = tasks.due_for(session, viewer.user_id or 0, SATURDAY)
    assert [one.title for one in listed] == ["overdue", "today"]
    assert [one.title for one in tasks.due_for(session, viewer.user_id or 0, SATURDAY, after=listed[0])] == [
        "today"
    ]
    boxes.delete(session, viewer, box, NOW)
    assert [one.title for one in tasks.due_for(session, viewer.user_id or 0, SATURDAY)] == ["today"]
    boxes.undelete(session, viewer, box)
    assert len(tasks.due_for(session, viewer.user_id or 0, SATURDAY)) == 2
