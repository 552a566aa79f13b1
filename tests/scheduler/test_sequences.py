"""Follow-ups: each at nine there, in its thread, once; what ends them, and what people do with them."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from email import message_from_bytes
from typing import Any

import pytest
from sqlalchemy import func, select, text

from scheduler import outbox, sequence_sent, sequence_turns, sequences
from scheduler.calendars import jobs as calendar_jobs
from scheduler.calendars import team_days
from scheduler.letters import address
from scheduler.outbox import About, OutboxConflict, ScheduledEmail
from scheduler.sequence_turns import Where
from scheduler.sequences import ARROWS, RunState, SequenceError, SequenceRun, Step, StepState, StoppedBy
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE, mail
from tests.scheduler.chasing import DORA, NINE, STEPS, Chase
from tests.scheduler.sending import Office, a_letter, at_nine
from tests.tracker.domain import a_box, stage
from tracker import boxes, people
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import transaction
from tracker.jobs import Jobs, queue_length
from tracker.mailboxes import Mailbox
from tracker.messages import Message


@pytest.fixture
def box(office: Office, alices: Mailbox) -> Box:
    with transaction(office.team.sessions) as session:
        return a_box(session, office.viewer(alices), "Dora's deal")


@pytest.fixture
def chase(office: Office, alices: Mailbox, box: Box) -> Chase:
    """Queued for nine on Tuesday, with a follow-up after two days, and another three days later."""
    office.team.sync(alices)
    email = office.queue(alices, about=About(box=box))
    with transaction(office.team.sessions) as session:
        viewer = people.viewer_of(session.get_one(people.User, alices.user_id), "tests")
        run = sequences.start(
            session, viewer, session.get_one(ScheduledEmail, email.id), STEPS, now=office.clock()
        )
    office.prepare(alices)
    return Chase(office, alices, email, run.id)


@pytest.fixture
def sent(chase: Chase) -> Chase:
    """The first mail has gone."""
    chase.at(NINE)
    assert chase.delivered() == {"Offer": 1}
    chase.office.clock.advance(minutes=2)
    return chase


def test_each_goes_at_nine_there_as_a_reply_in_the_thread_and_then_it_is_done(sent: Chase) -> None:
    sent.at(NINE + timedelta(days=2, minutes=-1))
    assert sent.delivered() == {"Offer": 1}
    assert sent.run.steps[0].state == StepState.QUEUED  # its draft lies ready
    sent.at(NINE + timedelta(days=2))
    assert sent.delivered() == {"Offer": 1, "Re: Offer": 1}
    # Three days after Thursday is a Sunday: Monday it is.
    sent.at(NINE + timedelta(days=6, minutes=-1))
    assert sent.delivered()["Re: Offer"] == 1
    sent.at(NINE + timedelta(days=6, minutes=5))
    assert sent.delivered() == {"Offer": 1, "Re: Offer": 2}
    assert sent.state == (RunState.DONE, None)
    assert sent.events() == ["started", "queued", "queued", "done"]
    gmail = sent.office.sandbox.mailbox(ALICE)
    assert len({gmail.messages.get(id_).thread_id for id_ in gmail.message_ids()}) == 1
    doras = sent.office.sandbox.mailbox(DORA)
    raws = [message_from_bytes(doras.messages.raw(doras.messages.get(id_))) for id_ in doras.message_ids()]
    first, second, third = sorted(raws, key=lambda one: len(str(one["References"] or "")))
    assert second["In-Reply-To"] == first["Message-ID"]
    assert third["In-Reply-To"] == second["Message-ID"]
    assert third["References"].split() == [first["Message-ID"], second["Message-ID"]]
    assert "One last time, hello." in third.as_string() or "One last time, hello" in str(third.get_payload())


def test_an_answer_ends_them(sent: Chase) -> None:
    sent.arrives()
    assert sent.state == (RunState.RUNNING, None)  # it is looked at within the hour
    sent.at(NINE + timedelta(days=9))
    assert sent.state == (RunState.STOPPED, StoppedBy.ANSWER)
    assert sent.run.why == f"{DORA} answered"
    assert sent.delivered() == {"Offer": 1}


def test_an_answer_in_another_thread_ends_them_too(sent: Chase) -> None:
    sent.arrives(subject="Your offer", References="<x@y.test>", In_Reply_To="<x@y.test>")
    sent.at(NINE + timedelta(hours=2))
    assert sent.state == (RunState.STOPPED, StoppedBy.ANSWER)


def test_an_answer_in_the_same_second_as_the_step_holds_it(sent: Chase) -> None:
    sent.at(NINE + timedelta(days=2, minutes=-1))
    assert sent.run.steps[0].state == StepState.QUEUED
    sent.office.clock.now = NINE + timedelta(days=2)
    sent.office.sandbox.deliver(mail(DORA, ALICE, "Re: Offer", "Yes!"), [ALICE])
    sent.sync()
    sent.office.dispatch()  # the dispatcher is faster than the tick of the follow-ups
    assert sent.delivered() == {"Offer": 1}
    sent.office.clock.advance(minutes=2)
    sent.tick()
    assert sent.state == (RunState.STOPPED, StoppedBy.ANSWER)
    sent.at(NINE + timedelta(days=4))
    assert sent.delivered() == {"Offer": 1}


def test_an_answer_that_is_synced_after_the_step_was_queued_holds_it(sent: Chase) -> None:
    sent.at(NINE + timedelta(days=2, minutes=-45))
    sent.office.sandbox.deliver(mail(DORA, ALICE, "Re: Offer", "Yes!"), [ALICE])
    sent.office.clock.now = NINE + timedelta(days=2, minutes=-20)
    sent.round()
    assert sent.run.steps[0].state == StepState.QUEUED
    sent.sync()
    sent.office.clock.now = NINE + timedelta(days=2)
    sent.office.dispatch()
    assert sent.delivered() == {"Offer": 1}


OUT_OF_OFFICE = {"Auto_Submitted": "auto-replied"}
REPORT = {"sender": "MAILER-DAEMON@outside.example", "X_Failed_Recipients": DORA}


ELSEWHERE = {"References": "<o@x>", "In_Reply_To": "<o@x>"}


def test_what_is_neither_an_answer_nor_a_bounce_ends_nothing(sent: Chase) -> None:
    sent.arrives("I am away.", **OUT_OF_OFFICE)
    sent.arrives("Will retry", subject="Delivery Status Notification (Delay)", **REPORT)
    sent.arrives(sender="someone@else.example", subject="Hi", **ELSEWHERE)
    sent.office.clock.advance(hours=1, minutes=5)
    sent.tick()
    assert sent.state == (RunState.RUNNING, None)


@pytest.mark.parametrize(
    ("told", "by"),
    [
        ({"body": "No such user", **REPORT}, StoppedBy.BOUNCE),
        ({"body": f"550 <{DORA}> unknown", "sender": "postmaster@mx.example", **ELSEWHERE}, StoppedBy.BOUNCE),
        ({"body": "Unsubscribe, please.\n> Offer"}, StoppedBy.UNSUBSCRIBED),
        ({"body": "Stop by tomorrow at ten.\n> unsubscribe"}, StoppedBy.ANSWER),
    ],
    ids=["bounce", "bounce elsewhere", "unsubscribe", "come by"],
)
def test_what_comes_back_ends_them(sent: Chase, told: dict[str, str], by: StoppedBy) -> None:
    sent.arrives(**told)
    sent.office.clock.advance(hours=1, minutes=5)
    sent.tick()
    assert sent.state == (RunState.STOPPED, by)


def test_two_who_unsubscribe_the_same_person_do_not_wait_for_each_other(sent: Chase, alices: Mailbox) -> None:
    office = sent.office
    other = office.queue(
        alices, subject="Another", text="Another text", when=at_nine(wall=datetime(2026, 11, 25, 9))
    )
    with transaction(office.team.sessions) as session:
        row = session.get_one(ScheduledEmail, other.id)
        second = sequences.start(session, office.viewer(alices), row, STEPS, now=office.clock()).id
    viewer, asked = office.viewer(alices), "asked for no more"
    with office.team.sessions() as one, office.team.sessions() as two:
        for session, run_id in ((one, sent.run_id), (two, second)):  # each tick has its own run
            session.execute(text("SET LOCAL lock_timeout = '2s'"))
            session.execute(select(SequenceRun.id).where(SequenceRun.id == run_id).with_for_update())
        assert sequences.unsubscribe(one, viewer, DORA, asked, now=office.clock()) == 1
        one.commit()
        assert sequences.unsubscribe(two, viewer, DORA, asked, now=office.clock()) == 1
        two.commit()
    with office.team.sessions() as session:
        runs = session.scalars(select(SequenceRun)).all()
        assert [run.stopped_by for run in runs] == [StoppedBy.UNSUBSCRIBED] * 2


def test_a_run_that_somebody_is_on_while_its_person_unsubscribes_ends_at_its_next_look(sent: Chase) -> None:
    office = sent.office
    with office.team.sessions() as busy:
        busy.execute(select(SequenceRun.id).where(SequenceRun.id == sent.run_id).with_for_update())
        with transaction(office.team.sessions) as session:
            viewer = office.viewer(sent.mailbox)
            assert sequences.unsubscribe(session, viewer, DORA, "asked", now=office.clock()) == 0
    office.clock.advance(hours=1)
    sent.tick()
    assert sent.state == ("stopped", "unsubscribed")


def test_a_mail_that_was_sent_from_gmail_is_followed_up_in_its_thread(office: Office, alices: Mailbox) -> None:
    raw = mail(ALICE, DORA, "From my phone", "Shall we?", cc="Eve <eve@outside.example>")
    office.sandbox.send(office.sandbox.mailbox(ALICE), raw)
    office.team.sync(alices)
    with transaction(office.team.sessions) as session:
        viewer = people.viewer_of(session.get_one(people.User, alices.user_id), "tests")
        conversation = session.scalars(select(Conversation.id)).one()
        copy = sequence_sent.last_own(session, viewer, conversation)
        assert copy is not None
        run_id = sequence_sent.start(session, viewer, copy, STEPS, now=office.clock()).id
        assert sequence_sent.last_own(session, viewer, conversation) is None  # one at a time
        assert [run.id for run in sequence_sent.of_conversation(session, viewer, conversation)] == [run_id]
        thread, message_id = copy.gmail_thread_id, copy.message.rfc822_message_id
    chase = Chase(office, alices, ScheduledEmail(), run_id)
    chase.at(NINE + timedelta(days=2))
    assert chase.delivered() == {"From my phone": 1, "Re: From my phone": 1}
    with office.team.sessions() as session:
        step = session.scalars(select(ScheduledEmail)).one()
        letter = outbox.letter_of(step)
        assert letter is not None
        assert (step.sent_thread_id, letter.in_reply_to) == (thread, message_id)
        assert [one.normalized for one in letter.cc] == ["eve@outside.example"]
    chase.arrives(subject="Re: From my phone")
    chase.at(NINE + timedelta(days=9))
    assert chase.state == ("stopped", "answer")


def test_a_mail_that_was_answered_is_not_followed_up(office: Office, alices: Mailbox) -> None:
    office.sandbox.send(office.sandbox.mailbox(ALICE), mail(ALICE, DORA, "Plan", "Shall we?"))
    office.team.sync(alices)
    with office.team.sessions() as session:
        message_id = session.scalars(select(Message.rfc822_message_id)).one()
    office.clock.advance(minutes=5)
    answer = mail(DORA, ALICE, "Re: Plan", "Yes", In_Reply_To=f"<{message_id}>", References=f"<{message_id}>")
    office.sandbox.deliver(answer, [ALICE])
    office.team.sync(alices)
    with office.team.sessions() as session:
        viewer = people.viewer_of(session.get_one(people.User, alices.user_id), "tests")
        conversation = session.scalars(select(Conversation.id)).one()
        assert sequence_sent.last_own(session, viewer, conversation) is None


def test_whoever_wants_none_gets_none_again(sent: Chase) -> None:
    sent.arrives("STOP")
    sent.at(NINE + timedelta(hours=2))
    email = sent.office.queue(sent.mailbox, when=at_nine(wall=datetime(2026, 11, 30, 9)))
    with transaction(sent.office.team.sessions) as session, pytest.raises(SequenceError, match="no follow-ups"):
        sequences.start(session, sent.office.viewer(sent.mailbox), email, STEPS, now=sent.office.clock())


@pytest.mark.parametrize("how", ["won", "archived"])
def test_a_closed_box_ends_them_before_and_after_they_are_queued(sent: Chase, box: Box, how: str) -> None:
    sent.at(NINE + timedelta(days=2, minutes=-20))
    with transaction(sent.office.team.sessions) as session:
        viewer, here = sent.office.viewer(sent.mailbox), session.get_one(Box, box.id)
        if how == "won":
            boxes.move(session, viewer, here, stage(session, here.pipeline, "Won"), now=sent.office.clock())
        else:
            boxes.archive(session, viewer, here, sent.office.clock())
    sent.at(NINE + timedelta(days=3))
    assert sent.state == (RunState.STOPPED, StoppedBy.CLOSED)
    assert sent.delivered() == {"Offer": 1}


def test_a_first_mail_that_never_goes_ends_them(chase: Chase) -> None:
    with transaction(chase.office.team.sessions) as session:
        email = session.get_one(ScheduledEmail, chase.email.id)
        outbox.cancel(session, chase.office.viewer(chase.mailbox), email, now=chase.office.clock())
    chase.tick()
    assert chase.state == (RunState.STOPPED, StoppedBy.CANCELLED)


def test_a_follow_up_that_somebody_cancels_ends_them(sent: Chase) -> None:
    sent.at(NINE + timedelta(days=2, minutes=-20))
    with transaction(sent.office.team.sessions) as session:
        email = session.get_one(ScheduledEmail, sent.run.steps[0].email_id)
        outbox.cancel(session, sent.office.viewer(sent.mailbox), email, now=sent.office.clock())
    sent.at(NINE + timedelta(days=9))
    assert sent.state == (RunState.STOPPED, StoppedBy.CANCELLED)
    assert sent.delivered() == {"Offer": 1}


@pytest.mark.parametrize("name", ["Jane <x@evil.example>", 'x@evil.example>, "Eve\\'])
def test_they_go_to_whom_the_mail_went_to_whatever_names_say(office: Office, alices: Mailbox, name: str) -> None:
    letter = {"bcc": (address("", "bob@team.example"),)}
    with transaction(office.team.sessions) as session:
        made = replace(a_letter(alices.address, **letter), to=(address(name, DORA),))
        email = outbox.queue(session, office.viewer(alices), alices, made, at_nine(), About(), now=office.clock())
        run = sequences.start(session, office.viewer(alices), email, STEPS, now=office.clock())
    assert [one.address for one in sequences.addresses(run.to)] == [DORA]
    assert [one.address for one in sequences.addresses(email.to)] == [DORA]


def test_who_stands_in_bcc_only_is_never_followed_up(office: Office, alices: Mailbox) -> None:
    email = office.queue(alices, to=(), bcc=(address("", DORA), address("", "bob@team.example")))
    assert (email.to, len(email.recipients)) == ([], 2)
    with office.team.sessions() as session, pytest.raises(SequenceError, match="somebody in To"):
        sequences.start(session, office.viewer(alices), email, STEPS, now=office.clock())


# -- once


def queued(chase: Chase) -> int:
    with chase.office.team.sessions() as session:
        return session.scalar(select(func.count()).where(ScheduledEmail.sequence_run_id == chase.run_id)) or 0


def test_a_crash_between_queueing_and_recording_leaves_never_two(
    sent: Chase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed behind each of the writes of the step's transaction; the tick after it does the work again."""
    sent.office.clock.now = NINE + timedelta(days=2, minutes=-20)
    for room, place in ((outbox, "queue"), (sequences, "move_step"), (sequences, "record")):
        with monkeypatch.context() as patched:
            patched.setattr(room, place, dying(getattr(room, place)))
            with pytest.raises(KeyboardInterrupt):
                sent.tick()
        assert (queued(sent), sent.run.steps[0].state) == (0, StepState.WAITING)
    sent.at(NINE + timedelta(days=2, minutes=5))
    assert queued(sent) == 1
    assert sent.delivered() == {"Offer": 1, "Re: Offer": 1}


