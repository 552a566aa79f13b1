"""Guards, checked just before sending; each can be switched off."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from scheduler import claims, due, guards
from scheduler.due import Places, Timing
from scheduler.local_time import LateRule
from scheduler.outbox import About, Guard, ScheduledEmail, Sender, When, Zone
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE, BOB, mail
from tests.scheduler.sending import NINE, Office, at_nine
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


@pytest.mark.parametrize("colleague", [ALICE, BOB])
def test_mail_of_the_teams_own_is_no_answer(office: Office, alices: Mailbox, colleague: str) -> None:
    office.team.connect(BOB)
    email = office.prepared(alices, to=["dora@outside.example", colleague])
    office.clock.advance(minutes=30)
    office.sandbox.mailbox(ALICE).insert(mail(colleague, subject="Good"))
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


# -- what goes wrong with one mail, or one team


def never(_session: object, _team: int) -> Closed:
    """A team that works on no day."""
    return Closed()


class Closed(dict[date, str]):
    """Every day is off."""

    def get(self, key: date, default: Any = None) -> Any:
        """Why nobody works on that day."""
        return "Closed"

    def __getitem__(self, key: date) -> str:
        return "Closed"

    def __contains__(self, key: object) -> bool:
        return True


@pytest.mark.parametrize(("hours", "state"), [(1, State.SENT), (5, State.HELD)])
def test_a_team_without_a_working_day_sends_as_asked_or_is_told(
    office: Office, alices: Mailbox, hours: int, state: State
) -> None:
    closed = office.with_post(places=Places(team_days=never))
    email = office.prepared(alices)
    free = office.prepared(alices, subject="Free", when=at_nine(working_days=False, late=LateRule.WORKING_HOURS))
    with transaction(office.team.sessions) as session:
        due.refresh(session, closed.post.places, office.clock() + timedelta(minutes=31))
    assert office.read(email).due_at == datetime(2026, 11, 24, 9, tzinfo=UTC)
    nine(office)
    office.clock.advance(hours=hours)
    closed.dispatch()
    assert (office.state(email), office.state(free)) == (state, State.SENT)
    if state == State.HELD:
        held = office.read(email)
        assert (held.reason, held.remedy) == (due.NO_DAY, due.NO_DAY_REMEDY)


def test_what_is_beyond_the_limit_and_has_no_working_day_is_held(office: Office, alices: Mailbox) -> None:
    limited(office, alices, 1)
    email = office.prepared(alices)
    nine(office)
    office.with_post(places=Places(team_days=never)).dispatch()
    assert (office.state(email), office.read(email).reason) == (State.HELD, due.NO_DAY)


def test_a_mail_that_raises_is_held_and_stops_no_other(office: Office, alices: Mailbox) -> None:
    def raises(_session: object, email: ScheduledEmail, _now: datetime) -> None:
        if email.subject.startswith("Bad"):
            raise ZeroDivisionError

    bad, good = office.prepared(alices, subject="Bad"), office.prepared(alices, subject="Good")
    later = office.prepared(alices, subject="Bad later", when=at_ten())
    broken = office.with_post(places=Places(raises))
    with transaction(office.team.sessions) as session:
        office.set(later, resolved_at=office.clock() - timedelta(hours=9))
        assert due.refresh(session, broken.post.places, office.clock()) == 1
    assert office.state(later) == State.HELD
    nine(office)
    for email in (bad, good):
        office.set(email, resolved_at=office.clock() - timedelta(hours=9))
    broken.dispatch()
    assert (office.state(bad), office.state(good)) == (State.HELD, State.SENT)
    assert (office.read(bad).reason, office.read(bad).held_by) == (due.TROUBLE, "trouble")
    assert "held" in office.events(bad)


def test_a_database_in_trouble_holds_no_mail(office: Office, alices: Mailbox) -> None:
    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    email = office.prepared(alices)
    nine(office)
    office.set(email, resolved_at=office.clock() - timedelta(hours=9))
    with pytest.raises(OperationalError):
        office.with_post(places=Places(away)).dispatch()
    assert office.state(email) == State.QUEUED


def test_a_mail_moved_along_with_another_of_the_batch_does_not_go(office: Office, alices: Mailbox) -> None:
    mails = [office.prepared(alices, subject=f"{number}", text=f"{number}") for number in range(2)]
    noon = datetime(2026, 11, 24, 14, tzinfo=UTC)

    def learns(session: Session, _email: ScheduledEmail, now: datetime) -> tuple[str, None]:
        for other in mails:
            there = session.get_one(ScheduledEmail, other.id)
            due.put_off(session, there, Timing(NINE, "America/New_York", None, "moved"), now)
        return "America/New_York", None

    nine(office)
    office.set(mails[1], resolved_at=office.clock() - timedelta(hours=9))  # the first is looked at before it
    office.with_post(places=Places(learns)).dispatch()
    assert [(office.state(one), office.read(one).due_at) for one in mails] == [(State.QUEUED, noon)] * 2


# -- fairness


def limited(office: Office, mailbox: Mailbox, limit: int) -> None:
    """So many mails a day."""
    with transaction(office.team.sessions) as session:
        session.execute(insert(Sender).values(mailbox_id=mailbox.id, team_id=mailbox.team_id, daily_limit=limit))


def test_what_can_not_be_spread_in_one_round_waits(
    office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "SPREAD", 2)
    limited(office, alices, 2)
    emails = [office.queue(alices, subject=str(number), text=str(number)) for number in range(6)]
    office.prepare(alices)
    nine(office)
    with transaction(office.team.sessions) as session:
        assert len(claims.claim(session, office.post, [alices.id], 5, office.clock())) == 1
        waiting = select(func.count()).where(
            ScheduledEmail.state == "queued", ScheduledEmail.next_at <= office.clock()
        )
        assert session.scalar(waiting) == 3
    for _ in range(2):
        with transaction(office.team.sessions) as session:
            assert claims.claim(session, office.post, [alices.id], 5, office.clock()) == []
    moved = sorted(office.read(email).due_at.day for email in emails if office.state(email) == State.QUEUED)
    assert moved == [1, 25, 26, 27, 30]  # one a working day


def test_a_mail_for_now_that_was_moved_has_a_time_from_then_on(office: Office, alices: Mailbox) -> None:
    limited(office, alices, 1)
    email = office.prepared(alices, when=at_nine(rule=Zone.NOW))
    nine(office)
    office.dispatch()
    assert (office.read(email).zone_rule, office.read(email).due_at.day) == (Zone.FIXED, 25)


def test_disconnected_mailboxes_starve_nobody(office: Office, alices: Mailbox) -> None:
    bobs = office.team.connect(BOB)
    for number in range(6):
        office.queue(alices, subject=str(number), text=str(number))
    office.prepare(alices)
    office.clock.advance(seconds=1)
    office.prepared(bobs, when=at_nine(wall=datetime(2026, 11, 24, 9, 1)))
    office.post.ask_for_attention(alices, "gone")
    office.clock.now = datetime(2026, 11, 24, 9, 2, tzinfo=UTC)
    with office.team.sessions() as session:
        assert claims.due_mailboxes(session, office.clock(), [], 1) == [bobs.id]
