"""What Gmail is not believed the first time, and what is not overwritten unseen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gmail_sync import drafts
from gmail_sync.sandbox import Fault
from scheduler import looking, outbox
from scheduler.emails import CHANGED_IN_BOTH
from scheduler.outbox import OutboxError, ScheduledEmail
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE
from tests.scheduler.sending import Office, a_letter, drafts_of
from tracker.db import transaction
from tracker.jobs import Jobs
from tracker.mailboxes import Mailbox

NINE = datetime(2026, 11, 24, 9, tzinfo=UTC)
GMAILS = b"From: alice@team.example\r\nTo: dora@outside.example\r\nSubject: From Gmail\r\n\r\nWritten there"


def not_found(office: Office, *methods: str) -> None:
    """Gmail says once of each that there is no such thing."""
    for method in methods:
        office.sandbox.faults.add(Fault("status", method, status=404, reason="notFound", times=1))


def edit(office: Office, email: ScheduledEmail, subject: str) -> None:
    with transaction(office.team.sessions) as session:
        row = session.get_one(ScheduledEmail, email.id)
        mailbox = session.get_one(Mailbox, row.mailbox_id)
        outbox.edit(session, office.viewer(mailbox), row, a_letter(ALICE, subject=subject), now=office.clock())


def release(office: Office, email: ScheduledEmail, *, gmails: bool) -> None:
    with transaction(office.team.sessions) as session:
        row = session.get_one(ScheduledEmail, email.id)
        viewer = office.viewer(session.get_one(Mailbox, row.mailbox_id))
        outbox.release(session, viewer, row, now=office.clock(), gmails=gmails)


# -- that a draft is gone


def test_a_look_that_misses_a_draft_once_cancels_nothing(
    office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = office.prepared(alices)
    office.clock.advance(minutes=10)
    not_found(office, "drafts.get")
    with monkeypatch.context() as patched:
        patched.setattr(drafts, "all_of", lambda _gmail: iter(()))
        looking.look(office.post, alices.id)
    assert (office.state(email), office.read(email).missed_at) == (State.QUEUED, office.clock())
    office.clock.advance(seconds=15)
    looking.look(office.post, alices.id)
    assert (office.state(email), office.read(email).missed_at) == (State.QUEUED, None)
    office.clock.now = NINE
    office.dispatch()
    assert office.delivered() == {"Offer": 1}


def test_the_second_look_comes_soon(office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    email = office.prepared(alices)
    office.clock.advance(minutes=10)
    office.sandbox.mailbox(ALICE).drafts.delete(email.draft_id or "")
    looking.look(office.post, alices.id)
    asked: list[int] = []
    jobs = Jobs.__new__(Jobs)
    monkeypatch.setattr(Jobs, "defer", lambda _self, _name, *, lock, mailbox_id: asked.append(mailbox_id))
    looking.look_due(jobs, office.post)
    assert asked == []
    office.clock.advance(seconds=16)
    looking.look_due(jobs, office.post)
    assert asked == [alices.id]
    looking.look(office.post, alices.id)
    assert (office.state(email), office.read(email).reason) == (State.CANCELLED, outbox.DELETED_IN_GMAIL)


def test_a_draft_that_is_missed_once_when_it_is_changed_is_changed_all_the_same(
    office: Office, alices: Mailbox
) -> None:
    email = office.prepared(alices)
    edit(office, email, "Better")
    not_found(office, "drafts.get")
    office.prepare(alices)
    assert office.state(email) == State.PREPARING
    office.clock.advance(seconds=5)
    office.prepare(alices)
    assert (office.state(email), office.read(email).missed_at) == (State.QUEUED, None)
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "Better"}


def test_a_draft_that_is_missed_once_at_nine_goes_all_the_same(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    office.clock.now = NINE
    not_found(office, "drafts.send", "drafts.get")
    office.dispatch(rounds=1)
    assert office.state(email) == State.SENDING
    office.dispatch(rounds=6, seconds=5)
    assert (office.state(email), office.delivered()) == (State.SENT, {"Offer": 1})


# -- that a draft was changed in Gmail while it was changed here


def both(office: Office, alices: Mailbox) -> ScheduledEmail:
    """A mail that was changed in Gmail, then here, before anybody looked."""
    email = office.prepared(alices)
    office.sandbox.mailbox(ALICE).drafts.update(email.draft_id or "", GMAILS, None)
    edit(office, email, "From here")
    office.prepare(alices)
    return office.read(email)


def test_what_was_changed_in_gmail_meanwhile_is_not_overwritten(office: Office, alices: Mailbox) -> None:
    email = both(office, alices)
    assert (email.state, email.held_by, email.reason) == (State.HELD, outbox.BOTH, CHANGED_IN_BOTH)
    assert email.subject == "From here"
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "From Gmail"}
    for _ in range(2):  # nor does a look take what was written here, or another edit what stands there
        office.clock.advance(minutes=5)
        looking.look(office.post, alices.id)
        edit(office, email, "From here again")
        office.sandbox.mailbox(ALICE).drafts.update(email.draft_id or "", GMAILS, None)
        office.prepare(alices)
    assert (office.state(email), office.read(email).subject) == (State.HELD, "From here again")
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "From Gmail"}


@pytest.mark.parametrize(("gmails", "goes"), [(False, "From here"), (True, "From Gmail")])
def test_its_sender_says_which_one_goes(office: Office, alices: Mailbox, gmails: bool, goes: str) -> None:
    email = both(office, alices)
    release(office, email, gmails=gmails)
    office.prepare(alices)
    office.clock.advance(minutes=5)
    looking.look(office.post, alices.id)
    assert (office.state(email), office.read(email).subject) == (State.QUEUED, goes)
    office.clock.now = NINE
    office.dispatch()
    assert office.delivered() == {goes: 1}


def test_what_was_changed_in_both_and_is_cancelled_stays_in_gmail(office: Office, alices: Mailbox) -> None:
    email = both(office, alices)
    with transaction(office.team.sessions) as session:
        row = session.get_one(ScheduledEmail, email.id)
        outbox.cancel(session, office.viewer(alices), row, now=office.clock())
    office.prepare(alices)
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "From Gmail"}


def test_a_choice_of_tracking_leaves_what_was_changed_in_both(office: Office, alices: Mailbox) -> None:
    email = both(office, alices)
    with transaction(office.team.sessions) as session:
        row = session.get_one(ScheduledEmail, email.id)
        outbox.track(session, office.viewer(alices), row, opens=False, clicks=False)
    office.prepare(alices)
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "From Gmail"}
    assert (office.read(email).held_by, office.read(email).track_opens) == (outbox.BOTH, False)


def test_what_was_changed_in_both_is_held_again_when_its_cancelling_is_undone(
    office: Office, alices: Mailbox
) -> None:
    email = both(office, alices)
    for verb in (outbox.cancel, outbox.restore):
        with transaction(office.team.sessions) as session:
            verb(session, office.viewer(alices), session.get_one(ScheduledEmail, email.id), now=office.clock())
        office.prepare(alices)
        assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "From Gmail"}
    assert (office.state(email), office.read(email).held_by) == (State.HELD, outbox.BOTH)
    release(office, email, gmails=False)
    office.prepare(alices)
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "From here"}


def test_a_draft_that_was_missed_and_is_another_then_is_missed_no_more(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    office.sandbox.mailbox(ALICE).drafts.update(email.draft_id or "", GMAILS, None)
    edit(office, email, "From here")
    not_found(office, "drafts.get")
    office.prepare(alices)
    assert office.read(email).missed_at is not None
    office.clock.advance(seconds=5)
    office.prepare(alices)
    assert (office.read(email).held_by, office.read(email).missed_at) == (outbox.BOTH, None)


def test_a_draft_that_is_gone_at_nine_keeps_no_other_mail_waiting(office: Office, alices: Mailbox) -> None:
    first, second = (office.queue(alices, subject=one, text=one) for one in ("First", "Second"))
    office.prepare(alices)
    office.sandbox.mailbox(ALICE).drafts.delete(office.read(first).draft_id or "")
    office.clock.now = NINE
    office.dispatch(rounds=1)
    assert (office.state(first), office.state(second)) == (State.SENDING, State.SENT)


def test_our_own_change_whose_answer_was_lost_is_no_change_in_gmail(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    edit(office, email, "Better")
    office.sandbox.faults.add(Fault("lost_answer", "drafts.update", times=1))
    office.prepare(alices)
    office.clock.advance(minutes=5)
    office.prepare(alices)
    edit(office, email, "Best")
    office.prepare(alices)
    assert (office.state(email), drafts_of(office.sandbox, ALICE)) == (State.QUEUED, {email.draft_id: "Best"})


def test_a_release_of_what_nobody_changed_in_gmail_is_as_ever(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    with pytest.raises(OutboxError):
        release(office, email, gmails=True)
    with transaction(office.team.sessions) as session:
        outbox.hold(session, office.viewer(alices), session.get_one(ScheduledEmail, email.id))
    release(office, email, gmails=True)
    assert (office.state(email), office.read(email).draft_message_id) == (State.QUEUED, email.draft_message_id)
    assert office.read(email).due_at - office.clock() < timedelta(hours=2)


# -- what a person said went


def test_what_was_settled_by_hand_arrives_when_its_mail_is_found(office: Office, alices: Mailbox) -> None:
    office.team.sync(alices)
    emails = [office.queue(alices, to=f"{name}@outside.example", text=name) for name in ("dora", "eve", "ann")]
    office.prepare(alices)
    office.clock.now = NINE
    office.dispatch(rounds=2)
    lost = {"sent_at": None, "sent_gmail_id": None, "sent_thread_id": None, "rfc822_message_id": None}
    known = [office.read(email).sent_gmail_id for email in emails]
    for email, thread in zip(emails, (None, "gone", None), strict=True):  # Eve's is in another thread now
        office.set(email, state=State.UNCERTAIN.value, **lost, **({"draft_thread_id": thread} if thread else {}))
    for email in emails[:2]:
        with transaction(office.team.sessions) as session:
            row = session.get_one(ScheduledEmail, email.id)
            outbox.settle_by_hand(session, office.viewer(alices), row, went=True, now=office.clock())
    office.team.sync(alices)
    looking.arrive_all(office.post)
    found = [office.read(email) for email in emails]
    assert [one.sent_gmail_id for one in found] == [*known[:2], None]
    assert [one.message_id is not None for one in found] == [True, True, False]
