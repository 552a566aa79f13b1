"""A rep's feed: what is in it, whose it is, and that calendars take it."""

# ruff: noqa: F811 - fixtures of the pages are imported
from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import vobject
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from scheduler import calendar, outbox
from scheduler.calendar import CalendarFeed, Entry
from scheduler.letters import Letter
from scheduler.outbox import About, ScheduledEmail, When
from tests.tracker.domain import a_box
from tests.tracker.web.conftest import Team, app, browser, team, write  # noqa: F401 - fixtures
from tests.tracker.web.factories_web import browser_of, counted
from tracker import boxes, fields, tasks
from tracker.addresses import Address, normalize
from tracker.boxes import Box
from tracker.people import Viewer

NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = NOW.date()


def address(written: str) -> Address:
    return Address("", written, normalize(written))


def a_scheduled(write: Session, team: Team, subject: str, *, box: Box | None = None) -> ScheduledEmail:
    letter = Letter(
        address("alice@team.example"), (address("c@x.test"),), subject=subject, html="<p>x</p>", text="x"
    )
    wall = (NOW + timedelta(hours=30)).replace(tzinfo=None)
    return outbox.queue(write, team.viewer, team.mailbox, letter, When(wall, "UTC"), About(box=box), now=NOW)


def a_day(write: Session, viewer: Viewer, box: Box, name: str, day: date) -> None:
    field = next(one for one in fields.of_pipeline(write, box.pipeline_id) if one.name == name)
    boxes.set_value(write, viewer, box, field, day.isoformat())


def new_address(browser: FlaskClient) -> str:
    page = browser.post("/calendar/address").text
    return urlsplit(re.search(r'value="(http[^"]+\.ics)"', page)[1]).path  # type: ignore[index]


def read(browser: FlaskClient, path: str) -> dict[str, Any]:
    """The feed's events by UID, as two independent readers have them."""
    answer = browser.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "text/calendar")
    events = {str(one["UID"]): one for one in Calendar.from_ical(answer.data).walk("VEVENT")}
    other = vobject.readOne(answer.data.decode())
    assert {one.uid.value for one in other.contents.get("vevent", [])} == set(events)
    for one in other.contents.get("vevent", []):
        assert one.dtstart.value == events[one.uid.value]["DTSTART"].dt
        assert one.summary.value == str(events[one.uid.value]["SUMMARY"])
    return events


@pytest.fixture
def outsider(app: Flask) -> FlaskClient:
    """A calendar: it brings no cookie."""
    return app.test_client()


def test_mail_tasks_and_days_are_in_it(
    browser: FlaskClient, outsider: FlaskClient, team: Team, write: Session
) -> None:  # fmt: skip
    box = a_box(write, team.viewer, "Acme; deal, big", now=NOW)
    mail = a_scheduled(write, team, "Offer", box=box)
    task = tasks.create(write, team.viewer, "Call them", box=box, due_on=TODAY, now=NOW)
    tasks.create(write, team.viewer, "No day", now=NOW)
    a_day(write, team.viewer, box, "Expected close", TODAY + timedelta(days=20))
    a_day(write, team.viewer, box, "Revisit on", TODAY + timedelta(days=5))
    write.commit()
    events = read(outsider, new_address(browser))
    assert len(events) == 4
    sent = events[f"mail-{mail.key}@tracker"]
    assert sent["DTSTART"].dt == mail.due_at
    assert sent["SUMMARY"] == "Mail “Offer”"
    assert "c@x.test" in sent["DESCRIPTION"]
    assert events[f"task-{task.key}@tracker"]["DTSTART"].dt == TODAY
    assert events[f"task-{task.key}@tracker"]["DTEND"].dt == TODAY + timedelta(days=1)
    days = {str(one["SUMMARY"]): one["DTSTART"].dt for uid, one in events.items() if uid.startswith("day-")}
    assert days == {
        "Expected close: Acme; deal, big": TODAY + timedelta(days=20),
        "Revisit on: Acme; deal, big": TODAY + timedelta(days=5),
    }
    assert all(f"/b/{box.key}" in str(one["URL"]) for one in events.values())


def test_what_is_done_cancelled_archived_or_somebody_elses_is_not(
    app: Flask, browser: FlaskClient, outsider: FlaskClient, team: Team, write: Session
) -> None:  # fmt: skip
    path = new_address(browser)
    box, away = a_box(write, team.viewer, "Deal", now=NOW), a_box(write, team.viewer, "Away", now=NOW)
    for one in (box, away):
        a_day(write, team.viewer, one, "Expected close", TODAY)
        tasks.create(write, team.viewer, f"Of {one.name}", box=one, due_on=TODAY, now=NOW)
    done = tasks.create(write, team.viewer, "Done", due_on=TODAY, now=NOW)
    tasks.complete(write, team.viewer, done, NOW)
    tasks.create(write, team.viewer, "Bob's", due_on=TODAY, assignee_id=team.bob.id, now=NOW)
    outbox.cancel(write, team.viewer, a_scheduled(write, team, "Never"), now=NOW)
    boxes.archive(write, team.viewer, away, NOW)
    write.commit()
    assert {str(one["SUMMARY"]) for one in read(outsider, path).values()} == {"Expected close: Deal", "Of Deal"}
    bobs = read(outsider, new_address(browser_of(app, team.bob)))
    assert [str(one["SUMMARY"]) for one in bobs.values()] == ["Bob's"]


