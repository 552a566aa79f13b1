"""The outbox: each arrow of the state machine, and what people do with their mail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gmail_sync.sandbox import Fault
from scheduler import due, outbox, preparing, time_zones, tz_release, whereabouts
from scheduler.due import Places
from scheduler.letters import Attachment, LetterError
from scheduler.outbox import About, Found, Guard, OutboxConflict, OutboxError, ScheduledEmail, When, Zone
from scheduler.states import ARROWS, EDITABLE, State
from tests.gmail_sync.syncing import ALICE, BOB
from tests.scheduler.sending import NINE, NOW, Office, a_letter, at_nine, days, drafts_of
from tests.tracker.domain import a_contact
from tracker import people
from tracker.db import transaction
from tracker.mailboxes import Mailbox
from tracker.people import Role, User, viewer_of

Verb = Callable[..., Any]
DRAFT: dict[str, Any] = {"draft_id": "r1", "behind": False}
#: What a row in each state holds besides.
HOLDS: dict[State, dict[str, Any]] = {
    State.PREPARING: {"behind": True},
    State.QUEUED: DRAFT,
    State.SENDING: DRAFT | {"claim_token": "t", "claimed_at": NOW},
    State.SENT: DRAFT | {"sent_at": NOW},
    State.FAILED: DRAFT,
    State.UNCERTAIN: DRAFT | {"claim_token": "t", "claimed_at": NOW},
    State.HELD: DRAFT,
    State.CANCELLED: {"behind": False},
}


def at(office: Office, mailbox: Mailbox, state: State) -> ScheduledEmail:
    """A mail that is in this state."""
    email = office.queue(mailbox)
    office.set(email, state=state.value, **holds(state, email))
    return office.read(email)


def holds(state: State, email: ScheduledEmail) -> dict[str, Any]:
    """What a row in this state holds besides."""
    return HOLDS[state] | ({"draft_id": f"r{email.id}"} if "draft_id" in HOLDS[state] else {})


def do(office: Office, verb: Verb, email: ScheduledEmail, *arguments: Any, **named: Any) -> ScheduledEmail:
    """A verb in a transaction of its own, by the mail's owner."""
    with transaction(office.team.sessions) as session:
        email = session.get_one(ScheduledEmail, email.id)
        owner = viewer_of(session.get_one(User, email.user_id), "tests")
        verb(session, owner, email, *arguments, **named)
    return office.read(email)


def test_an_arrow_goes_if_it_is_in_the_table_and_no_other(office: Office, alices: Mailbox) -> None:
    emails = {(one, to): at(office, alices, one) for one in State for to in State}
    for (one, to), email in emails.items():
        with transaction(office.team.sessions) as session:
            row = session.get_one(ScheduledEmail, email.id)
            if to in ARROWS[one]:
                assert outbox.move(session, row, to, **holds(to, email))
            else:
                with pytest.raises(OutboxError):
                    outbox.move(session, row, to, **holds(to, email))
        assert office.state(email) == (to if to in ARROWS[one] else one)


def test_of_two_who_move_it_one_does(office: Office, alices: Mailbox) -> None:
    email = at(office, alices, State.QUEUED)
    with office.team.sessions() as one, office.team.sessions() as other:
        mine, theirs = one.get_one(ScheduledEmail, email.id), other.get_one(ScheduledEmail, email.id)
        assert outbox.move(one, mine, State.HELD)
        one.commit()
        assert not outbox.move(other, theirs, State.CANCELLED)
    assert office.state(email) == State.HELD


def test_queued_a_mail_is_prepared_and_then_waits(office: Office, alices: Mailbox) -> None:
    email = office.queue(alices)
    assert email.state == State.PREPARING
    assert email.due_at == datetime(2026, 11, 24, 9, tzinfo=UTC)
    office.prepare(alices)
    assert office.state(email) == State.QUEUED
    assert drafts_of(office.sandbox, ALICE) == {office.read(email).draft_id: "Offer"}