def dying(verb: Any) -> Any:
    """Does it, and dies."""

    def dies(*arguments: Any, **named: Any) -> None:
        verb(*arguments, **named)
        raise KeyboardInterrupt

    return dies


def test_many_ticks_at_once_queue_a_step_once(sent: Chase) -> None:
    sent.office.clock.now = NINE + timedelta(days=2, minutes=-20)
    threads = [threading.Thread(target=sent.tick) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queued(sent) == 1
    sent.tick()
    assert queued(sent) == 1


def test_a_step_that_is_claimed_while_they_end_is_looked_at_once_more(
    sent: Chase, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent.at(NINE + timedelta(days=2, minutes=-20))
    sent.office.sandbox.deliver(mail(DORA, ALICE, "Re: Offer", "Yes!"), [ALICE])
    sent.sync()

    def claimed(*_: Any, **__: Any) -> None:
        raise OutboxConflict("It is going out already")

    sent.office.clock.advance(minutes=2)
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "cancel", claimed)
        sent.tick()
    assert sent.state == (RunState.RUNNING, None)
    sent.office.clock.advance(minutes=2)
    sent.tick()
    assert sent.state == (RunState.STOPPED, StoppedBy.ANSWER)
    assert sent.events() == ["started", "queued", "stopped"]


def test_one_that_fails_holds_nobody_up(sent: Chase, monkeypatch: pytest.MonkeyPatch) -> None:
    sent.office.clock.now = NINE + timedelta(days=2, minutes=-20)

    def breaks(*_: Any) -> Where:
        raise RuntimeError

    assert sequence_turns.advance_due(sent.office.team.sessions, sent.office.clock(), find=breaks) == set()
    assert sent.tick() == set()  # later
    sent.office.clock.advance(minutes=11)
    assert sent.tick() == {sent.mailbox.id}


# -- what people do


def test_an_arrow_goes_if_it_is_in_the_table_and_no_other(sent: Chase) -> None:
    update = text("UPDATE sequence_runs SET state = :state, stopped_by = :by")
    for before, to in itertools.product(RunState, RunState):
        with transaction(sent.office.team.sessions) as session:
            session.execute(
                update, {"state": before.value, "by": "person" if before == RunState.STOPPED else None}
            )
        with transaction(sent.office.team.sessions) as session:
            run = session.get_one(SequenceRun, sent.run_id)
            columns = {"stopped_by": "person"} if to == RunState.STOPPED else {}
            if to in ARROWS[before]:
                sequences.change(session, run, to, **columns)
                assert run.state == to
            else:
                with pytest.raises(SequenceError, match="already"):
                    sequences.change(session, run, to, **columns)


def test_paused_they_wait_and_go_on_where_they_were(sent: Chase) -> None:
    sent.at(NINE + timedelta(days=2, minutes=-20))
    sent.act(sequences.pause)
    sent.at(NINE + timedelta(days=4))
    assert (sent.state, sent.delivered()) == ((RunState.PAUSED, None), {"Offer": 1})
    assert sent.office.state(ScheduledEmail(id=sent.run.steps[0].email_id)) == State.HELD
    sent.act(sequences.resume, now=sent.office.clock())
    sent.tick()
    assert sent.run.steps[0].due_at == NINE + timedelta(days=6)  # it is Saturday
    sent.at(NINE + timedelta(days=6, minutes=5))
    assert sent.delivered() == {"Offer": 1, "Re: Offer": 1}
    assert sent.events()[:4] == ["started", "queued", "paused", "resumed"]


def test_two_who_change_it_at_once_are_told(sent: Chase) -> None:
    with sent.office.team.sessions() as one, sent.office.team.sessions() as other:
        mine, theirs = (session.get_one(SequenceRun, sent.run_id) for session in (one, other))
        viewer = sent.office.viewer(sent.mailbox)
        sequences.pause(one, viewer, mine)
        one.commit()
        with pytest.raises(SequenceError, match="meanwhile"):
            sequences.stop(other, viewer, theirs, now=sent.office.clock())


def test_a_field_that_nothing_is_known_for_pauses_instead_of_going_out(office: Office, alices: Mailbox) -> None:
    email = office.queue(alices)
    with transaction(office.team.sessions) as session:
        steps = [Step(1, "<p>Dear {{first_name}},</p>")]
        run = sequences.start(session, office.viewer(alices), email, steps, now=office.clock())
    chase = Chase(office, alices, email, run.id)
    office.prepare(alices)
    chase.at(NINE + timedelta(days=2))
    assert chase.state == (RunState.PAUSED, None)
    assert chase.run.why == "follow-up 1: nothing is known for first_name"
    assert chase.delivered() == {"Offer": 1}


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "one to 10"),
        ([Step(1, "<p>x</p>")] * 11, "one to 10"),
        ([Step(0, "<p>x</p>")], "Follow-up 1: expected 1 to 365 days"),
        ([Step(1, "<p>x</p>"), Step(1, "<p> </p>")], "Follow-up 2 says nothing"),
        ([Step(1, "<p>{{nonsense}}</p>")], "Follow-up 1: "),
    ],
)
def test_what_can_not_be_asked_for(office: Office, alices: Mailbox, steps: list[Step], words: str) -> None:
    email = office.queue(alices)
    with office.team.sessions() as session, pytest.raises(SequenceError, match=words):
        sequences.start(session, office.viewer(alices), email, steps, now=office.clock())


