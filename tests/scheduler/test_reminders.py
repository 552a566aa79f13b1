# ruff: noqa: F811 - fixtures of the pages are imported
"""Reminders: rung once, told on the next page, by one's own clock or theirs."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler import reminders, time_zones
from tests.tracker.domain import a_box, a_contact
from tests.tracker.web.conftest import Team, app, browser, team, write  # noqa: F401 - fixtures
from tests.tracker.web.factories_web import browser_of
from tracker import boxes, tasks, unions
from tracker.contacts import Contact
from tracker.events import Event
from tracker.people import User
from tracker.tasks import Task

NOW = datetime.now(UTC)
HTML = {"Accept": "text/html"}


def told(browser: FlaskClient) -> int:
    return browser.get("/inbox", headers=HTML).text.count("Reminder: Call Dana, about Acme")


def test_rung_once_and_told_on_the_next_page_of_its_owner(
    app: Flask, browser: FlaskClient, team: Team, write: Session
) -> None:
    box = a_box(write, team.viewer, "Acme")
    task = tasks.create(write, team.viewer, "Call Dana", box=box, remind_at=NOW + timedelta(hours=1), now=NOW)
    done = tasks.create(write, team.viewer, "Done", remind_at=NOW, now=NOW)
    tasks.complete(write, team.viewer, done, NOW)
    assert reminders.ring(write, NOW) == 0
    assert reminders.ring(write, NOW + timedelta(hours=1)) == 1
    assert reminders.ring(write, NOW + timedelta(hours=2)) == 0
    write.commit()
    assert [event.data["task"] for event in write.scalars(select(Event).where(Event.kind == "task.reminded"))] == [
        task.key
    ]
    assert told(browser_of(app, team.bob)) == 0
    assert (told(browser), told(browser)) == (1, 0)
    assert "Call Dana" in browser.get("/calendar").text
    assert "Tracker reminded of “Call Dana”" in browser.get(f"/b/{box.key}").text
    tasks.change(write, team.viewer, task, remind_at=NOW + timedelta(hours=3))
    assert reminders.ring(write, NOW + timedelta(hours=4)) == 1
    write.commit()
    assert told(browser) == 1


def test_a_box_that_was_put_away_asks_for_nothing(team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme")
    tasks.create(write, team.viewer, "Call Dana", box=box, remind_at=NOW, now=NOW)
    boxes.archive(write, team.viewer, box, NOW)
    assert reminders.ring(write, NOW) == 0


def test_set_by_ones_own_clock_or_by_theirs(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme", "dana@acme.test")
    (dana,) = box.contacts
    write.get_one(User, team.alice.id).time_zone = "Europe/London"
    time_zones.set_by_hand(write, team.viewer, dana.id, "Asia/Tokyo", NOW)
    write.commit()
    day = (NOW + timedelta(days=9)).date().isoformat()
    for whose in ("", dana.key):
        browser.post(
            f"/b/{box.key}/remind", data={"day": day, "at": "9:30", "whose": whose, "title": f"For {whose}"}
        )
    found = {task.title: task.remind_at for task in write.scalars(select(Task))}
    assert found["For"] is not None
    assert found["For"].astimezone(UTC).strftime("%H:%M") in ("09:30", "08:30")
    theirs = found[f"For {dana.key}"]
    assert theirs is not None
    assert theirs.astimezone(UTC).strftime("%H:%M") == "00:30"


def test_what_can_not_be_is_told_and_kept(app: Flask, browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme")
    write.commit()
    for form, words in (
        ({"day": "someday"}, "Expected a day such as"),
        ({"day": "yesterday"}, "That has passed in"),
        ({"day": "tomorrow", "at": "25:00"}, "a time such as 9:00"),
        ({"day": ""}, "Say when"),
    ):
        answer = browser.post(f"/b/{box.key}/remind", data={"_place": "remind", "title": "Look in", **form})
        assert answer.status_code == 422
        assert words in answer.text
        assert 'value="Look in"' in answer.text
    assert browser_of(app, team.gina).post(f"/b/{box.key}/remind", data={"day": "tomorrow"}).status_code == 404


def at_nine_theirs(write: Session, team: Team, title: str = "Call Dana") -> tuple[Task, Contact]:
    """A reminder nine days ahead at nine by Dana's clock, who is in Tokyo."""
    box = a_box(write, team.viewer, "Acme", "dana@acme.test")
    (dana,) = box.contacts
    alice = write.get_one(User, team.alice.id)
    alice.time_zone = "Europe/London"
    time_zones.set_by_hand(write, team.viewer, dana.id, "Asia/Tokyo", NOW)
    day = (NOW + timedelta(days=9)).date()
    return reminders.remind(write, team.viewer, alice, box, title, day, time(9), dana, now=NOW), dana


def wall(task: Task, zone: str) -> str:
    assert task.remind_at is not None
    return task.remind_at.astimezone(ZoneInfo(zone)).strftime("%d %H:%M")


def test_one_by_their_clock_moves_with_them(team: Team, write: Session) -> None:
    task, dana = at_nine_theirs(write, team)
    nine = wall(task, "Asia/Tokyo")
    for zone in ("Pacific/Honolulu", "Asia/Tokyo", "Pacific/Auckland"):
        time_zones.set_by_hand(write, team.viewer, dana.id, zone, NOW)
        write.refresh(task)
        assert wall(task, zone) == nine
        assert task.remind_at is not None
        assert task.due_on == task.remind_at.astimezone(ZoneInfo("Europe/London")).date()


def test_one_that_was_set_anew_or_has_rung_stays(team: Team, write: Session) -> None:
    (anew, dana), (rung, _) = at_nine_theirs(write, team), at_nine_theirs(write, team, "Rung")
    chosen, was = NOW + timedelta(days=2), rung.remind_at
    tasks.change(write, team.viewer, anew, remind_at=chosen)
    assert was is not None
    assert reminders.ring(write, was) == 2
    time_zones.set_by_hand(write, team.viewer, dana.id, "Pacific/Honolulu", was)
    write.refresh(anew)
    write.refresh(rung)
    assert (anew.remind_at, rung.remind_at) == (chosen, was)


def test_one_by_their_clock_follows_a_merge(team: Team, write: Session) -> None:
    task, dana = at_nine_theirs(write, team)
    nine = wall(task, "Asia/Tokyo")
    other = a_contact(write, team.viewer, "d.okafor@acme.test")
    time_zones.set_by_hand(write, team.viewer, other.id, "America/Chicago", NOW)
    unions.merge_contacts(write, team.viewer, other, dana, {}, NOW)
    write.refresh(task)
    assert wall(task, "America/Chicago") == nine
    time_zones.set_by_hand(write, team.viewer, other.id, "Asia/Tokyo", NOW)
    write.refresh(task)
    assert wall(task, "Asia/Tokyo") == nine
