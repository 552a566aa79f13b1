"""Settings of sharing, by their forms: with and without scripts, one's own only."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, pipeline
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import ALICE, a_mail, browser_of, counted
from tracker import sharing
from tracker.conversations import Conversation
from tracker.mailboxes import Mailbox
from tracker.messages import Message
from tracker.sharing import Grant, Level, Private, Rule

FRAGMENT = {"HX-Request": "true"}


def test_a_mailbox_says_what_it_shares(write: Session, team: Team, app: Flask, browser: FlaskClient) -> None:
    box = a_box(write, team.viewer, "Acme", "charlie@acme.test")
    a_mail(write, team.mailbox, "Our offer", text="Forty seats")
    write.commit()
    bobs = browser_of(app, team.bob)
    assert "Forty seats" in bobs.get(f"/b/{box.key}").text
    page = browser.get("/sharing").text
    assert "Alice wrote with acme.test, 3 Nov" in page  # an example in one's own name
    levels = {"outside": "1", "inside": "0"}
    saved = browser.post(f"/sharing/mailboxes/{team.mailbox.key}", data=levels, follow_redirects=True)
    assert "Saved" in saved.text
    assert "Forty seats" not in bobs.get(f"/b/{box.key}").text
    assert bobs.post(f"/sharing/mailboxes/{team.mailbox.key}", data=levels).status_code == 404
    assert (
        browser.post(f"/sharing/mailboxes/{team.mailbox.key}", data={"outside": "9", "inside": "0"}).status_code
        == 400
    )


def test_a_pipeline_says_otherwise_and_nothing_again(write: Session, team: Team, browser: FlaskClient) -> None:
    sales = pipeline(write, team.alice.team_id)
    address, place = f"/sharing/pipelines/{sales.key}", f"pipelines-{sales.key}"
    browser.post(address, data={"outside": "2", "inside": "1"})
    rule = write.scalars(select(Rule)).one()
    assert (rule.pipeline_id, rule.outside, rule.inside) == (sales.id, 2, 1)
    half = browser.post(address, data={"outside": "3", "inside": "", "_place": place})
    assert half.status_code == 422
    assert "Choose for both" in half.text
    fragment = browser.post(address, data={"outside": "", "inside": "", "_place": place}, headers=FRAGMENT)
    assert fragment.text.lstrip().startswith('<section class="panel" id="pipelines"')
    assert write.scalars(select(Rule.id)).all() == []


def test_a_conversation_is_shared_otherwise_listed_and_taken_back(
    write: Session, team: Team, app: Flask, browser: FlaskClient
) -> None:
    conversation = a_mail(write, team.mailbox, "Our offer", text="Forty seats")
    message = write.scalars(select(Message)).one()
    write.commit()
    address, bobs = f"/m/{message.key}/who", browser_of(app, team.bob)
    assert "Only you" in browser.get(address).text
    fragment = browser.post(f"{address}/one", data={"user": team.bob.key, "_place": "one"}, headers=FRAGMENT)
    assert fragment.text.lstrip().startswith('<section class="who"')
    assert "Bob Baker sees it" in fragment.text
    assert "Forty seats" in bobs.get(f"/c/{conversation.key}").text
    browser.post(address, data={"level": "0"})
    page = browser.get("/sharing").text
    assert "Our offer" in page
    assert "Bob Baker" in page
    grant = write.scalars(select(Grant)).one()
    assert bobs.post(f"/sharing/grants/{grant.key}/withdraw").status_code == 404
    browser.post(f"/sharing/grants/{grant.key}/withdraw")
    assert bobs.get(f"/c/{conversation.key}").status_code == 404
    assert bobs.post(f"/sharing/conversations/{conversation.key}/forget").status_code == 404
    browser.post(f"/sharing/conversations/{conversation.key}/forget")
    assert write.scalars(select(Rule.id)).all() == []
    assert bobs.post(address, data={"level": "3"}).status_code == 404


@pytest.mark.parametrize("user", ["", "made-up"])
def test_nobody_else_is_shared_with(write: Session, team: Team, browser: FlaskClient, user: str) -> None:
    a_mail(write, team.mailbox, "Our offer")
    message = write.scalars(select(Message)).one()
    write.commit()
    refused = browser.post(f"/m/{message.key}/who/one", data={"user": user, "_place": "one"})
    assert refused.status_code == 422
    assert "Choose a teammate" in refused.text


def test_the_private_list_says_what_it_covers(
    write: Session, team: Team, app: Flask, browser: FlaskClient
) -> None:
    a_box(write, team.viewer, "Bank", "charlie@acme.test")
    for number in range(2):
        a_mail(write, team.mailbox, f"Statement {number}", sender="desk@mail.bank.example")
    a_mail(write, team.mailbox, "To the bank", sender=ALICE, to=["vera@bank.example"])
    a_mail(write, team.mailbox, "Another", sender="desk@notbank.example")
    a_mail(write, team.bobs, "Bob's own", sender="desk@bank.example")
    write.commit()
    browser.post("/sharing/private", data={"value": "bank.example", "_place": "private"})
    page = browser.get("/sharing").text
    assert "bank.example" in page
    assert "covers 3 mails of yours" in page
    wrong = browser.post("/sharing/private", data={"value": "no domain", "_place": "private"})
    assert wrong.status_code == 422
    assert 'value="no domain"' in wrong.text
    one = write.scalars(select(Private)).one()
    assert browser_of(app, team.bob).post(f"/sharing/private/{one.id}/remove").status_code == 404
    browser.post(f"/sharing/private/{one.id}/remove")
    assert write.scalars(select(Private.id)).all() == []


def test_the_page_takes_as_many_queries_with_much_as_with_little(
    write: Session, team: Team, browser: FlaskClient, engine: Engine
) -> None:
    counts = []
    for number in range(4):
        conversation = a_mail(write, team.mailbox, f"Mail {number}")
        found = write.get_one(Conversation, conversation.id)
        sharing.set_rule(write, team.viewer, conversation=found, outside=Level.FULL, inside=Level.FULL)
        sharing.grant(write, team.viewer, team.bob.id, conversation=found)
        sharing.private_add(write, team.viewer, f"bank{number}.example")
        write.commit()
        with counted(engine) as statements:
            assert browser.get("/sharing").status_code == 200
        counts.append(len(statements))
    assert counts[-1] <= counts[1]
    assert write.get_one(Mailbox, team.mailbox.id)
