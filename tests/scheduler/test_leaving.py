"""The queue of somebody who is removed: cancelled or handed over, its drafts gone before the credentials are."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from gmail_sync import farewell
from gmail_sync.sandbox import Fault
from scheduler import leaving as queue
from scheduler import outbox, sequences
from scheduler.emails import ScheduledEmail
from scheduler.sequences import RunState, SequenceRun, SequenceStep, Step, StepState
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE, BOB
from tests.scheduler.sending import NINE, Office, drafts_of, unblock
from tracker import leaving, people
from tracker.db import transaction
from tracker.events import Event
from tracker.jobs import Again
from tracker.leaving import Choice
from tracker.mailboxes import Mailbox
from tracker.people import PeopleError, User


@pytest.fixture
def bobs(office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """Bob's mailbox; the farewell clears drafts, as in a worker."""
    monkeypatch.setattr(farewell, "before_credentials_go", [])
    monkeypatch.setattr(farewell, "settling", [])
    queue.init(office.post)
    return office.team.connect(BOB)


def leave(office: Office, *, to_alice: bool) -> int:
    with transaction(office.team.sessions) as session:
        alice, bob = user(session, ALICE), user(session, BOB)
        choice = Choice(mail_to=alice if to_alice else None)
        (left,) = leaving.leave(session, people.viewer_of(alice, "test"), bob, choice, office.clock()).mailboxes
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
        assert leaving.plan(session, alice, user(session, BOB), office.clock()).more == [
            "2 queued mails, to be handed over or cancelled"
        ]


def going_out(office: Office, email: ScheduledEmail) -> None:
    """A worker claims it."""
    office.set(email, state=State.SENDING.value, claim_token="x", claimed_at=office.clock(), attempts=1)


@pytest.mark.parametrize("to_alice", [False, True])
def test_a_mail_that_is_claimed_while_somebody_is_removed_goes_once(
    office: Office, bobs: Mailbox, to_alice: bool
) -> None:
    email = office.prepared(bobs)
    claims = office.team.sessions()
    row = claims.get_one(ScheduledEmail, email.id, with_for_update=True)  # by a worker, not committed yet
    row.state, row.claim_token, row.claimed_at, row.attempts = State.SENDING.value, "x", office.clock(), 1
    row.version += 1
    claims.flush()
    left: list[int] = []
    removal = threading.Thread(target=lambda: left.append(leave(office, to_alice=to_alice)))
    removal.start()
    time.sleep(0.5)
    assert left == []  # it waits for the worker's word
    claims.commit()
    removal.join()
    with office.team.sessions() as session:
        assert [one.state for one in session.scalars(select(ScheduledEmail))] == [State.SENDING]


def test_a_mail_that_was_going_out_and_is_given_back_is_cancelled(office: Office, bobs: Mailbox) -> None:
    email = office.prepared(bobs)
    going_out(office, email)
    left = leave(office, to_alice=False)
    with pytest.raises(Again, match="going out"):
        farewell.say(office.post.gmail, left)
    office.set(email, state=State.QUEUED.value, claim_token=None)
    farewell.say(office.post.gmail, left)
    assert office.state(email) == State.CANCELLED
    assert drafts_of(office.sandbox, BOB) == {}


@pytest.mark.parametrize("credentials", [True, False])
def test_a_mail_whose_worker_died_is_in_doubt(office: Office, bobs: Mailbox, credentials: bool) -> None:
    email = office.prepared(bobs)
    going_out(office, email)
    left = leave(office, to_alice=False)
    if not credentials:
        with transaction(office.team.sessions) as session:
            session.get_one(Mailbox, left).credentials = None
    office.clock.advance(minutes=5)
    farewell.say(office.post.gmail, left)
    assert office.state(email) == State.UNCERTAIN
    assert office.events(email)[-1] == "uncertain"


def test_nobody_is_handed_mail_that_they_could_not_send(office: Office, bobs: Mailbox) -> None:
    email = office.prepared(bobs)
    with transaction(office.team.sessions) as session:
        alice = user(session, ALICE)
        session.scalars(select(Mailbox).where(Mailbox.user_id == alice.id)).one().state = "attention"
    with pytest.raises(PeopleError, match="no connected mailbox"):
        leave(office, to_alice=True)
    assert office.state(email) == State.QUEUED


def test_it_is_told_how_many_were_handed_over_and_how_many_cancelled(office: Office, bobs: Mailbox) -> None:
    office.prepared(bobs)
    office.set(office.prepared(bobs, subject="Written in Gmail"), raw=None)
    with transaction(office.team.sessions) as session:
        alice, bob = user(session, ALICE), user(session, BOB)
        left = leaving.leave(session, people.viewer_of(alice, "t"), bob, Choice(mail_to=alice), office.clock())
        assert left.told == [f"1 queued mail held for {alice.name}", "1 queued mail cancelled"]
        told = session.scalars(select(Event).where(Event.kind == "outbox.left")).one()
        assert (told.data["handed"], told.data["cancelled"]) == (1, 1)


def test_follow_ups_end_though_a_step_is_just_going_out(office: Office, bobs: Mailbox) -> None:
    first, step = office.prepared(bobs), office.prepared(bobs, subject="Again")
    with transaction(office.team.sessions) as session:
        run = sequences.start(session, office.viewer(bobs), session.merge(first), [Step(3, "<p>Hello?</p>")],
                              now=office.clock())  # fmt: skip
        session.flush()
        run.state, run.began_at = RunState.RUNNING.value, office.clock()
        queued = session.scalars(select(SequenceStep).where(SequenceStep.run_id == run.id)).one()
        queued.state, queued.email_id = StepState.QUEUED.value, step.id
    going_out(office, step)
    leave(office, to_alice=False)
    with office.team.sessions() as session:
        assert session.scalars(select(SequenceRun)).one().state == RunState.STOPPED
