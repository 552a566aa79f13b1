"""Guards, checked just before sending; each can be switched off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert

from scheduler import guards
from scheduler.outbox import About, Guard, ScheduledEmail, Sender, When
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE, mail
from tests.scheduler.sending import Office, at_nine
from tests.tracker.domain import a_box
from tracker import boxes, pipelines
from tracker.boxes import Box
from tracker.db import transaction
from tracker.mailboxes import Mailbox


def nine(office: Office) -> None:
    """It is nine in London."""
    office.clock.now = datetime(2026, 11, 24, 9, tzinfo=UTC)


def off(*guards_: Guard, **about: Any) -> About:
    """What a mail is about, without some guards."""
    return About(guards_off=frozenset(guards_), **about)


def dora_writes(office: Office, mailbox: Mailbox, **headers: str) -> None:
    """A mail from Dora comes in, half an hour later."""
    office.clock.advance(minutes=30)
    office.sandbox.mailbox(ALICE).insert(mail("dora@outside.example", subject="Wait!", **headers))
    office.team.sync(mailbox)


def test_an_answer_holds_the_mail_and_tells_the_rep(office: Office, alices: Mailbox) -> None:
    email, free = office.prepared(alices), office.prepared(alices, subject="Free", about=off(Guard.ANSWERED))
    dora_writes(office, alices)
    nine(office)
    office.dispatch()
    held = office.read(email)
    assert (held.state, held.held_by) == (State.HELD, Guard.ANSWERED)
    assert "dora@outside.example has written meanwhile" in (held.reason or "")
    assert held.remedy
    assert office.events(email) == ["queued", "held"]
    assert office.state(free) == State.SENT


@pytest.mark.parametrize("headers", [{"Auto_Submitted": "auto-replied"}, {"From": "eve@outside.example"}])
def test_an_automatic_answer_or_somebody_elses_holds_nothing(
    office: Office, alices: Mailbox, headers: dict[str, str]
) -> None:
    email = office.prepared(alices)
    sender = headers.pop("From", "dora@outside.example")
    office.clock.advance(minutes=30)
    office.sandbox.mailbox(ALICE).insert(mail(sender, subject="Wait!", **headers))
    office.team.sync(alices)
    nine(office)
    office.dispatch()
    assert office.state(email) == State.SENT


def test_mail_from_before_it_was_queued_is_no_answer(office: Office, alices: Mailbox) -> None:
    dora_writes(office, alices)
    office.clock.advance(minutes=1)
    email = office.prepared(alices)
    nine(office)
    office.dispatch()
    assert office.state(email) == State.SENT


@pytest.mark.parametrize("how", ["won", "archived"])
def test_a_box_that_was_closed_holds_its_mail(office: Office, alices: Mailbox, how: str) -> None:
    viewer = office.viewer(alices)
    with transaction(office.team.sessions) as session:
        box = a_box(session, viewer, "Dora's deal", now=office.clock())
    email = office.prepared(alices, about=off(box=box))
    free = office.prepared(alices, subject="Free", about=off(Guard.BOX_CLOSED, box=box))
    office.clock.advance(minutes=1)
    with transaction(office.team.sessions) as session:
        there = session.get_one(Box, box.id)
        if how == "archived":
            boxes.archive(session, viewer, there, office.clock())
        else:
            won = next(one for one in pipelines.of_pipeline(session, there.pipeline_id) if one.kind == "won")
            boxes.move(session, viewer, there, won, now=office.clock())
    nine(office)
    office.dispatch()
    held = office.read(email)
    assert (held.state, held.held_by) == (State.HELD, Guard.BOX_CLOSED)
    assert "Dora's deal" in (held.reason or "")
    assert office.state(free) == State.SENT


def test_a_box_that_was_closed_when_the_mail_was_queued_holds_nothing(office: Office, alices: Mailbox) -> None:
    with transaction(office.team.sessions) as session:
        box = a_box(session, office.viewer(alices), "Won deal", at="Won", now=office.clock() - timedelta(days=1))
    email = office.prepared(alices, about=About(box=box))
    nine(office)
    office.dispatch()
    assert office.state(email) == State.SENT


def test_the_same_text_to_the_same_person_goes_once(office: Office, alices: Mailbox) -> None:
    first, twin = office.prepared(alices), office.prepared(alices, text="Good   MORNING.")
    other = office.prepared(alices, to="eve@outside.example")
    nine(office)
    office.dispatch()
    assert [office.state(one) for one in (first, twin, other)] == [State.SENT, State.HELD, State.SENT]
    later = office.queue(alices, when=at_ten())
    free = office.queue(alices, when=at_ten(), about=off(Guard.SAME_TEXT))
    office.prepare(alices)
    office.clock.advance(hours=1)
    office.dispatch()
    assert [office.state(one) for one in (later, free)] == [State.HELD, State.SENT]
    assert "the same text went" in (office.read(later).reason or "")


def at_ten() -> When:
    """An hour later."""
    return at_nine(wall=datetime(2026, 11, 24, 10))


def test_what_is_beyond_the_days_limit_is_spread_over_the_next_mornings(office: Office, alices: Mailbox) -> None:
    with transaction(office.team.sessions) as session:
        session.execute(insert(Sender).values(mailbox_id=alices.id, team_id=alices.team_id, daily_limit=4))
    emails = [office.queue(alices, subject=str(number), text=str(number)) for number in range(8)]
    reply = office.queue(alices, subject="Re: Plan", in_reply_to="p@outside.example")
    free = office.queue(alices, subject="Free", about=off(Guard.DAILY_LIMIT))
    office.prepare(alices)
    nine(office)
    office.dispatch()
    went = [email.subject for email in [*emails, reply, free] if office.state(email) == State.SENT]
    assert went == ["0", "1", "Re: Plan", "Free"]  # nine tenths of four; answers first
    days = [office.read(email).due_at.day for email in emails[2:]]
    assert days == [25, 25, 25, 26, 26, 26]
    assert "so many mails a day" in (office.read(emails[2]).moved_why or "")


def test_mail_sent_by_hand_counts_as_well(office: Office, alices: Mailbox) -> None:
    office.team.sync(alices)
    box = office.sandbox.mailbox(ALICE)
    for number in range(3):
        office.sandbox.send(box, mail(ALICE, "eve@outside.example", subject=f"By hand {number}"))
    office.prepared(alices)
    nine(office)
    office.dispatch()
    with transaction(office.team.sessions) as session:
        office.team.sync(alices)
        room = guards.rooms(session, [alices.id], office.clock())[alices.id]
    assert (room.daily, room.sent) == (guards.WORKSPACE_LIMIT, 4)


def test_a_consumers_account_may_send_less(office: Office) -> None:
    office.sandbox.add_user("rep@gmail.com")
    mailbox = office.team.connect("rep@gmail.com")
    with office.team.sessions() as session:
        assert guards.rooms(session, [mailbox.id], office.clock())[mailbox.id].daily == guards.CONSUMER_LIMIT


def test_all_guards_together_ask_a_fixed_number_of_questions(office: Office, alices: Mailbox) -> None:
    def asked(number: int) -> int:
        emails = [office.queue(alices, subject=f"{number}.{one}") for one in range(number)]
        questions = []
        engine = office.post.engine
        with office.team.sessions() as session:
            rows = [session.get_one(ScheduledEmail, email.id) for email in emails]
            listener = lambda *arguments: questions.append(arguments[2])  # noqa: E731
            event.listen(engine, "before_cursor_execute", listener)
            guards.check(session, rows, office.clock())
            event.remove(engine, "before_cursor_execute", listener)
        return len(questions)

    assert asked(1) == asked(6) == 3
