"""What people see of sharing: why, who, withheld places, requests and their answers, and who opened what."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import ALICE, BOB, a_mail, browser_of
from tracker import access_requests, conversations, filing, leaving, people, reading_log, sharing
from tracker.access_requests import AccessRequest, RequestError, Scope
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.messages import Message
from tracker.people import Viewer
from tracker.pipelines import Pipeline
from tracker.reading_log import MailReading
from tracker.sharing import Level
from tracker.web import rows

SECRET = "Forty seats at the old price"


@pytest.fixture
def bobs(app: Flask, team: Team) -> FlaskClient:
    """Bob's browser."""
    return browser_of(app, team.bob)


@pytest.fixture
def bob(team: Team) -> Viewer:
    """Bob."""
    return people.viewer_of(team.bob, "web")


def shared(write: Session, team: Team, **mail: Any) -> tuple[Box, Message]:
    """A box of the team's with a mail that only Alice's mailbox holds."""
    box = a_box(write, team.viewer, "Acme", "charlie@acme.test")
    mail = {"subject": "Our offer", "text": SECRET, **mail}
    conversation = a_mail(write, team.mailbox, **mail)
    message = write.scalars(select(Message).where(Message.conversation_id == conversation.id)).one()
    return box, message


def say(write: Session, team: Team, message: Message, level: Level) -> Conversation:
    """Alice says at which level this conversation is shared."""
    conversation = write.get_one(Conversation, message.conversation_id)
    sharing.set_rule(write, team.viewer, conversation=conversation, outside=level, inside=level)
    write.commit()
    return conversation


def test_a_teammate_reads_and_learns_why(write: Session, team: Team, bobs: FlaskClient) -> None:
    box, message = shared(write, team, to=[ALICE])
    write.commit()
    for page in (bobs.get(f"/b/{box.key}").text, bobs.get(f"/m/{message.key}", follow_redirects=True).text):
        assert SECRET in page
        assert "You see this because Alice Archer shares mail with outsiders in Sales" in page
        assert "Who can see this" not in page  # that is for whoever holds it


def test_the_owner_learns_who_sees_it_and_who_opened_it(
    write: Session, team: Team, browser: FlaskClient, bobs: FlaskClient
) -> None:
    box, message = shared(write, team)
    write.commit()
    assert "opened it" not in browser.get(f"/m/{message.key}/who").text
    bobs.get(f"/b/{box.key}")
    page = browser.get(f"/m/{message.key}/who").text
    assert "Bob Baker sees it because you share mail with outsiders in Sales" in page
    assert "Bob Baker opened it" in page
    assert "Alice Archer opened it" not in page
    assert bobs.get(f"/m/{message.key}/who").status_code == 404


@pytest.mark.parametrize(
    ("level", "seen", "unseen"),
    [
        (Level.SUBJECT, ["Our offer", "wrote with acme.test", "Request access"], [SECRET]),
        (Level.EXISTENCE, ["wrote with acme.test", "Request access"], [SECRET, "Our offer"]),
        (Level.NOTHING, [], [SECRET, "Our offer", "wrote with", "Request access"]),
    ],
)
def test_what_is_withheld_leaves_a_place_as_far_as_it_is_shared(
    write: Session, team: Team, bobs: FlaskClient, level: Level, seen: list[str], unseen: list[str]
) -> None:
    box, message = shared(write, team)
    conversation = say(write, team, message, level)
    for address in (f"/b/{box.key}", f"/b/{box.key}?show=mail", f"/c/{conversation.key}"):
        answer = bobs.get(address)
        if level == Level.NOTHING and address.startswith("/c/"):
            assert answer.status_code == 404
            continue
        assert all(words in answer.text for words in seen), address
        assert not any(words in answer.text for words in unseen), address
    assert bobs.get(f"/m/{message.key}").status_code == 404
    assert bobs.get(f"/m/{message.key}/frame").status_code == 404


def test_readers_see_one_conversation_with_places_at_their_time(
    write: Session, team: Team, bobs: FlaskClient, bob: Viewer
) -> None:
    box = a_box(write, team.viewer, "Acme", "charlie@acme.test")
    first = a_mail(write, team.mailbox, "Our offer", text="First word.", thread="t", at=NOW - timedelta(hours=5))
    both = {"message_id": "both@mail.test", "text": "Second word.", "at": NOW - timedelta(hours=4)}
    a_mail(write, team.mailbox, "Our offer", thread="t", to=[ALICE, BOB], **both)
    a_mail(write, team.bobs, "Our offer", thread="b", to=[ALICE, BOB], **both)
    a_mail(write, team.mailbox, "Our offer", text="Third word.", thread="t", at=NOW - timedelta(hours=3))
    (message,) = write.scalars(select(Message).where(Message.text == "First word."))
    conversation = say(write, team, message, Level.EXISTENCE)
    page = bobs.get(f"/c/{conversation.key}").text
    assert page.count('class="message withheld"') == 2
    newest, middle, oldest = page.split('<article class="message')[1:4]
    assert "wrote with acme.test" in newest
    assert "Second word." in middle
    assert "wrote with acme.test" in oldest
    assert "First word" not in page
    assert "Third word" not in page
    assert box.key in bobs.get(f"/b/{box.key}").text
    assert first.key


