"""Going out: claims, sends, settles; late mail, Gmail's moods, what people do in Gmail meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from gmail_sync import drafts
from gmail_sync.drafts import Headers
from gmail_sync.sandbox import Fault
from scheduler import claims, locks, looking, outbox, settling
from scheduler.due import Places
from scheduler.local_time import LateRule
from scheduler.outbox import About, ScheduledEmail
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE, BOB
from tests.scheduler.sending import Office, at_nine, days, drafts_of, unblock
from tests.tracker.domain import a_box
from tracker import conversations, filing, mailboxes
from tracker.conversations import Conversation
from tracker.db import transaction
from tracker.events import Event
from tracker.mailboxes import Mailbox


def nine(office: Office, *, minutes: float = 0) -> None:
    """It is nine in London, and some minutes."""
    office.clock.now = datetime(2026, 11, 24, 9, tzinfo=UTC) + timedelta(minutes=minutes)


def test_mail_goes_at_nine_there_once_with_its_real_ids(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    nine(office, minutes=-0.1)
    office.dispatch()
    assert (office.state(email), office.delivered()) == (State.QUEUED, {})
    nine(office)
    office.dispatch()
    sent = office.read(email)
    box = office.sandbox.mailbox(ALICE)
    assert (sent.state, sent.sent_at) == (State.SENT, office.clock())
    assert sent.sent_gmail_id in box.message_ids()
    assert "@mail.gmail.com" in (sent.rfc822_message_id or "")
    assert office.delivered() == {"Offer": 1}
    assert drafts_of(office.sandbox, ALICE) == {}
    office.dispatch()
    assert office.delivered() == {"Offer": 1}
    assert office.events(email) == ["queued", "sent"]


def test_only_the_send_remains_at_nine(office: Office, alices: Mailbox) -> None:
    office.prepared(alices)
    nine(office)
    office.sandbox.stats.reset()
    office.dispatch()
    assert office.sandbox.stats.calls(ALICE) == {"drafts.send": 1, "messages.get": 1}


def test_many_go_in_the_order_they_are_due(office: Office, alices: Mailbox) -> None:
    for number in range(12):
        office.queue(alices, subject=str(number), text=str(number))
    office.prepare(alices)
    nine(office)
    office.dispatch()
    assert office.delivered() == {str(number): 1 for number in range(12)}
    with office.team.sessions() as session:
        order = select(ScheduledEmail.subject).order_by(ScheduledEmail.sent_gmail_id)
        assert list(session.scalars(order)) == [str(number) for number in range(12)]


def test_what_was_sent_is_found_in_the_store_and_in_its_box(office: Office, alices: Mailbox) -> None:
    office.team.sync(alices)
    with transaction(office.team.sessions) as session:
        box = a_box(session, office.viewer(alices), "Dora's deal")
    email = office.prepared(alices, about=About(box=box))
    nine(office)
    office.dispatch()
    assert office.team.read(alices).wanted_at is not None
    office.team.sync(alices)
    looking.arrive_all(office.post)
    sent = office.read(email)
    assert sent.message_id is not None
    with office.team.sessions() as session:
        found = filing.of_conversations(session, [sent.conversation_id or 0])[sent.conversation_id or 0]
        filed = [(one.box_id, one.reason) for one in found if one.state == filing.FILED]
        assert filed == [(box.id, "because it was sent from this box")]
        kinds = set(session.scalars(select(Event.kind).where(Event.box_id == box.id)))
    assert {"email.queued", "email.sent", "conversation.filed"} <= kinds


# -- Gmail's moods


@pytest.mark.parametrize("kind", ["drop", "lost_answer"])
def test_a_lost_connection_is_asked_about_not_repeated(office: Office, alices: Mailbox, kind: str) -> None:
    email = office.prepared(alices)
    nine(office)
    office.sandbox.faults.add(Fault(kind, "drafts.send", times=1))  # type: ignore[arg-type]
    office.dispatch(rounds=1)
    assert office.state(email) == State.SENDING
    unblock(office.team, alices)
    office.dispatch(rounds=20, seconds=3)
    assert office.state(email) == State.SENT
    assert office.delivered() == {"Offer": 1}
    assert office.events(email) == ["queued", "sent"]
    assert office.sandbox.stats.calls(ALICE)["drafts.send"] <= (2 if kind == "drop" else 1)


@pytest.mark.parametrize(("status", "reason"), [(429, "rateLimitExceeded"), (503, "backendError")])
def test_a_storm_is_waited_for(office: Office, alices: Mailbox, status: int, reason: str) -> None:
    emails = [office.queue(alices, subject=str(number), text=str(number)) for number in range(4)]
    office.prepare(alices)
    nine(office)
    fault = office.sandbox.faults.add(Fault("status", "drafts.*", status=status, reason=reason, times=12))
    for _ in range(60):
        office.dispatch(rounds=1, seconds=5)
        unblock(office.team, alices)
    assert fault.hits == 12
    assert {office.state(email) for email in emails} == {State.SENT}
    assert office.delivered() == {str(number): 1 for number in range(4)}


def test_a_refusal_fails_with_the_reason_and_what_to_do(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    nine(office)
    bad = {"status": 400, "reason": "invalidArgument", "message": "Invalid To header"}
    office.sandbox.faults.add(Fault("status", "drafts.send", times=1, **bad))  # type: ignore[arg-type]
    office.dispatch()
    failed = office.read(email)
    assert failed.state == State.FAILED
    assert "Invalid To header" in (failed.reason or "")
    assert failed.remedy
    assert office.delivered() == {}


def test_where_gmail_refuses_to_say_what_became_of_a_mail_the_others_go(office: Office, alices: Mailbox) -> None:
    first = office.prepared(alices, subject="First")
    office.prepared(alices, subject="Second", text="Another text")
    nine(office)
    faults = office.sandbox.faults
    faults.add(Fault("lost_answer", "drafts.send", times=1))
    faults.add(Fault("status", "drafts.get", status=400, reason="failedPrecondition"))
    office.dispatch()
    for minute in (3, 6):
        nine(office, minutes=minute)
        unblock(office.team, alices)
        office.dispatch()
    assert (office.state(first), office.delivered()) == (State.SENDING, {"First": 1, "Second": 1})
    faults.clear()
    nine(office, minutes=9)
    office.dispatch()
    assert (office.state(first), office.delivered()) == (State.SENT, {"First": 1, "Second": 1})


def test_a_draft_deleted_in_gmail_at_the_last_moment_cancels(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    office.sandbox.mailbox(ALICE).drafts.delete(email.draft_id or "")
    nine(office)
    office.dispatch(rounds=4, seconds=5)
    cancelled = office.read(email)
    assert (cancelled.state, cancelled.reason) == (State.CANCELLED, outbox.DELETED_IN_GMAIL)


def test_what_nobody_can_know_is_uncertain_and_never_sent_again(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    nine(office)
    office.sandbox.faults.add(Fault("lost_answer", "drafts.send", times=1))
    office.dispatch(rounds=1)
    box = office.sandbox.mailbox(ALICE)
    for id_ in box.message_ids():  # the rep deletes the sent mail for good, at once
        box.delete(id_)
    unblock(office.team, alices)
    office.dispatch(rounds=60, seconds=5)
    uncertain = office.read(email)
    assert (uncertain.state, bool(uncertain.reason), bool(uncertain.remedy)) == (State.UNCERTAIN, True, True)
    office.dispatch(rounds=5, seconds=600)
    assert office.sandbox.stats.calls(ALICE)["drafts.send"] == 1
    assert office.delivered() == {"Offer": 1}
    assert office.events(email) == ["queued", "uncertain"]


def test_access_that_was_revoked_keeps_mail_waiting_until_its_owner_connects_again(
    office: Office, alices: Mailbox
) -> None:
    email = office.prepared(alices)
    office.sandbox.mailbox(ALICE).revoke()
    nine(office)
    office.dispatch()
    assert office.team.read(alices).state == mailboxes.State.ATTENTION
    waits = office.read(email)
    assert (waits.state, waits.attempts) == (State.QUEUED, 0)
    office.team.connect(ALICE)
    office.dispatch()
    assert office.state(email) == State.SENT


def test_the_quota_sets_the_pace(office: Office, alices: Mailbox) -> None:
    slow = office.team.with_services(units_per_minute=250, now=office.clock, patience=0.0)
    for number in range(3):
        office.queue(alices, subject=str(number), text=str(number))
    office.prepare(alices)
    nine(office)
    office.with_post(gmail=slow.services).dispatch(rounds=3)
    with office.team.sessions() as session:
        left = session.scalar(select(func.count()).where(ScheduledEmail.state == State.QUEUED))
    assert left == 3  # five were wanted at a time, and only two can be paid for: none is begun in vain
    assert office.delivered() == {}


# -- one worker a mailbox


def test_a_mailbox_is_one_workers_at_a_time(office: Office, alices: Mailbox) -> None:
    bobs = office.team.connect(BOB)
    mine, theirs = office.prepared(alices), office.prepared(bobs, subject="Bob's")
    nine(office)
    with locks.alone(office.post.engine, locks.SENDING, alices.id):
        office.dispatch()
        assert (office.state(mine), office.state(theirs)) == (State.QUEUED, State.SENT)
    office.dispatch()
    assert office.state(mine) == State.SENT


def test_a_claim_is_not_swept_while_its_claimer_lives(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    nine(office)
    with locks.alone(office.post.engine, locks.SENDING, alices.id):
        with transaction(office.team.sessions) as session:
            assert len(claims.claim(session, office.post, [alices.id], 5, office.clock())) == 1
        office.clock.advance(hours=1)
        office.dispatch()
        assert office.state(email) == State.SENDING
    office.dispatch()
    assert office.state(email) == State.SENT


def test_a_claim_that_was_taken_over_is_not_settled_by_its_former_holder(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    nine(office)
    with transaction(office.team.sessions) as session:
        (mine,) = claims.claim(session, office.post, [alices.id], 5, office.clock())
    office.set(email, claim_token="another's")
    with transaction(office.team.sessions) as session:
        assert settling.settle(session, [settling.Outcome(mine, State.FAILED)]) == set()
    assert office.state(email) == State.SENDING


def test_no_more_is_claimed_than_was_asked_for(office: Office, alices: Mailbox) -> None:
    for number in range(4):
        office.queue(alices, subject=str(number), text=str(number))
    office.prepare(alices)
    nine(office)
    with transaction(office.team.sessions) as session:
        assert len(claims.claim(session, office.post, [alices.id], 3, office.clock())) == 3
        assert len(claims.claim(session, office.post, [alices.id], 3, office.clock())) == 1
        assert claims.claim(session, office.post, [alices.id], 3, office.clock()) == []


# -- late


@pytest.mark.parametrize(
    ("rule", "hour", "sent_on"),
    [
        (LateRule.MORNING, 11, "2026-11-24T11"),
        (LateRule.MORNING, 14, "2026-11-25T09"),
        (LateRule.WORKING_HOURS, 14, "2026-11-24T14"),
        (LateRule.WORKING_HOURS, 22, "2026-11-25T09"),
        (LateRule.NEXT_NINE, 10, "2026-11-25T09"),
    ],
)
def test_late_mail_follows_its_rule(
    office: Office, alices: Mailbox, rule: LateRule, hour: int, sent_on: str
) -> None:
    email = office.prepared(alices, when=at_nine(late=rule))
    office.clock.now = datetime(2026, 11, 24, hour, tzinfo=UTC)  # nobody was there at nine
    office.dispatch(rounds=3)
    if office.state(email) != State.SENT:
        assert office.read(email).moved_why
        office.clock.now = office.read(email).due_at
        office.dispatch()
    at = office.read(email).sent_at
    assert at is not None
    assert at.isoformat().startswith(sent_on)


def test_late_mail_does_not_go_on_a_day_off(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    places = Places(team_days=lambda _session, _team: days("2026-11-25"))
    office.clock.now = datetime(2026, 11, 24, 20, tzinfo=UTC)
    office.with_post(places=places).dispatch(rounds=2)
    assert office.read(email).due_at == datetime(2026, 11, 26, 9, tzinfo=UTC)


def test_a_zone_that_moved_west_is_noticed_even_at_the_last_moment(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    office.set(email, resolved_at=office.clock() - timedelta(days=3))
    nine(office)
    office.with_post(places=Places(lambda _session, _email, _now: ("America/New_York", None))).dispatch()
    moved = office.read(email)
    assert (moved.state, moved.due_at) == (State.QUEUED, datetime(2026, 11, 24, 14, tzinfo=UTC))


# -- what people do in Gmail


def test_a_draft_edited_in_gmail_goes_out_as_edited_and_is_shown_so(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    raw = b"From: alice@team.example\r\nTo: dora@outside.example, eve@outside.example\r\nSubject: Nicer\r\n\r\nHi"
    office.sandbox.mailbox(ALICE).drafts.update(email.draft_id or "", raw, None)
    office.clock.advance(minutes=10)
    looking.look(office.post, alices.id)
    shown = office.read(email)
    assert (shown.subject, shown.recipients) == ("Nicer", ["dora@outside.example", "eve@outside.example"])
    assert shown.edited_in_gmail_at is not None
    assert outbox.letter_of(_with_raw(office, email)) is None
    nine(office)
    office.dispatch()
    assert office.delivered() == {"Nicer": 1}
    assert office.events(email) == ["queued", "edited_in_gmail", "sent"]


def _with_raw(office: Office, email: ScheduledEmail) -> ScheduledEmail:
    with office.team.sessions() as session:
        found = session.get_one(ScheduledEmail, email.id)
        assert found.raw is None
        return found


@pytest.mark.parametrize("held", [False, True])
def test_a_draft_deleted_in_gmail_cancels_and_says_so(office: Office, alices: Mailbox, held: bool) -> None:
    email = office.prepared(alices)
    if held:
        office.set(email, state=State.HELD.value)
    office.sandbox.mailbox(ALICE).drafts.delete(email.draft_id or "")
    office.clock.advance(minutes=10)
    looking.look(office.post, alices.id)
    office.clock.advance(seconds=15)
    looking.look(office.post, alices.id)
    cancelled = office.read(email)
    assert (cancelled.state, cancelled.reason) == (State.CANCELLED, outbox.DELETED_IN_GMAIL)
    assert office.events(email) == ["queued", "cancelled"]


def test_a_draft_sent_by_hand_in_gmail_is_sent(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    box = office.sandbox.mailbox(ALICE)
    raw = box.messages.raw(box.drafts.message(email.draft_id or ""))
    office.sandbox.send(box, raw, draft_id=email.draft_id)
    office.clock.advance(minutes=10)
    looking.look(office.post, alices.id)
    assert (office.state(email), office.read(email).reason) == (State.SENT, "you sent it yourself in Gmail")
    nine(office)
    office.dispatch()
    assert office.delivered() == {"Offer": 1}


def test_looking_at_drafts_that_are_as_they_should_be_changes_nothing(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    office.clock.advance(minutes=10)
    office.sandbox.stats.reset()
    looking.look(office.post, alices.id)
    assert office.read(email).version == email.version
    assert office.sandbox.stats.units_total(ALICE) == 5


def test_an_edit_does_not_bring_back_what_was_deleted_in_gmail(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    office.sandbox.mailbox(ALICE).drafts.delete(email.draft_id or "")
    office.set(email, state=State.PREPARING.value, behind=True)
    office.prepare(alices)
    office.clock.advance(seconds=5)
    office.prepare(alices)
    assert (office.state(email), office.read(email).reason) == (State.CANCELLED, outbox.DELETED_IN_GMAIL)


def test_a_conversation_that_is_merged_takes_its_mail_along(office: Office, alices: Mailbox) -> None:
    with transaction(office.team.sessions) as session:
        one, other = (Conversation(team_id=alices.team_id, subject=name) for name in "ab")
        session.add_all([one, other])
    email = office.queue(alices, about=About(conversation=other))
    with transaction(office.team.sessions) as session:
        for follow in conversations.on_merge:
            follow(session, other.id, one.id)
    assert office.read(email).conversation_id == one.id


def test_the_trace_of_a_mail_is_found_by_its_key_before_its_looks() -> None:
    def message(id_: str, *, key: str | None = None, subject: str = "Re: Plan", minutes: int = 5) -> Headers:
        at = datetime(2026, 11, 24, 9, minutes, tzinfo=UTC)
        return Headers(id_, "t", frozenset({"SENT"}), at, key, subject, (), ("d@x.example",), None, "")

    trace = drafts.Trace("k", "t", "Re: Plan", frozenset({"d@x.example"}), datetime(2026, 11, 24, 9, tzinfo=UTC))
    by_hand, ours, another = message("1", minutes=9), message("2", key="k"), message("3", key="other", minutes=9)
    assert drafts.which_is(trace, [by_hand, ours, another]) == ours
    assert drafts.which_is(trace, [by_hand, another]) == by_hand
    assert drafts.which_is(trace, [another, message("4", subject="Re: Other")]) is None