def test_late_follow_ups_never_go_in_the_night(sent: Chase) -> None:
    sent.office.clock.now = NINE + timedelta(days=2, hours=14)  # an outage until eleven in the night
    sent.round()
    assert sent.delivered() == {"Offer": 1}
    assert sent.run.steps[0].due_at == NINE + timedelta(days=3)


def test_a_late_follow_up_that_an_outage_makes_later_waits_for_the_morning(sent: Chase) -> None:
    sent.office.clock.now = NINE + timedelta(days=2, hours=2, minutes=45)
    sent.tick()
    assert sent.run.steps[0].due_at == NINE + timedelta(days=2, hours=2, minutes=46)
    sent.office.prepare(sent.mailbox)
    sent.office.clock.now = NINE + timedelta(days=2, hours=14)  # nobody was there to send it
    sent.office.dispatch()
    assert sent.delivered() == {"Offer": 1}
    sent.office.clock.now = NINE + timedelta(days=3)
    sent.office.dispatch()
    assert sent.delivered() == {"Offer": 1, "Re: Offer": 1}


@pytest.mark.parametrize("verb", [sequences.pause, sequences.stop])
def test_who_changes_a_run_locks_it_before_its_mail_as_the_tick_does(sent: Chase, verb: Any) -> None:
    sent.at(NINE + timedelta(days=2, minutes=-20))
    named = {"now": sent.office.clock()} if verb is sequences.stop else {}
    other = threading.Thread(target=sent.act, args=(verb,), kwargs=named)
    with transaction(sent.office.team.sessions) as session:
        run = session.scalars(select(SequenceRun).where(SequenceRun.id == sent.run_id).with_for_update()).one()
        other.start()
        other.join(0.5)
        assert other.is_alive()
        of_step = select(ScheduledEmail.id).where(ScheduledEmail.id == run.steps[0].email_id)
        assert session.scalar(of_step.with_for_update(nowait=True))
    other.join(10)
    assert sent.state[0] in (RunState.PAUSED, RunState.STOPPED)