def test_a_request_is_told_answered_once_and_opens_the_conversation(
    write: Session, team: Team, browser: FlaskClient, bobs: FlaskClient
) -> None:
    box, message = shared(write, team)
    conversation = say(write, team, message, Level.EXISTENCE)
    asked = bobs.post(f"/m/{message.key}/ask", data={"_next": f"/c/{conversation.key}"}, follow_redirects=True)
    assert "Asked" in asked.text
    assert "waiting for an answer" in asked.text
    assert bobs.post(f"/m/{message.key}/ask").status_code == 303  # once more is the same
    request = write.scalars(select(AccessRequest)).one()
    page = browser.get("/sharing/requests").text
    assert "Bob Baker" in page
    assert "Our offer" in page
    assert "Share all mail with charlie@acme.test" in page
    assert "Share all in Sales" in page
    assert bobs.post(f"/sharing/requests/{request.key}", data={"scope": "conversation"}).status_code == 404
    answered = browser.post(f"/sharing/requests/{request.key}", data={"scope": "conversation"})
    assert answered.status_code == 303
    assert SECRET in bobs.get(f"/c/{conversation.key}").text
    assert "you may read it" in bobs.get("/sharing/requests").text
    again = browser.post(f"/sharing/requests/{request.key}", data={"scope": "decline"})
    assert again.status_code == 409
    assert "answered already" in again.text
    assert box.key


@pytest.mark.parametrize("scope", [Scope.CONTACT, Scope.PIPELINE])
def test_an_answer_can_reach_further(
    write: Session, team: Team, browser: FlaskClient, bobs: FlaskClient, scope: Scope
) -> None:
    box, message = shared(write, team)
    sharing.set_rule(write, team.viewer, mailbox=team.mailbox, outside=Level.EXISTENCE, inside=Level.NOTHING)
    a_mail(write, team.mailbox, "Another", text="Another secret")
    write.commit()
    assert "Another secret" not in bobs.get(f"/b/{box.key}").text
    bobs.post(f"/m/{message.key}/ask")
    request = write.scalars(select(AccessRequest)).one()
    form = dict(re.findall(r'name="(address|pipelines)" value="([^"]*)"', browser.get("/sharing/requests").text))
    browser.post(f"/sharing/requests/{request.key}", data={"scope": scope.value, **form})
    page = bobs.get(f"/b/{box.key}").text
    assert SECRET in page
    assert "Another secret" in page


def test_whoever_was_declined_waits_a_week(write: Session, team: Team, bob: Viewer) -> None:
    _, message = shared(write, team)
    say(write, team, message, Level.EXISTENCE)
    request = access_requests.ask(write, bob, message.id, NOW)
    assert request is not None
    access_requests.answer(write, team.viewer, request, Scope.DECLINE, NOW)
    with pytest.raises(RequestError):
        access_requests.ask(write, bob, message.id, NOW + timedelta(days=6))
    again = access_requests.ask(write, bob, message.id, NOW + timedelta(days=8))
    assert again is not None
    assert again.id != request.id


def test_nobody_asks_without_end(write: Session, team: Team, bob: Viewer) -> None:
    _, message = shared(write, team)
    say(write, team, message, Level.EXISTENCE)
    ids = []
    for number in range(access_requests.MOST_A_DAY + 1):
        other = a_mail(write, team.mailbox, f"Mail {number}")
        mail = write.scalars(select(Message).where(Message.conversation_id == other.id)).one()
        say(write, team, mail, Level.EXISTENCE)
        ids.append(mail.id)
    for id_ in ids[:-1]:
        assert access_requests.ask(write, bob, id_, NOW) is not None
    with pytest.raises(RequestError):
        access_requests.ask(write, bob, ids[-1], NOW + timedelta(hours=23))
    assert access_requests.ask(write, bob, ids[-1], NOW + timedelta(hours=25)) is not None


