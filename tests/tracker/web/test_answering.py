"""Asking a mail's owner to answer it: beside the mail, once, and nobody is named whom sharing hides."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import ALICE, BOB, CHARLIE, a_mail, browser_of
from tracker import access, answering, leaving, people, sharing, tasks
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import Sessions, transaction
from tracker.events import Event
from tracker.mailboxes import Mailbox
from tracker.messages import Message
from tracker.people import User
from tracker.sharing import Level
from tracker.tasks import Task
from webhooks.bells import telling, words
from webhooks.bells.notices import Notification

OFFER = "Ask Alice Archer to answer"
SECRET = "Forty seats"
HX = {"HX-Request": "true"}


@pytest.fixture
def bobs(app: Flask, team: Team) -> FlaskClient:
    """Bob's browser."""
    return browser_of(app, team.bob)


def alices(write: Session, team: Team, **mail: Any) -> tuple[Box, Message]:
    """A box of the team's with a mail that only Alice's mailbox holds."""
    box = a_box(write, team.viewer, "Acme", CHARLIE)
    conversation = a_mail(write, team.mailbox, **({"subject": SECRET, "text": "For you?"} | mail))
    message = write.scalars(select(Message).where(Message.conversation_id == conversation.id)).one()
    write.commit()
    return box, message


def the_tasks(write: Session) -> list[Task]:
    write.rollback()
    return list(write.scalars(select(Task).order_by(Task.id)))


def test_a_reader_asks_the_owner_and_it_is_a_task_of_theirs_on_the_box(
    write: Session, team: Team, browser: FlaskClient, bobs: FlaskClient
) -> None:
    box, message = alices(write, team)
    assert OFFER in bobs.get(f"/b/{box.key}").text
    assert "to answer" not in browser.get(f"/b/{box.key}").text  # whose mail it is answers it
    back = f"/b/{box.key}#m-{message.key}"
    answer = bobs.post(f"/m/{message.key}/answer", data={"text": "Say yes, please", "_next": back})
    assert (answer.status_code, answer.headers["Location"]) == (303, back)
    page = bobs.get(f"/b/{box.key}").text
    assert "You asked Alice Archer to answer; it is among their tasks until it is done: “Say yes, please”" in page
    assert OFFER not in page
    (task,) = the_tasks(write)
    assert (task.box_id, task.assignee_id, task.created_by_id) == (box.id, team.alice.id, team.bob.id)
    assert task.title == "Answer Charlie"
    for shown in (browser.get(f"/b/{box.key}").text, browser.get(f"/m/{message.key}", follow_redirects=True).text):
        assert "Bob Baker asks you to answer this: “Say yes, please”" in shown
    assert f'href="/m/{message.key}"' in browser.get(f"/b/{box.key}").text.split('id="box-tasks"')[1]


def test_what_is_sent_twice_is_asked_once_and_again_when_it_was_done(
    write: Session, team: Team, browser: FlaskClient, bobs: FlaskClient
) -> None:
    box, message = alices(write, team)
    for _ in range(2):
        answer = bobs.post(f"/m/{message.key}/answer", headers=HX)
        assert answer.text.strip().startswith('<div class="answering">')
        assert "You asked Alice Archer to answer" in answer.text
    (task,) = the_tasks(write)
    browser.post(f"/b/{box.key}/tasks/{task.key}/done", data={"done": "on"})
    assert OFFER in bobs.get(f"/b/{box.key}").text
    bobs.post(f"/m/{message.key}/answer")
    assert len(the_tasks(write)) == 2


def test_the_owner_is_told_and_led_to_the_mail_as_long_as_they_may_read_it(
    write: Session, team: Team, sessions: Sessions, browser: FlaskClient
) -> None:
    _, message = alices(write, team)
    answering.ask(write, people.viewer_of(team.bob, "web"), message, "Say yes", NOW)
    write.commit()
    with transaction(sessions) as session:
        happened = session.scalars(select(Event).where(Event.kind == "answer.asked")).all()
        telling.tell(session, happened, max(one.at for one in happened) + timedelta(seconds=1))
    with sessions() as session:
        (row,) = session.scalars(select(Notification)).all()
        alice = session.get_one(User, team.alice.id)
        (said,) = words.say(session, [row], {alice.id: alice})
        assert said.title == f"Bob Baker asks you to answer “{SECRET}”"
        assert said.body == "Say yes · Acme"
    assert browser.get(f"/bell/{row.key}").headers["Location"] == f"/m/{message.key}"


def test_the_task_says_nothing_of_mail_that_others_on_the_box_may_not_read(
    write: Session, team: Team, app: Flask, bobs: FlaskClient
) -> None:
    box, message = alices(write, team)
    conversation = write.get_one(Conversation, message.conversation_id)
    sharing.set_rule(write, team.viewer, conversation=conversation, outside=Level.NOTHING, inside=Level.NOTHING)
    sharing.grant(write, team.viewer, team.bob.id, conversation=conversation)
    carol = people.add_user(write, team.alice.team_id, "carol@team.example", name="Carol Cole")
    write.commit()
    assert "You asked" in bobs.post(f"/m/{message.key}/answer", headers=HX).text
    page = browser_of(app, carol).get(f"/b/{box.key}").text
    assert "Answer Charlie" in page
    assert SECRET not in page
    assert f"/m/{message.key}" not in page
    assert browser_of(app, carol).post(f"/m/{message.key}/answer").status_code == 404
    assert SECRET not in str([one.data for one in write.scalars(select(Event))])


