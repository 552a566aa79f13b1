"""Requests for access ring for the owner, and their answers for who asked; nothing of the mail is told before."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of
from tests.webhooks.bells.ringing import Ringing
from tracker import access_requests, people, sharing
from tracker.access_requests import AccessRequest, Scope
from tracker.messages import Message
from tracker.people import User
from tracker.sharing import Level
from webhooks.bells import words
from webhooks.bells.kinds import Kind


def said(ringing: Ringing, user: User) -> list[str]:
    """What somebody is told, in words."""
    with ringing.sessions() as session:
        return [one.title for one in words.say(session, ringing.told(user), {user.id: user})]


@pytest.fixture
def request_(write: Session, team: Team) -> AccessRequest:
    """Bob knows that Alice wrote with Acme, and asks."""
    a_box(write, team.viewer, "Acme", "charlie@acme.test")
    conversation = a_mail(write, team.mailbox, "Our offer", text="Forty seats")
    sharing.set_rule(write, team.viewer, conversation=conversation, outside=Level.EXISTENCE, inside=Level.NOTHING)
    message = write.scalars(select(Message)).one()
    made = access_requests.ask(write, people.viewer_of(team.bob, "web"), message.id, NOW)
    write.commit()
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("scope", "answer", "leads"),
    [
        (Scope.CONVERSATION, "Alice Archer lets you read “Our offer”", "/c/"),
        (Scope.DECLINE, "Alice Archer keeps the mail that you asked for to themselves", "/sharing/requests"),
    ],
)
def test_the_owner_hears_of_it_and_who_asked_of_the_answer(
    write: Session, team: Team, app: Flask, ringing: Ringing, request_: AccessRequest, scope: Scope,
    answer: str, leads: str,
) -> None:  # fmt: skip
    ringing.work()
    assert said(ringing, team.alice) == ["Bob Baker asks to see “Our offer”"]
    assert said(ringing, team.bob) == []
    (asked,) = ringing.told(team.alice)
    assert browser_of(app, team.alice).get(f"/bell/{asked.key}").location == "/sharing/requests"
    access_requests.answer(write, team.viewer, write.merge(request_), scope, NOW)
    write.commit()
    ringing.work()
    assert said(ringing, team.bob) == [answer]
    (told,) = ringing.told(team.bob)
    assert told.kind == Kind.ACCESS_ANSWERED
    assert browser_of(app, team.bob).get(f"/bell/{told.key}").location.startswith(leads)


def test_whom_one_may_not_know_is_not_named_by_the_answer(
    write: Session, team: Team, ringing: Ringing, request_: AccessRequest
) -> None:
    asked = write.merge(request_)
    asked.named = False
    write.flush()
    access_requests.answer(write, team.viewer, asked, Scope.DECLINE, NOW)
    write.commit()
    ringing.work()
    assert said(ringing, team.bob) == ["A teammate keeps the mail that you asked for to themselves"]