def test_what_one_knows_nothing_of_cannot_be_asked_for(
    write: Session, team: Team, app: Flask, bobs: FlaskClient, bob: Viewer
) -> None:
    _, message = shared(write, team)
    say(write, team, message, Level.NOTHING)
    assert bobs.post(f"/m/{message.key}/ask").status_code == 404
    assert bobs.post("/m/made-up/ask").status_code == 404
    assert access_requests.ask(write, bob, message.id, NOW) is None
    say(write, team, message, Level.EXISTENCE)
    assert browser_of(app, team.gina).post(f"/m/{message.key}/ask").status_code == 404  # a guest, elsewhere
    assert write.scalars(select(AccessRequest)).all() == []


def test_what_can_be_read_needs_no_request(write: Session, team: Team, bobs: FlaskClient) -> None:
    _, message = shared(write, team)
    write.commit()
    assert bobs.post(f"/m/{message.key}/ask").status_code == 404


def test_opening_is_noted_once_an_hour_and_forgotten_after_ninety_days(
    write: Session, team: Team, bob: Viewer
) -> None:
    _, message = shared(write, team)
    for minutes in (0, 20, 70):
        reading_log.opened(write, bob, [message.id], NOW + timedelta(minutes=minutes))
    reading_log.opened(write, team.viewer, [message.id], NOW)  # it is hers
    found = write.scalars(select(MailReading)).all()
    assert [one.user_id for one in found] == [team.bob.id] * 2
    assert reading_log.forget(write, NOW + timedelta(days=90, minutes=30)) == 1
    assert reading_log.forget(write, NOW + timedelta(days=91)) == 1


def test_admins_see_who_opened_what_and_of_the_mail_only_what_is_theirs_to_read(
    write: Session, team: Team, browser: FlaskClient, bobs: FlaskClient
) -> None:
    _, message = shared(write, team)
    at = {"subject": "Private to Bob", "sender": "dora@else.test", "to": [BOB]}
    a_mail(write, team.bobs, **at)
    hidden = write.scalars(select(Message).where(Message.subject == "Private to Bob")).one()
    write.add(
        MailReading(
            team_id=team.bob.team_id, user_id=team.gina.id, message_id=hidden.id, hour=NOW, at=NOW, door="web"
        )
    )
    reading_log.opened(write, people.viewer_of(team.bob, "web"), [message.id], NOW)
    write.commit()
    page = browser.get("/sharing/opened").text
    assert "Our offer" in page
    assert "Gina" in page
    assert "Private to Bob" not in page
    assert bobs.get("/sharing/opened").status_code == 403
    write.execute(update(MailReading).values(message_id=None))
    write.commit()
    assert "deleted since" in browser.get("/sharing/opened").text


def asked_by_bob(write: Session, team: Team, bobs: FlaskClient) -> tuple[Box, Message, AccessRequest]:
    """Bob knows that a mail is there, and asked for it."""
    box, message = shared(write, team)
    say(write, team, message, Level.EXISTENCE)
    bobs.post(f"/m/{message.key}/ask")
    return box, message, write.scalars(select(AccessRequest)).one()


def test_an_answer_gives_no_pipeline_that_was_not_shown(
    write: Session, team: Team, browser: FlaskClient, bobs: FlaskClient
) -> None:
    _, message, request = asked_by_bob(write, team, bobs)
    page = browser.get("/sharing/requests").text
    form = dict(re.findall(r'name="(address|pipelines)" value="([^"]*)"', page))
    assert set(form) == {"address", "pipelines"}
    conversation = write.get_one(Conversation, message.conversation_id)
    filing.file(write, team.viewer, conversation, a_box(write, team.viewer, "Elsewhere", into="Connections"))
    write.commit()
    browser.post(f"/sharing/requests/{request.key}", data={"scope": "pipeline", **form})
    (grant,) = write.scalars(select(sharing.Grant)).all()
    assert write.get_one(Pipeline, grant.pipeline_id).key == form["pipelines"]


@pytest.mark.parametrize("scope", [Scope.CONTACT, Scope.PIPELINE])
def test_an_answer_to_what_was_never_shown_gives_nothing(
    write: Session, team: Team, browser: FlaskClient, bobs: FlaskClient, scope: Scope
) -> None:
    _, _, request = asked_by_bob(write, team, bobs)
    form = {"scope": scope.value, "address": "eve@else.test", "pipelines": "another"}
    answered = browser.post(f"/sharing/requests/{request.key}", data=form)
    assert answered.status_code == 409
    assert "once more" in answered.text
    assert write.scalars(select(sharing.Grant)).all() == []
    assert access_requests.waiting(write, team.viewer) == 1


