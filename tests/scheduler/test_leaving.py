"""The queue of somebody who is removed: cancelled or handed over, its drafts gone before the credentials are."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from gmail_sync import farewell
from gmail_sync.sandbox import Fault
from scheduler import leaving as queue
from scheduler import outbox
from scheduler.emails import ScheduledEmail
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE, BOB
from tests.scheduler.sending import NINE, Office, drafts_of, unblock
from tracker import leaving, people
from tracker.db import transaction
from tracker.jobs import Again
from tracker.leaving import Choice
from tracker.mailboxes import Mailbox
from tracker.people import User


@pytest.fixture
def bobs(office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """Bob's mailbox; the farewell clears drafts, as in a worker."""
    monkeypatch.setattr(farewell, "before_credentials_go", [])
    queue.init(office.post)
    return office.team.connect(BOB)


def leave(office: Office, *, to_alice: bool) -> int:
    with transaction(office.team.sessions) as session:
        alice, bob = user(session, ALICE), user(session, BOB)
        choice = Choice(mail_to=alice if to_alice else None)
        (left,) = leaving.leave(session, people.viewer_of(alice, "test"), bob, choice, office.clock())
        return left


def user(session: Session, address: str) -> User:
    found = people.by_address(session, address)
    assert found is not None
    return found


def test_cancelled_mail_leaves_no_draft_and_the_token_is_void(office: Office, bobs: Mailbox) -> None:
    email = office.prepared(bobs)
    assert list(drafts_of(office.sandbox, BOB).values()) == ["Offer"]
    left = leave(office, to_alice=False)
    assert office.state(email) == State.CANCELLED
    assert drafts_of(office.sandbox, BOB) != {}  # while nobody has asked Gmail
    farewell.say(office.post.gmail, left)
    assert drafts_of(office.sandbox, BOB) == {}
    assert not office.sandbox.tokens.has_refresh(office.sandbox.mailbox(BOB).user_id, office.sandbox.client_id)
    with office.team.sessions() as session:
        assert session.get_one(Mailbox, left).credentials is None
    office.clock.advance(days=2)
    office.dispatch()
    assert office.delivered() == {}


def test_while_gmail_does_not_answer_the_credentials_stay_and_it_is_asked_again(
    office: Office, bobs: Mailbox
) -> None:
    office.prepared(bobs)
    left = leave(office, to_alice=False)
    office.sandbox.faults.add(Fault("status", "drafts.delete", status=503, reason="x", times=1))
    with pytest.raises(Again):
        farewell.say(office.post.gmail, left)
    with office.team.sessions() as session:
        assert session.get_one(Mailbox, left).credentials is not None
        assert farewell.waiting(session) == [left]
    office.hurry(bobs)
    unblock(office.team, bobs)
    farewell.say(office.post.gmail, left)
    assert drafts_of(office.sandbox, BOB) == {}


@pytest.mark.parametrize("late", [False, True])
def test_mail_handed_over_is_the_heirs_and_waits_for_them(office: Office, bobs: Mailbox, late: bool) -> None:
    email = office.prepared(bobs, to="dora@outside.example")
    if late:
        office.set(email, state=State.HELD.value)
        office.clock.advance(days=3)
    left = leave(office, to_alice=True)
    with office.team.sessions() as session:
        made = session.scalars(select(ScheduledEmail).where(ScheduledEmail.state == State.HELD.value)).one()
        assert made.user_id == user(session, ALICE).id
        assert made.reason == "bob@team.example was removed from the team"
        assert outbox.letter_of(made).from_.address == ALICE
        assert made.recipients == ["dora@outside.example"]
        assert made.wall_time == NINE + timedelta(days=3 if late else 0)
        alices = session.get_one(Mailbox, made.mailbox_id)
    farewell.say(office.post.gmail, left)
    office.prepare(alices)
    assert (drafts_of(office.sandbox, BOB), list(drafts_of(office.sandbox, ALICE).values())) == ({}, ["Offer"])
    office.clock.advance(days=9)
    office.dispatch()
    assert office.delivered() == {}


def test_the_confirmation_counts_what_waits(office: Office, bobs: Mailbox) -> None:
    office.prepared(bobs)
    office.queue(bobs, subject="Another")
    with office.team.sessions() as session:
        alice = people.viewer_of(user(session, ALICE), "test")
        assert leaving.plan(session, alice, user(session, BOB), office.clock()).more == ["2 queued mails"]