def test_the_recipients_nine_is_what_counts(office: Office, alices: Mailbox) -> None:
    assert office.queue(alices, when=at_nine("America/New_York")).due_at == datetime(2026, 11, 24, 14, tzinfo=UTC)


def test_a_time_that_has_passed_is_refused(office: Office, alices: Mailbox) -> None:
    with pytest.raises(OutboxError, match="has passed"):
        office.queue(alices, when=at_nine("Asia/Tokyo"))


def test_a_mail_without_recipients_is_refused(office: Office, alices: Mailbox) -> None:
    with pytest.raises(LetterError, match="recipient"):
        office.queue(alices, to=())


def test_an_edited_mail_is_prepared_again_in_the_same_draft(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    letter = a_letter(ALICE, "eve@outside.example", "Better offer")
    edited = do(office, outbox.edit, email, letter, now=office.clock())
    assert (edited.state, edited.subject, edited.recipients) == (
        State.PREPARING, "Better offer", ["eve@outside.example"],
    )  # fmt: skip
    office.prepare(alices)
    assert office.state(email) == State.QUEUED
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "Better offer"}
    assert office.events(email) == ["queued", "edited"]


def test_a_held_mail_that_is_edited_stays_held_and_its_draft_follows(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    do(office, outbox.hold, email, "wait for the boss")
    do(office, outbox.edit, email, a_letter(ALICE, subject="Better"), now=office.clock())
    office.prepare(alices)
    held = office.read(email)
    assert (held.state, held.reason, held.behind) == (State.HELD, "wait for the boss", False)
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "Better"}