def test_nobody_is_asked_who_has_left(write: Session, team: Team, bobs: FlaskClient, bob: Viewer) -> None:
    box, message, request = asked_by_bob(write, team, bobs)
    write.merge(team.bob).role = people.Role.ADMIN.value
    write.flush()
    admin = replace(bob, role=people.Role.ADMIN)
    leaving.leave(write, admin, write.merge(team.alice), leaving.Choice(), NOW)
    write.commit()
    write.refresh(request)
    assert (request.state, request.scope) == ("declined", None)
    page = bobs.get(f"/b/{box.key}").text
    assert "wrote with acme.test" in page
    assert "Its text went with its owner" in page
    assert "Request access" not in page
    assert "they left" in bobs.get("/sharing/requests").text
    with pytest.raises(RequestError, match="nobody to ask"):
        access_requests.ask(write, bob, message.id, NOW + timedelta(days=30))


def test_a_request_goes_with_its_mail_when_a_conversation_comes_apart(
    write: Session, team: Team, bobs: FlaskClient
) -> None:
    box, message, request = asked_by_bob(write, team, bobs)
    made = Conversation(team_id=box.team_id)
    write.add(made)
    write.flush()
    before, message.conversation_id = message.conversation_id, made.id
    write.flush()
    for follow in conversations.on_split:
        follow(write, before, [made.id])
    write.refresh(request)
    assert request.conversation_id == made.id


def test_sharing_all_of_it_leaves_internal_mail_and_says_who_reads_it_anyway(
    write: Session, team: Team, browser: FlaskClient
) -> None:
    _, message = shared(write, team)
    write.commit()
    address = f"/m/{message.key}/who"
    browser.post(address, data={"level": "3"})
    rule = write.scalars(select(sharing.Rule)).one()
    assert (rule.outside, rule.inside) == (Level.FULL, Level.NOTHING)
    browser.post(f"{address}/one", data={"user": team.bob.key})
    told = browser.post(address, data={"level": "0", "inside": "0"}, follow_redirects=True).text
    assert "except for Bob Baker" in told
    assert "You let Bob Baker read this conversation" in told
    grant = write.scalars(select(sharing.Grant)).one()
    assert browser.post(f"{address}/withdraw", data={"grant": "made-up"}).status_code == 422
    gone = browser.post(f"{address}/withdraw", data={"grant": grant.key}, headers={"HX-Request": "true"}).text
    assert "Taken back from Bob Baker" in gone
    assert "You let" not in gone
    assert "Only you" in gone


def test_internal_mail_alone_is_not_shared_by_accident(write: Session, team: Team, browser: FlaskClient) -> None:
    _, message = shared(write, team)
    write.commit()
    refused = browser.post(f"/m/{message.key}/who", data={"level": "settings", "inside": "3"})
    assert refused.status_code == 422
    assert "with outsiders too" in refused.text
    browser.post(f"/m/{message.key}/who", data={"level": "1", "inside": "3"})
    rule = write.scalars(select(sharing.Rule)).one()
    assert (rule.outside, rule.inside) == (Level.EXISTENCE, Level.FULL)


def test_a_conversation_says_how_much_of_it_is_withheld(write: Session, team: Team, bobs: FlaskClient) -> None:
    _, message = shared(write, team, thread="t", to=[ALICE])
    both = {"message_id": "both@mail.test", "to": [ALICE, BOB], "at": NOW}
    a_mail(write, team.mailbox, "Our offer", thread="t", **both)
    a_mail(write, team.bobs, "Our offer", thread="b", **both)
    conversation = say(write, team, message, Level.EXISTENCE)
    page = bobs.get(f"/c/{conversation.key}").text
    head = page[page.index("page-head") :][:400]
    assert re.search(r"1 message with .* and 1 withheld<", head), head


def test_whoever_answers_has_read_it(write: Session, team: Team, bobs: FlaskClient) -> None:
    """The form quotes all of it, and nobody need open it before."""
    _, message = shared(write, team, html=f"<p>{SECRET}</p>")
    write.commit()
    assert SECRET in bobs.get(f"/compose?reply={message.key}").text
    (reading,) = write.scalars(select(MailReading)).all()
    assert (reading.user_id, reading.message_id, reading.door) == (team.bob.id, message.id, "reply")


def test_conversations_stand_in_the_order_of_what_may_be_read(write: Session, team: Team, bob: Viewer) -> None:
    """A later mail that is withheld moves nothing."""
    box, _ = shared(write, team, subject="Older", thread="older", at=NOW - timedelta(hours=5))
    a_mail(write, team.mailbox, "Newer", thread="newer", at=NOW - timedelta(hours=4))
    a_mail(write, team.mailbox, "Re: Older", sender=ALICE, to=[ALICE], thread="older", at=NOW)  # internal
    assert [row.subject for _, row in rows.of_box(write, bob, box, filing.FILED)] == ["Newer", "Older"]
