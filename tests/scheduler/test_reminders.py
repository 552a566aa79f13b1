# ruff: noqa: F811 - fixtures of the pages are imported
"""Reminders: rung once, told on the next page, by one's own clock or theirs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler import reminders, time_zones
from tests.tracker.domain import a_box
from tests.tracker.web.conftest import Team, app, browser, team, write  # noqa: F401 - fixtures
from tests.tracker.web.factories_web import browser_of
from tracker import boxes, tasks
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
    assert browser_of(app, team.gina).post(f"/b/{box.key}/remind", data={"day": "tomorrow"}).status_code == 403