def test_whoever_wants_no_more_while_a_step_goes_out_is_looked_at_once_more(
    sent: Chase, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent.at(NINE + timedelta(days=2, minutes=-20))
    sent.office.sandbox.deliver(mail(DORA, ALICE, "Re: Offer", "unsubscribe"), [ALICE])
    sent.sync()

    def claimed(*_: Any, **__: Any) -> None:
        raise OutboxConflict("It is going out already")

    sent.office.clock.advance(minutes=5)
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "cancel", claimed)
        sent.tick()
    assert sent.run.next_at == sent.office.clock() + sequence_turns.OFTEN
    sent.office.clock.advance(minutes=2)
    sent.tick()
    assert sent.state == (RunState.STOPPED, StoppedBy.UNSUBSCRIBED)


def test_the_ticks_queue_jobs_for_what_is_due_and_the_jobs_do_it(sent: Chase, database_url: str) -> None:
    jobs, post, sessions = Jobs(database_url), sent.office.post, sent.office.team.sessions

    def waiting() -> int:
        with sessions() as session:
            return queue_length(session)

    try:
        calendar_jobs.look_at_days(jobs, post)
        calendar_jobs.look_at_follow_ups(jobs, post)
        before = waiting()
        sent.office.clock.now = NINE + timedelta(days=2, minutes=-20)
        with transaction(sessions) as session:
            team_days.subscribe(session, sent.office.viewer(sent.mailbox), "http://127.0.0.1/x.ics", post.now())
        for _ in range(2):
            calendar_jobs.look_at_days(jobs, post)
            calendar_jobs.look_at_follow_ups(jobs, post)
        assert waiting() == before + 2
        calendar_jobs.follow_up(jobs, post)
        calendar_jobs.read_days(post)
        # Where Dora is, nobody knows: it is where Alice is.
        assert (queued(sent), waiting()) == (1, before + 3)
        with sessions() as session:
            made = team_days.calendar_of(session, sent.mailbox.team_id)
            assert made is not None
            assert "private network" in (made.problem or "")
    finally:
        jobs.close()
