"""Preparing and looking: drafts that Gmail does not see to, and what people did with them in Gmail meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gmail_sync import drafts
from gmail_sync.drafts import Headers
from gmail_sync.errors import Transient
from gmail_sync.sandbox import Fault
from scheduler import looking, outbox, preparing
from scheduler.outbox import About, Found, OutboxConflict, ScheduledEmail
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE
from tests.scheduler.sending import Office, at_nine, drafts_of, unblock
from tests.tracker.domain import a_contact
from tracker.db import transaction
from tracker.jobs import Again
from tracker.mailboxes import Mailbox


def cancel(office: Office, email: ScheduledEmail, mailbox: Mailbox) -> None:
    with transaction(office.team.sessions) as session:
        row = session.get_one(ScheduledEmail, email.id)
        outbox.cancel(session, office.viewer(mailbox), row, now=office.clock())


def send_by_hand(office: Office, email: ScheduledEmail) -> None:
    box = office.sandbox.mailbox(ALICE)
    raw = box.messages.raw(box.drafts.message(email.draft_id or ""))
    office.sandbox.send(box, raw, draft_id=email.draft_id)


def test_a_draft_that_gmail_does_not_make_holds_up_no_other(office: Office, alices: Mailbox) -> None:
    bad, good = office.queue(alices, subject="Bad"), office.queue(alices, subject="Good")
    waits = []
    for _ in range(4):
        office.sandbox.faults.clear()
        office.sandbox.faults.add(Fault("status", "drafts.create", status=503, reason="x", times=1))
        with pytest.raises(Again):
            preparing.prepare_mailbox(office.post, alices.id)
        unblock(office.team, alices)
        waits.append(office.read(bad).try_at - office.clock())
        preparing.prepare_mailbox(office.post, alices.id)
        assert office.state(good) == State.QUEUED
        office.clock.now = office.read(bad).try_at
        good = office.queue(alices, subject="Another")
    assert waits == sorted(waits)
    assert waits[0] >= preparing.LEAST_WAIT
    assert waits[-1] <= preparing.LONGEST_WAIT
    office.prepare(alices)
    assert office.state(bad) == State.QUEUED


def test_a_draft_on_which_we_stumble_holds_up_no_other(
    office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = office.queue(alices, subject="Bad"), office.queue(alices, subject="Good")
    create = drafts.create

    def stumbles(gmail: drafts.Gmail, raw: bytes, key: str, thread_id: str | None = None) -> drafts.Draft:
        if key == bad.key:
            raise KeyError("id")
        return create(gmail, raw, key, thread_id)

    monkeypatch.setattr(drafts, "create", stumbles)
    preparing.prepare_mailbox(office.post, alices.id)
    assert (office.state(bad), office.state(good)) == (State.PREPARING, State.QUEUED)
    assert office.read(bad).try_at > office.clock()


def test_what_was_sent_by_hand_and_then_cancelled_here_is_sent(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    send_by_hand(office, email)
    cancel(office, email, alices)
    office.prepare(alices)
    sent = office.read(email)
    assert (sent.state, bool(sent.sent_gmail_id), sent.behind) == (State.SENT, True, False)
    assert office.events(email) == ["queued", "cancelled", "sent"]
    with office.team.sessions() as session:
        row = session.get_one(ScheduledEmail, email.id)
        with pytest.raises(OutboxConflict):
            outbox.restore(session, office.viewer(alices), row, now=office.clock())


def test_what_was_deleted_in_gmail_and_cancelled_here_is_cancelled(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    office.sandbox.mailbox(ALICE).drafts.delete(email.draft_id or "")
    cancel(office, email, alices)
    office.prepare(alices)
    gone = office.read(email)
    assert (gone.state, gone.draft_id, gone.behind) == (State.CANCELLED, None, False)


def test_whoever_cancels_what_they_saw_before_gmail_was_asked_is_told(
    office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = office.queue(alices)
    with office.team.sessions() as session:
        seen = session.get_one(ScheduledEmail, email.id)

        def dies(*_: object) -> None:
            raise Transient("no answer", 1.0)

        with monkeypatch.context() as patched:
            patched.setattr(drafts, "create", dies)
            with pytest.raises(Again):
                preparing.prepare_mailbox(office.post, alices.id)
        with pytest.raises(OutboxConflict, match="meanwhile"):
            outbox.cancel(session, office.viewer(alices), seen, now=office.clock())
    cancel(office, email, alices)
    assert office.read(email).behind
    office.prepare(alices)
    assert drafts_of(office.sandbox, ALICE) == {}


def test_a_reply_that_was_written_in_gmail_is_one_here(office: Office, alices: Mailbox) -> None:
    raw = (
        b"From: alice@team.example\r\nTo: dora@outside.example\r\nSubject: Re: x\r\nIn-Reply-To: <a@b.c>\r\n\r\nHi"
    )
    email = office.prepared(alices)
    office.sandbox.mailbox(ALICE).drafts.update(email.draft_id or "", raw, None)
    (draft,), _ = preparing.drafts_in_gmail(office.post, alices.id)
    assert draft.is_reply
    cancel(office, email, alices)
    with transaction(office.team.sessions) as session:
        viewer = office.viewer(alices)
        reply = outbox.queue_draft(session, viewer, alices, draft, at_nine(), About(), now=office.clock())
    assert office.read(reply).is_reply
    assert not preparing.trace_of(reply).own_thread
    assert not Found("r", "m", "t").is_reply


def test_a_thread_with_an_earlier_message_did_not_begin_with_the_draft() -> None:
    nine = datetime(2026, 11, 24, 9, tzinfo=UTC)

    def message(id_: str, label: str, minutes: int) -> Headers:
        at = nine + timedelta(minutes=minutes)
        return Headers(id_, "t", frozenset({label}), at, None, "Edited", (), ("e@x.example",), None, "")

    trace = drafts.Trace("k", "t", "Offer", frozenset({"d@x.example"}), nine, own_thread=True)
    sent, answer = message("1", "SENT", 5), message("2", "INBOX", 6)
    assert drafts.which_is(trace, [sent, answer]) == sent
    assert drafts.which_is(trace, [message("0", "INBOX", -5), sent]) is None
    assert drafts.which_is(trace, [message("0", "SENT", -5), sent]) is None


def test_what_was_settled_by_hand_is_not_looked_for(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices)
    values = {"before": office.clock(), "connected": "connected"}
    for gmail_id in (None, "1a"):
        office.set(email, state=State.SENT.value, sent_at=office.clock(), sent_gmail_id=gmail_id)
        with office.team.sessions() as session:
            assert list(session.scalars(looking._UNSEEN, values)) == ([alices.id] if gmail_id else [])


def test_other_recipients_in_gmail_are_another_contact(office: Office, alices: Mailbox) -> None:
    with transaction(office.team.sessions) as session:
        dora, eve = (
            a_contact(session, office.viewer(alices), f"{name}@outside.example") for name in ("dora", "eve")
        )
    email = office.prepared(alices)
    assert email.contact_id == dora.id
    raw = (
        b"From: alice@team.example\r\nTo: eve@outside.example\r\nCc: dora@outside.example\r\nSubject: x\r\n\r\nHi"
    )
    office.sandbox.mailbox(ALICE).drafts.update(email.draft_id or "", raw, None)
    office.clock.advance(minutes=1)
    looking.look(office.post, alices.id)
    edited = office.read(email)
    assert edited.contact_id == eve.id
    assert edited.resolved_at < office.clock() - timedelta(hours=2)  # so it is worked out anew
