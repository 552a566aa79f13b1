"""Follow-ups on the pages: the panel on the box, and what the compose form asks for."""

# ruff: noqa: F811 - fixtures of the pages are imported
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler import outbox, sequences, snippets
from scheduler.outbox import About, ScheduledEmail
from scheduler.sequences import SequenceError, SequenceRun, Step
from scheduler.web import sequences as web_sequences
from tests.scheduler.sending import a_letter, at_nine
from tests.tracker.domain import a_box
from tests.tracker.web.conftest import Team, app, browser, team, write  # noqa: F401 - fixtures
from tests.tracker.web.factories_web import browser_of
from tracker.boxes import Box

DORA = "dora@outside.example"
STEPS = (Step(2, "<p>Have you seen my offer?</p>"), Step(3, "<p>One last time.</p>"))


@pytest.fixture
def email(team: Team, write: Session) -> ScheduledEmail:
    box = a_box(write, team.viewer, "Dora's deal")
    wall = (datetime.now(UTC) + timedelta(days=3)).replace(tzinfo=None)
    letter = a_letter("alice@team.example", DORA)
    when = at_nine("UTC", wall=wall)
    made = outbox.queue(write, team.viewer, team.mailbox, letter, when, About(box=box), now=datetime.now(UTC))
    write.commit()
    return made


def test_set_paused_resumed_and_ended_on_the_box(
    app: Flask, browser: FlaskClient, team: Team, write: Session, email: ScheduledEmail
) -> None:
    address = f"/b/{write.get_one(Box, email.box_id).key}"
    template = snippets.add(write, team.viewer, "Nudge", "", "<p>Any news?</p>", shared=False)
    write.commit()
    assert "Follow up “Offer” if no answer comes" in browser.get(address).text
    form = {"follow_days-1": "2", "follow_template-1": template.key, "follow_days-2": "3", "follow_text-2": "Hi"}
    made = browser.post(f"/sequences/for/{email.key}", data=form)
    assert made.headers["Location"].startswith(address)
    run = write.scalars(select(SequenceRun)).one()
    assert [(step.days, step.html) for step in run.steps] == [(2, "<p>Any news?</p>"), (3, "<p>Hi</p>")]
    assert "2 days after the mail before it" in browser.get(address).text
    for to, words in (("pause", "Paused"), ("resume", "Begins when"), ("stop", "Ended")):
        browser.post(f"/sequences/{run.key}/{to}")
        assert words in browser.get(address).text
    refused = browser.post(f"/sequences/{run.key}/pause")
    assert (refused.status_code, "It is stopped already" in refused.text) == (409, True)
    wrong = {"_place": f"follow-{email.key}", "follow_days-1": "2", "follow_text-1": "Hi {{nonsense}}"}
    refused = browser.post(f"/sequences/for/{email.key}", data=wrong)
    assert (refused.status_code, "Follow-up 1: " in refused.text, "Hi {{nonsense}}" in refused.text) == (
        422,
        True,
        True,
    )
    assert "ended the follow-ups of “Offer”" in browser.get(address).text


def test_others_may_look_but_not_touch(
    app: Flask, browser: FlaskClient, team: Team, write: Session, email: ScheduledEmail
) -> None:
    run = sequences.start(write, team.viewer, email, STEPS, now=datetime.now(UTC))
    write.commit()
    bob = browser_of(app, team.bob)
    page = bob.get(f"/b/{write.get_one(Box, email.box_id).key}").text
    assert "Follow-ups by mail" in page
    assert f"/sequences/{run.key}/stop" not in page
    for to in ("pause", "stop", "unsubscribe"):
        assert bob.post(f"/sequences/{run.key}/{to}").status_code == 403
    assert bob.post(f"/sequences/for/{email.key}", data={"follow_days-1": "1"}).status_code == 403
    assert browser.post("/sequences/nobody/stop").status_code == 404


def test_wrong_input_is_told_in_words(team: Team, write: Session) -> None:
    assert web_sequences.asked(write, team.viewer, {"follow_days-1": "", "follow_text-1": " "}) == []
    for form, words in (
        ({"follow_days-1": "x", "follow_text-1": "y"}, "a number of days"),
        ({"follow_text-2": "left without days"}, "Follow-up 2: say after how many"),
        ({"follow_days-1": "1"}, "says nothing"),
        ({"follow_days-1": "999", "follow_text-1": "y"}, "1 to 365"),
    ):
        with pytest.raises(SequenceError, match=words):
            web_sequences.asked(write, team.viewer, form)