def test_a_released_mail_waits_again(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    do(office, outbox.hold, email)
    assert do(office, outbox.release, email, now=office.clock()).state == State.QUEUED


def test_a_mail_released_before_its_draft_was_made_is_prepared(office: Office, alices: Mailbox) -> None:
    email = office.queue(alices)
    do(office, outbox.hold, email)
    assert do(office, outbox.release, email, now=office.clock()).state == State.PREPARING


def test_a_held_mail_whose_time_has_passed_needs_another(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    do(office, outbox.hold, email)
    office.clock.advance(hours=2)
    with pytest.raises(OutboxError, match="has passed"):
        do(office, outbox.release, email, now=office.clock())
    later = When(NINE + timedelta(days=1), "Europe/London")
    assert do(office, outbox.release, email, later, now=office.clock()).state == State.QUEUED


def test_what_a_guard_held_is_not_held_by_it_again(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    do(office, outbox.hold, email, by="answered")
    assert do(office, outbox.release, email, now=office.clock()).guards_off == ["answered"]


def test_rescheduling_keeps_the_draft(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    later = When(NINE + timedelta(days=1), "Europe/London", Zone.FIXED)
    moved = do(office, outbox.reschedule, email, later, now=office.clock())
    assert (moved.state, moved.zone_rule, moved.draft_id) == (State.QUEUED, Zone.FIXED, email.draft_id)
    assert moved.next_at == moved.due_at == datetime(2026, 11, 25, 9, tzinfo=UTC)


def test_send_now_needs_no_nine(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    do(office, outbox.send_now, email, now=office.clock())
    office.dispatch()
    assert office.state(email) == State.SENT


def test_a_cancelled_mails_draft_goes(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    assert do(office, outbox.cancel, email, now=office.clock()).state == State.CANCELLED
    office.prepare(alices)
    assert drafts_of(office.sandbox, ALICE) == {}
    office.clock.advance(hours=2)
    office.dispatch()
    assert office.delivered() == {}


def test_cancelling_can_be_taken_back_before_and_after_the_draft_went(office: Office, alices: Mailbox) -> None:
    soon, late = office.prepared(alices, subject="Soon"), office.prepared(alices, subject="Late")
    for email in (soon, late):
        do(office, outbox.cancel, email, now=office.clock())
        if email is late:
            office.prepare(alices)
        else:
            do(office, outbox.restore, email, now=office.clock())
            office.prepare(alices)
    do(office, outbox.restore, late, now=office.clock())
    office.prepare(alices)
    assert (office.state(soon), office.state(late)) == (State.QUEUED, State.QUEUED)
    assert sorted(drafts_of(office.sandbox, ALICE).values()) == ["Late", "Soon"]


def test_what_is_going_out_can_no_longer_be_changed(office: Office, alices: Mailbox) -> None:
    email = at(office, alices, State.SENDING)
    verbs: list[tuple[Verb, tuple[Any, ...]]] = [
        (outbox.edit, (a_letter(ALICE),)), (outbox.reschedule, (at_nine(),)), (outbox.send_now, ()),
        (outbox.cancel, ()),
    ]  # fmt: skip
    for verb, arguments in verbs:
        with pytest.raises(OutboxConflict, match="going out already"):
            do(office, verb, email, *arguments, now=office.clock())
    with pytest.raises(OutboxConflict, match="going out already"):
        do(office, outbox.hold, email)


def test_a_form_that_is_behind_is_told_so(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    do(office, outbox.hold, email, version=email.version)
    with pytest.raises(OutboxConflict, match="changed meanwhile"):
        do(office, outbox.release, email, now=office.clock(), version=email.version)


def test_only_its_owner_sends_from_a_mailbox_and_changes_what_waits(office: Office, alices: Mailbox) -> None:
    office.team.connect(BOB)
    email = office.prepared(alices)
    with transaction(office.team.sessions) as session:
        bob = people.by_address(session, BOB)
        assert bob is not None
        viewer = viewer_of(bob, "tests")
        row = session.get_one(ScheduledEmail, email.id)
        with pytest.raises(PermissionError):
            outbox.hold(session, viewer, row)
        with pytest.raises(PermissionError):
            outbox.queue(session, viewer, alices, a_letter(ALICE), at_nine(), About(), now=office.clock())
        assert outbox.by_key(session, viewer, email.key) is None
        assert outbox.listed(session, viewer, State, everybody=True) == []


# -- which guards look at it


def test_its_owner_chooses_which_guards_keep_quiet(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    chosen = do(office, outbox.guard, email, {Guard.SAME_TEXT, Guard.ANSWERED}, version=email.version)
    assert chosen.guards_off == ["answered", "same_text"]
    assert (chosen.state, chosen.due_at, chosen.version) == (email.state, email.due_at, email.version + 1)
    assert do(office, outbox.guard, email, ()).guards_off == []
    assert office.events(email) == ["queued", "guarded", "guarded"]


@pytest.mark.parametrize("state", [one for one in State if one not in EDITABLE])
def test_the_guards_of_what_is_no_longer_waiting_stay(office: Office, alices: Mailbox, state: State) -> None:
    email = at(office, alices, state)
    with pytest.raises(OutboxConflict):
        do(office, outbox.guard, email, {Guard.ANSWERED})
    assert office.read(email).guards_off == []


def test_of_two_who_choose_guards_the_one_who_saw_less_is_told(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    do(office, outbox.guard, email, {Guard.ANSWERED})
    with pytest.raises(OutboxConflict, match="changed meanwhile"):
        do(office, outbox.guard, email, (), version=email.version)
    with office.team.sessions() as one:
        mine = one.get_one(ScheduledEmail, email.id)
        do(office, outbox.hold, email)
        owner = viewer_of(one.get_one(User, email.user_id), "tests")
        with pytest.raises(OutboxConflict, match="meanwhile"):
            outbox.guard(one, owner, mine, ())
    assert office.read(email).guards_off == ["answered"]


@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN])
def test_nobody_chooses_the_guards_of_anothers_mail(office: Office, alices: Mailbox, role: Role) -> None:
    office.team.connect(BOB)
    email = office.prepared(alices)
    with transaction(office.team.sessions) as session:
        bob = people.by_address(session, BOB)
        assert bob is not None
        bob.role = role
        with pytest.raises(PermissionError):
            outbox.guard(session, viewer_of(bob, "tests"), session.get_one(ScheduledEmail, email.id), list(Guard))
    assert office.read(email).guards_off == []


def test_a_persons_word_settles_an_uncertain_mail(office: Office, alices: Mailbox) -> None:
    went = at(office, alices, State.UNCERTAIN)
    assert do(office, outbox.settle_by_hand, went, went=True, now=office.clock()).state == State.SENT
    lost = at(office, alices, State.UNCERTAIN)
    assert do(office, outbox.settle_by_hand, lost, went=False, now=office.clock()).state == State.CANCELLED


def test_a_draft_of_gmails_is_scheduled_once(office: Office, alices: Mailbox) -> None:
    draft = Found("r7", "m7", "t7", "From my phone", ("Dora <dora@outside.example>",), ("dora@outside.example",))
    with transaction(office.team.sessions) as session:
        viewer = office.viewer(alices)
        email = outbox.queue_draft(session, viewer, alices, draft, at_nine(), About(), now=office.clock())
        assert (email.state, email.subject) == (State.QUEUED, "From my phone")
        with pytest.raises(OutboxError, match="scheduled already"):
            outbox.queue_draft(session, viewer, alices, draft, at_nine(), About(), now=office.clock())


def test_a_list_pages(office: Office, alices: Mailbox) -> None:
    emails = [office.queue(alices, subject=str(number)) for number in range(5)]
    with office.team.sessions() as session:
        viewer, seen, after = office.viewer(alices), list[str](), None
        while page := outbox.listed(session, viewer, [State.PREPARING], after=after, limit=2):
            seen += [email.subject for email in page]
            after = (page[-1].due_at, page[-1].id)
    assert seen == [email.subject for email in emails]


# -- when it is due is worked out late


def corrected(office: Office, zone: str) -> Office:
    """The same office, which has learnt where its recipients are."""
    return office.with_post(places=Places(lambda _session, _email, _now: (zone, None)))


def test_mail_made_before_a_zone_was_corrected_goes_at_the_new_nine(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    knows = corrected(office, "America/New_York")
    office.clock.advance(minutes=31)
    with transaction(office.team.sessions) as session:
        assert due.refresh(session, knows.post.places, office.clock()) == 1
    moved = office.read(email)
    assert moved.due_at == datetime(2026, 11, 24, 14, tzinfo=UTC)
    assert (moved.wall_time, moved.zone) == (NINE, "America/New_York")
    assert "moved" in office.events(email)


def test_a_contact_that_is_corrected_takes_its_mail_along_at_once(office: Office, alices: Mailbox) -> None:
    with transaction(office.team.sessions) as session:
        contact = a_contact(session, office.viewer(alices), "dora@outside.example")
    email = office.prepared(alices)
    assert email.contact_id == contact.id
    with transaction(office.team.sessions) as session:
        places = corrected(office, "America/New_York").post.places
        assert due.contact_moved(session, places, contact.id, office.clock()) == 1
    assert office.read(email).zone == "America/New_York"


def test_a_zone_set_by_hand_moves_what_waits_in_the_same_transaction(office: Office, alices: Mailbox) -> None:
    knows = office.with_post(places=whereabouts.places())
    with transaction(office.team.sessions) as session:
        contact = a_contact(session, office.viewer(alices), "dora@outside.example")
    email = office.prepared(alices)
    with transaction(office.team.sessions) as session:
        owner = viewer_of(session.get_one(User, alices.user_id), "tests")
        time_zones.set_by_hand(session, owner, contact.id, "America/New_York", office.clock())
    moved = office.read(email)
    assert (moved.zone, moved.due_at) == ("America/New_York", datetime(2026, 11, 24, 14, tzinfo=UTC))
    office.clock.advance(hours=6)
    knows.dispatch()
    assert office.state(email) == State.SENT


def test_other_zone_rules_are_applied_to_all_that_waits(office: Office, alices: Mailbox) -> None:
    far = When(datetime(2027, 5, 4, 9), "Europe/London")
    email = office.prepared(alices, when=far)
    # As an earlier release had it: London without summer time.
    office.set(email, rules="2019a", due_at=datetime(2027, 5, 4, 9, tzinfo=UTC), next_at=NOW + timedelta(days=100))
    with transaction(office.team.sessions) as session:
        assert due.refresh(session, office.post.places, office.clock()) == 1
        assert due.refresh(session, office.post.places, office.clock()) == 0
    fresh = office.read(email)
    assert fresh.due_at == fresh.next_at == datetime(2027, 5, 4, 8, tzinfo=UTC)
    assert fresh.rules == tz_release.current()


def test_a_day_that_turns_out_to_be_free_moves_it(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    free = Places(team_days=lambda _session, _team: days("2026-11-24", "2026-11-25"))
    office.clock.advance(minutes=31)
    with transaction(office.team.sessions) as session:
        due.refresh(session, free, office.clock())
    moved = office.read(email)
    assert moved.due_at == datetime(2026, 11, 26, 9, tzinfo=UTC)
    assert "Company day" in (moved.moved_why or "")


def test_a_senders_nine_follows_the_sender(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices, when=at_nine(rule=Zone.SENDER))
    with transaction(office.team.sessions) as session:
        session.get_one(User, alices.user_id).time_zone = "America/Chicago"
    office.clock.advance(minutes=31)
    with transaction(office.team.sessions) as session:
        due.refresh(session, office.post.places, office.clock())
    assert office.read(email).due_at == datetime(2026, 11, 24, 15, tzinfo=UTC)


# -- preparing


def test_gmails_refusal_of_a_draft_is_told(office: Office, alices: Mailbox) -> None:
    office.sandbox.faults.add(Fault("status", "drafts.create", status=400, reason="invalidArgument"))
    email = office.queue(alices)
    office.prepare(alices)
    failed = office.read(email)
    assert failed.state == State.FAILED
    assert "refused" in (failed.reason or "")
    assert failed.remedy
    assert office.events(email) == ["queued", "failed"]


def test_a_reply_joins_its_thread(office: Office, alices: Mailbox) -> None:
    box = office.sandbox.mailbox(ALICE)
    first = box.insert(b"From: dora@outside.example\r\nTo: alice@team.example\r\nSubject: Plan\r\n"
                       b"Message-ID: <p1@outside.example>\r\n\r\nHello\r\n")  # fmt: skip
    thread = box.messages.get(first).short["threadId"]
    about = About(reply_thread_id=thread)
    email = office.prepared(
        alices,
        subject="Re: Plan",
        about=about,
        in_reply_to="p1@outside.example",
        references=("p1@outside.example",),
    )
    assert email.draft_thread_id == thread
    office.clock.advance(hours=1)
    office.dispatch()
    sent = office.read(email)
    assert sent.sent_thread_id == thread
    assert office.delivered() == {"Re: Plan": 1}


def test_a_reply_to_a_thread_that_was_deleted_still_goes(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices, subject="Re: Plan", about=About(reply_thread_id="00000000000000aa"))
    assert email.state == State.QUEUED


def test_drafts_in_gmail_are_listed_and_read(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices, subject="Grüße")
    found, more = preparing.drafts_in_gmail(office.post, alices.id)
    assert ([one.subject for one in found], more) == (["Grüße"], None)
    assert found[0].recipients == ("dora@outside.example",)
    assert preparing.draft_letter(office.post, alices.id, email.draft_id or "").text.strip() == "Good morning."


def test_a_large_attachment_is_uploaded(office: Office, alices: Mailbox) -> None:
    file = Attachment("plan.pdf", "application/pdf", bytes(range(256)) * 3_100)
    email = office.prepared(alices, attachments=(file,))
    assert email.state == State.QUEUED, email.reason
    letter = preparing.draft_letter(office.post, alices.id, email.draft_id or "")
    assert letter.attachments[0].content == file.content