def test_its_head_is_what_google_apple_and_thunderbird_read(browser: FlaskClient, outsider: FlaskClient) -> None:
    answer = outsider.get(new_address(browser))
    head = Calendar.from_ical(answer.data)
    assert str(head["X-WR-CALNAME"]) == "Tracker: Alice Archer"
    assert answer.data.startswith(b"BEGIN:VCALENDAR\r\n")
    assert b"REFRESH-INTERVAL;VALUE=DURATION:PT1H\r\n" in answer.data
    assert b"X-PUBLISHED-TTL:PT1H\r\n" in answer.data
    assert "private" in answer.headers["Cache-Control"]
    assert "Set-Cookie" not in answer.headers


def test_what_has_not_changed_is_not_sent_again(
    browser: FlaskClient, outsider: FlaskClient, team: Team, write: Session
) -> None:  # fmt: skip
    path = new_address(browser)
    etag = outsider.get(path).headers["ETag"]
    same = outsider.get(path, headers={"If-None-Match": etag})
    assert (same.status_code, same.data) == (304, b"")
    assert "private" in same.headers["Cache-Control"]
    tasks.create(write, team.viewer, "New", due_on=TODAY, now=NOW)
    write.commit()
    assert outsider.get(path, headers={"If-None-Match": etag}).status_code == 200


def test_the_address_is_shown_once_kept_as_a_hash_and_ends(
    browser: FlaskClient,
    outsider: FlaskClient,
    write: Session,
) -> None:
    first = new_address(browser)
    secret = first.removeprefix("/calendar/").removesuffix(".ics")
    assert len(secret) >= 32
    assert secret not in browser.get("/calendar").text
    kept = write.scalars(select(CalendarFeed)).one()
    assert secret.encode() not in kept.secret_hash
    second = new_address(browser)
    assert outsider.get(first).status_code == 404
    assert outsider.get(second).status_code == 200
    assert "Last read by a calendar" in browser.get("/calendar").text
    browser.post("/calendar/revoke")
    assert outsider.get(second).status_code == 404
    assert outsider.get("/calendar/.ics").status_code == 404
    assert outsider.get(f"/calendar/{'x' * 5000}.ics").status_code == 404
    assert outsider.get("/calendar").status_code in (302, 503)


def test_it_takes_as_many_queries_for_much_as_for_little_and_is_bounded(
    browser: FlaskClient, outsider: FlaskClient, engine: Engine, team: Team, write: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = new_address(browser)
    outsider.get(path)

    def fill(number: int) -> None:
        for each in range(number):
            box = a_box(write, team.viewer, f"Deal {each}", now=NOW)
            a_day(write, team.viewer, box, "Expected close", TODAY)
            tasks.create(write, team.viewer, "Call", box=box, due_on=TODAY, now=NOW)
            a_scheduled(write, team, "Hello", box=box)
        write.commit()

    fill(1)
    with counted(engine) as few:
        assert len(read(outsider, path)) == 3
    fill(3)
    with counted(engine) as many:
        assert len(read(outsider, path)) == 12
    assert len(many) == len(few)
    tasks.create(write, team.viewer, "Long ago", due_on=TODAY - timedelta(days=90), now=NOW)
    tasks.create(write, team.viewer, "Far", due_on=TODAY + timedelta(days=900), now=NOW)
    write.commit()
    assert len(read(outsider, path)) == 12
    monkeypatch.setattr(calendar, "MOST", 2)
    assert len(read(outsider, path)) == 6


TEXTS = st.text(max_size=120) | st.sampled_from(
    ["a\r\nATTENDEE:x", "\x00\x0b\x85\u2028", "ü" * 200, "END:VEVENT", "\\n;,:"]
)
DAYS = st.dates(date(2026, 1, 1), date(2030, 1, 1))
INSTANTS = st.integers(0, 10**8).map(lambda seconds: NOW + timedelta(seconds=seconds))
ENTRIES = st.lists(
    st.builds(
        Entry,
        st.uuids().map(str),
        DAYS | INSTANTS,
        TEXTS, TEXTS, st.sampled_from(["", "/b/x"]), st.just(NOW),
    ),
    max_size=4,
)  # fmt: skip


@given(ENTRIES, TEXTS)
@settings(max_examples=50, deadline=None)
def test_no_name_breaks_the_feed(made: Sequence[Entry], name: str) -> None:
    data = calendar.as_ics(name, "Europe/Paris", made, lambda path: f"https://tracker.test{path}")
    assert data == calendar.as_ics(
        name, "Europe/Paris", list(reversed(made)), lambda path: f"https://tracker.test{path}"
    )
    assert all(len(line) <= 75 for line in data.split(b"\r\n"))
    assert b"\n" not in data.replace(b"\r\n", b"")
    events = {str(one["UID"]): one for one in Calendar.from_ical(data).walk("VEVENT")}
    assert len(events) == len(made)
    assert all("ATTENDEE" not in one for one in events.values())
    for one in vobject.readOne(data.decode()).contents.get("vevent", []):
        entry = next(entry for entry in made if entry.uid == one.uid.value)
        assert one.dtstart.value == entry.at


def test_an_entry_stays_the_same_event_when_it_moves() -> None:
    entry = Entry("task-1@tracker", TODAY, "Call", "", "", NOW)
    later = Entry("task-1@tracker", TODAY + timedelta(days=1), "Call", "", "", NOW)
    made = [
        Calendar.from_ical(calendar.as_ics("x", "UTC", [one], str)).walk("VEVENT")[0] for one in (entry, later)
    ]
    assert made[0]["UID"] == made[1]["UID"]
