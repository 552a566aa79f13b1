"""The panel of a contact's page: where they are, why, and another zone in a click."""

# ruff: noqa: F811
from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import escape
from sqlalchemy.orm import Session

from scheduler import time_zones
from tests.scheduler.test_time_zones import mail
from tests.tracker.domain import a_contact
from tests.tracker.web.conftest import Team, app, browser, team, write  # noqa: F401 - fixtures
from tests.tracker.web.factories_web import CHARLIE, browser_of
from tracker import contacts
from tracker.contacts import Contact

HTMX = {"HX-Request": "true"}


@pytest.fixture
def charlie(team: Team, write: Session) -> Contact:
    """Somebody who writes from Tokyo, of whom somebody noted Austin."""
    made = a_contact(write, team.viewer, CHARLIE)
    contacts.change(write, team.viewer, made, location="Austin")
    mail(write, team.mailbox, "Asia/Tokyo", *range(6))
    write.commit()
    return made


def test_a_contacts_page_says_where_they_are_and_why(browser: FlaskClient, charlie: Contact) -> None:
    page = browser.get(f"/contacts/{charlie.key}").text
    panel = page[page.index('id="contact-zone"') :]
    for words in (
        "Asia/Tokyo",
        "UTC+9 in all of their last 6 mails",
        "Austin (United States), which does not fit",
    ):
        assert words in panel, words
    assert re.search(r"it is \d\d:\d\d, \w+day", panel)


def test_it_is_corrected_in_one_click_and_back(
    browser: FlaskClient,
    write: Session,
    team: Team,
    charlie: Contact,
) -> None:
    there = f"/contacts/{charlie.key}/zone"
    offered = re.findall(r'name="zone" value="([^"]+)"', browser.get(f"/contacts/{charlie.key}").text)
    assert "America/Chicago" in offered
    after = browser.post(there, data={"zone": "America/Chicago"}, follow_redirects=True).text
    assert "is in Chicago from now on" in after
    assert "set by hand" in after
    assert "Alice Archer set it on" in after
    assert time_zones.of_contact(write, charlie.id, datetime.now(UTC)).zone == "America/Chicago"
    fragment = browser.post(there, data={"evidence": "1"}, headers=HTMX).text
    assert fragment.lstrip().startswith('<div id="contact-zone"')
    assert "Asia/Tokyo" in fragment
    write.rollback()
    assert time_zones.of_contact(write, charlie.id, datetime.now(UTC)).zone == "Asia/Tokyo"


def test_a_city_is_as_good_as_a_zone(browser: FlaskClient, write: Session, charlie: Contact) -> None:
    for typed, zone in {
        "lisbon": "Europe/Lisbon",
        "america/new york": "America/New_York",
        "US/Pacific": "America/Los_Angeles",
        "Paris, TX": "America/Chicago",
        "UTC": "Etc/UTC",
    }.items():
        browser.post(f"/contacts/{charlie.key}/zone", data={"place": typed})
        write.rollback()
        write.expire_all()
        assert time_zones.of_contact(write, charlie.id, datetime.now(UTC)).zone == zone


def test_what_is_no_place_is_said_beside_what_was_typed(browser: FlaskClient, charlie: Contact) -> None:
    there = f"/contacts/{charlie.key}/zone"
    for typed, words in {"Nowhere at all": "No such place", "USA": "several time zones", "<b>": "No such"}.items():
        for headers in ({}, HTMX):
            answer = browser.post(there, data={"place": typed, "_place": "zone"}, headers=headers)
            assert answer.status_code == 422
            assert words in answer.text
            assert f'value="{escape(typed)}"' in answer.text


def test_contacts_that_are_not_the_teams_are_not_there(browser: FlaskClient, charlie: Contact) -> None:
    assert browser.get("/contacts/nobody/zone").status_code == 404
    assert browser.post("/contacts/nobody/zone", data={"zone": "Europe/Lisbon"}).status_code == 404


def test_a_guess_is_called_one(app: Flask, team: Team, write: Session, browser: FlaskClient) -> None:
    stranger = a_contact(write, team.viewer, "new@unknown.test")
    write.commit()
    page = browser.get(f"/contacts/{stranger.key}").text
    assert "a guess" in page
    assert "your own time zone stands in" in page
    of_bob = browser_of(app, team.bob).get(f"/contacts/{stranger.key}/zone", headers=HTMX)
    assert of_bob.status_code == 200