def test_who_holds_a_copy_answers_from_it_and_who_has_no_mailbox_can_ask(
    write: Session, team: Team, app: Flask, bobs: FlaskClient
) -> None:
    _, message = alices(write, team)
    page = bobs.get(at := f"/c/{write.get_one(Conversation, message.conversation_id).key}").text
    assert f"/compose?reply={message.key}" in page  # from one's own address
    assert OFFER in page
    carol = people.add_user(write, team.alice.team_id, "carol@team.example", name="Carol Cole")
    write.commit()
    carols = browser_of(app, carol).get(at).text
    assert "/compose?reply=" not in carols
    assert OFFER in carols
    a_copy(write, team.bobs, message)
    assert OFFER not in bobs.get(at).text
    assert bobs.post(f"/m/{message.key}/answer").status_code == 404


def a_copy(write: Session, mailbox: Mailbox, message: Message) -> None:
    """The same mail arrives in another mailbox too."""
    more = {"message_id": message.rfc822_message_id, "text": message.text, "at": message.sent_at}
    assert a_mail(write, mailbox, message.subject, **more).id == message.conversation_id
    write.commit()


def test_nobody_asks_without_end(write: Session, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MOST_A_DAY", 1)
    _, message = alices(write, team)
    bob = people.viewer_of(team.bob, "web")
    assert answering.ask(write, bob, message, "", NOW) is not None
    (task,) = write.scalars(select(Task))
    tasks.complete(write, bob, task, NOW)
    with pytest.raises(answering.AnswerError, match="tomorrow"):
        answering.ask(write, bob, message, "", NOW + timedelta(hours=23))
    assert answering.ask(write, bob, message, "", NOW + timedelta(hours=25)) is not None


def test_who_got_it_by_bcc_is_neither_named_nor_asked_nor_is_who_wrote_it_themselves(
    write: Session, team: Team, bobs: FlaskClient
) -> None:
    box, blind = alices(write, team, to=["dana@acme.test"])
    sent = a_mail(write, team.mailbox, "Our offer", sender=ALICE, to=[CHARLIE], labels=["SENT"])
    own = write.scalars(select(Message).where(Message.conversation_id == sent.id)).one()
    write.commit()
    page = bobs.get(f"/b/{box.key}?show=mail").text
    assert SECRET in page
    assert "Our offer" in page
    assert "to answer" not in page
    for one in (blind, own):
        assert bobs.post(f"/m/{one.key}/answer").status_code == 404
    assert not the_tasks(write)


def test_a_mail_in_no_box_is_asked_for_without_one_and_by_a_guest_only_in_their_boxes(
    write: Session, team: Team, app: Flask, bobs: FlaskClient
) -> None:
    ginas = browser_of(app, team.gina)
    box, message = alices(write, team)
    loose = a_mail(write, team.mailbox, "Loose", sender="stranger@else.test")
    other = write.scalars(select(Message.key).where(Message.conversation_id == loose.id)).one()
    for one in (team.bob, team.gina):
        sharing.grant(write, team.viewer, one.id, conversation=loose)
    write.commit()
    assert ginas.post(f"/m/{message.key}/answer").status_code == 404
    assert "Loose" in (page := ginas.get(f"/c/{loose.key}").text)
    assert "to answer" not in page
    assert ginas.post(f"/m/{other}/answer").status_code == 404
    assert OFFER in bobs.get(f"/c/{loose.key}").text
    assert "You asked Alice Archer" in bobs.post(f"/m/{other}/answer", headers=HX).text
    access.name(write, team.viewer, box, team.gina)
    write.commit()
    assert "You asked Alice Archer" in ginas.post(f"/m/{message.key}/answer", headers=HX).text
    assert [(one.box_id, one.title) for one in the_tasks(write)] == [
        (None, "Answer a mail"),
        (box.id, "Answer Charlie"),
    ]


def test_too_long_a_text_is_refused_beside_the_form_and_kept(
    write: Session, team: Team, bobs: FlaskClient
) -> None:
    _, message = alices(write, team)
    data = {"text": "y" * 501, "_place": f"answer-{message.key}"}
    for headers, status in ((HX, 200), ({}, 422)):
        answer = bobs.post(f"/m/{message.key}/answer", data=data, headers=headers)
        assert answer.status_code == status
        assert "At most 500 characters; this has 501" in answer.text
        assert "y" * 501 in answer.text
        assert re.search(r"<details class=\"fold\" open><summary[^>]*>Ask Alice Archer", answer.text)
    assert not the_tasks(write)


def test_nobody_is_asked_who_left(write: Session, team: Team) -> None:
    a_box(write, team.viewer, "Acme", CHARLIE)
    conversation = a_mail(write, team.bobs, SECRET, to=[BOB])
    message = write.scalars(select(Message).where(Message.conversation_id == conversation.id)).one()
    reasons = sharing.why(write, team.viewer, [message.id])
    assert answering.offers(write, team.viewer, [message], reasons)[message.id].id == team.bob.id
    leaving.leave(write, team.viewer, write.get_one(User, team.bob.id), leaving.Choice(), NOW)
    assert sharing.why(write, team.viewer, [message.id])[message.id].rule == "kept"  # what had been shared stays
    assert answering.ask(write, team.viewer, message, "", NOW) is None
