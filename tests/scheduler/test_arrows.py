"""Each arrow of the state machine, made by what makes it in life: a person, a job, a worker, or Gmail's user.

A trigger writes down every change of state, so that a test sees the way that a mail took and not only its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from gmail_sync.sandbox import Fault
from scheduler import claims, looking, outbox
from scheduler.outbox import ScheduledEmail, When
from scheduler.states import ARROWS, State
from tests.gmail_sync.syncing import ALICE
from tests.scheduler.sending import NINE, Office, a_letter, unblock
from tracker.db import transaction
from tracker.mailboxes import Mailbox
from tracker.people import User, viewer_of

LATER = When(NINE + timedelta(days=1), "Europe/London")
WRITE_DOWN = """
CREATE TABLE passed (id bigserial, before text, after text);
CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO passed (before, after) VALUES (OLD.state, NEW.state); RETURN NULL; END $$;
CREATE TRIGGER write_down AFTER UPDATE ON scheduled_emails FOR EACH ROW
  WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION write_down();
"""


@dataclass
class Desk:
    """Alice, her mail, and what can happen to it."""

    office: Office
    mailbox: Mailbox
    email: ScheduledEmail

    def do(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """What Alice does on the page."""
        with transaction(self.office.team.sessions) as session:
            email = session.get_one(ScheduledEmail, self.email.id)
            verb(session, viewer_of(session.get_one(User, email.user_id), "tests"), email, *arguments, **named)

    def at(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """The same, with the time."""
        self.do(verb, *arguments, **named, now=self.office.clock())

    def edit(self) -> None:
        self.at(outbox.edit, a_letter(ALICE, subject="Better"))

    def prepare(self) -> None:
        self.office.prepare(self.mailbox)

    def prepared(self) -> None:
        self.prepare()
        self.email = self.office.read(self.email)

    def refused(self, method: str) -> None:
        """Gmail refuses it from now on."""
        self.office.sandbox.faults.add(Fault("status", method, status=400, reason="invalidArgument"))

    def held(self) -> None:
        self.prepared()
        self.do(outbox.hold)

    def failed(self) -> None:
        self.refused("drafts.create")
        self.prepare()

    def nine(self) -> None:
        self.prepared()
        self.office.clock.now = datetime(2026, 11, 24, 9, tzinfo=UTC)

    def claimed(self) -> None:
        """A worker claims it, and dies."""
        self.nine()
        with transaction(self.office.team.sessions) as session:
            assert claims.claim(session, self.office.post, [self.mailbox.id], 5, self.office.clock())
        self.office.clock.advance(seconds=5)

    def uncertain(self) -> None:
        """The answer is lost, and what was sent is deleted at once."""
        self.nine()
        self.office.sandbox.faults.add(Fault("lost_answer", "drafts.send", times=1))
        self.office.dispatch(rounds=1)
        box = self.office.sandbox.mailbox(ALICE)
        for id_ in box.message_ids():
            box.delete(id_)
        unblock(self.office.team, self.mailbox)
        self.office.dispatch(rounds=60, seconds=5)

    def dispatched(self, rounds: int = 1) -> None:
        self.office.dispatch(rounds=rounds, seconds=5)

    def sent_in_gmail(self) -> None:
        box = self.office.sandbox.mailbox(ALICE)
        raw = box.messages.raw(box.drafts.message(self.email.draft_id or ""))
        self.office.sandbox.send(box, raw, draft_id=self.email.draft_id)

    def deleted_in_gmail(self) -> None:
        self.office.sandbox.mailbox(ALICE).drafts.delete(self.email.draft_id or "")

    def looked(self) -> None:
        self.office.clock.advance(minutes=5)
        looking.look(self.office.post, self.mailbox.id)

    def passed(self) -> list[tuple[State, State]]:
        with self.office.team.sessions() as session:
            rows = session.execute(text("SELECT before, after FROM passed ORDER BY id")).all()
        return [(State(before), State(after)) for before, after in rows]


@pytest.fixture
def desk(office: Office, alices: Mailbox) -> Iterator[Desk]:
    with transaction(office.team.sessions) as session:
        session.execute(text(WRITE_DOWN))
    yield Desk(office, alices, office.queue(alices))
    with transaction(office.team.sessions) as session:
        session.execute(text("DROP FUNCTION write_down CASCADE; DROP TABLE passed"))


Way = Callable[[Desk], object]
S = State
#: How each arrow comes about; the last change of state on the way is the arrow itself.
WAYS: dict[tuple[State, State], tuple[Way, ...]] = {
    (S.PREPARING, S.QUEUED): (Desk.prepare,),
    (S.PREPARING, S.HELD): (lambda desk: desk.do(outbox.hold),),
    (S.PREPARING, S.FAILED): (Desk.failed,),
    (S.PREPARING, S.CANCELLED): (lambda desk: desk.at(outbox.cancel),),
    (S.PREPARING, S.SENT): (Desk.prepared, Desk.edit, Desk.sent_in_gmail, Desk.prepare),
    (S.QUEUED, S.PREPARING): (Desk.prepared, Desk.edit),
    (S.QUEUED, S.SENDING): (Desk.claimed,),
    (S.QUEUED, S.HELD): (Desk.held,),
    (S.QUEUED, S.CANCELLED): (Desk.prepared, lambda desk: desk.at(outbox.cancel)),
    (S.QUEUED, S.SENT): (Desk.prepared, Desk.sent_in_gmail, Desk.looked),
    (S.SENDING, S.SENT): (Desk.nine, Desk.dispatched),
    (S.SENDING, S.QUEUED): (Desk.claimed, Desk.dispatched),
    (S.SENDING, S.FAILED): (Desk.nine, lambda desk: desk.refused("drafts.send"), Desk.dispatched),
    (S.SENDING, S.UNCERTAIN): (Desk.uncertain,),
    (S.SENDING, S.CANCELLED): (Desk.nine, Desk.deleted_in_gmail, lambda desk: desk.dispatched(4)),
    (S.HELD, S.PREPARING): (lambda desk: desk.do(outbox.hold), lambda desk: desk.at(outbox.release)),
    (S.HELD, S.QUEUED): (Desk.held, lambda desk: desk.at(outbox.release)),
    (S.HELD, S.FAILED): (Desk.held, Desk.edit, lambda desk: desk.refused("drafts.update"), Desk.prepare),
    (S.HELD, S.CANCELLED): (Desk.held, lambda desk: desk.at(outbox.cancel)),
    (S.HELD, S.SENT): (Desk.held, Desk.sent_in_gmail, Desk.looked),
    (S.FAILED, S.PREPARING): (Desk.failed, lambda desk: desk.at(outbox.restore)),
    (S.FAILED, S.CANCELLED): (Desk.failed, lambda desk: desk.at(outbox.cancel)),
    (S.UNCERTAIN, S.PREPARING): (Desk.uncertain, lambda desk: desk.at(outbox.restore, LATER)),
    (S.UNCERTAIN, S.SENT): (Desk.uncertain, lambda desk: desk.at(outbox.settle_by_hand, went=True)),
    (S.UNCERTAIN, S.CANCELLED): (Desk.uncertain, lambda desk: desk.at(outbox.settle_by_hand, went=False)),
    (S.CANCELLED, S.PREPARING): (lambda desk: desk.at(outbox.cancel), lambda desk: desk.at(outbox.restore)),
    (S.CANCELLED, S.SENT): (
        Desk.prepared, Desk.sent_in_gmail, lambda desk: desk.at(outbox.cancel), Desk.prepare,
    ),
}  # fmt: skip
ALL = sorted((before, after) for before, ends in ARROWS.items() for after in ends)


@pytest.mark.parametrize("arrow", ALL, ids=[f"{before}-to-{after}" for before, after in ALL])
def test_arrow(desk: Desk, arrow: tuple[State, State]) -> None:
    for step in WAYS[arrow]:
        step(desk)
    passed = desk.passed()
    assert passed[-1] == arrow
    assert desk.office.state(desk.email) == arrow[1]
    assert all(after in ARROWS[before] for before, after in passed)


def test_no_way_is_told_of_an_arrow_that_is_not_there() -> None:
    assert sorted(WAYS) == ALL
