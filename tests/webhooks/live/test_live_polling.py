"""Pages that poll: the same topics, with the same rights, from the log of events."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from config import teams
from tests.tracker.domain import a_box
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of
from tracker import events
from tracker.web import live


def ask(browser: FlaskClient, cursor: str, topics: str) -> dict[str, object]:
    """What a page is told."""
    answer = browser.get("/live/since", query_string={"cursor": cursor, "topics": topics})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return dict(answer.get_json())


def start(browser: FlaskClient) -> str:
    """The cursor of a page that is new."""
    first = ask(browser, "", "tasks")
    assert first["refresh"] is True
    return str(first["cursor"])


def test_what_changed_since_the_last_time_is_told_once(
    browser: FlaskClient,
    team: Team,
    write: Session,
) -> None:
    cursor = start(browser)
    box = a_box(write, team.viewer, "Acme")
    events.record(write, team.alice.team_id, "task.created")
    write.commit()
    asked = f"box:{box.key},pipeline:{box.pipeline.key},tasks,inbox,contact:somebody"
    told = ask(browser, cursor, asked)
    # The inbox names what its owner has to do next: whose box changed looks again.
    assert told["topics"] == sorted([f"box:{box.key}", f"pipeline:{box.pipeline.key}", "tasks", "inbox"])
    assert ask(browser, str(told["cursor"]), asked) == {**told, "topics": []}


def test_neither_another_teams_nor_another_users_are_told(
    app: Flask,
    browser: FlaskClient,
    team: Team,
    write: Session,
) -> None:
    stranger = teams.found(write, "Others", "stranger@others.example", "Stranger")
    write.commit()
    theirs, bobs = browser_of(app, stranger), browser_of(app, team.bob)
    cursor = start(browser)
    box = a_box(write, team.viewer, "Acme")
    a_mail(write, write.merge(team.mailbox))
    write.commit()
    asked = f"box:{box.key},inbox,inbox:{team.alice.key}"
    assert ask(theirs, cursor, asked)["topics"] == []
    assert ask(bobs, cursor, asked)["topics"] == [f"box:{box.key}"]
    assert ask(browser, cursor, asked)["topics"] == sorted([f"box:{box.key}", "inbox"])


def test_who_is_too_far_behind_looks_at_everything_again(
    browser: FlaskClient,
    team: Team,
    write: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "LIMIT", 3)
    cursor = start(browser)
    for _ in range(3):
        events.record(write, team.alice.team_id, "task.created")
    write.commit()
    told = ask(browser, cursor, "tasks")
    assert told["refresh"] is True
    assert ask(browser, str(told["cursor"]), "tasks")["refresh"] is False


@pytest.mark.parametrize(
    "cursor", ["x", "1", "1.", ".1", "-1.0", "1.0.0", "9" * 30 + ".1", "1." + "9" * 30, "１.２", "1.\x00"]
)
def test_a_made_up_cursor_is_a_bad_request(browser: FlaskClient, cursor: str) -> None:
    assert browser.get("/live/since", query_string={"cursor": cursor, "topics": "tasks"}).status_code == 400


def test_it_is_for_the_signed_in_and_a_server_without_a_stream_says_so(app: Flask, browser: FlaskClient) -> None:
    assert app.test_client().get("/live/since", headers={"HX-Request": "true"}).status_code == 401
    assert browser.get("/live").status_code == 204
