"""Facts of boxes: the same, after whatever happened, as counted afresh from mail and tasks."""

from __future__ import annotations

import threading
from datetime import date, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from config import worker
from tests.tracker.domain import NOW, a_box, a_team
from tests.tracker.web.factories_web import ALICE, BOB, a_mail, a_mailbox
from tracker import conversations, facts, filing, people, tasks
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import Sessions, transaction
from tracker.facts import Audit, BoxFacts
from tracker.filing import FILED, Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message, Recipient
from tracker.people import Viewer
from tracker.tasks import Task

OUTSIDE = ("carol@acme.test", "dave@other.test", "erin@third.test")
Facts = tuple[datetime | None, datetime | None, datetime | None, int, date | None, int]


def by_hand(session: Session, box: Box) -> Facts:
    """A box's facts, worked out one mail and one task after the other."""
    own = people.own_addresses(session, box.team_id)
    sent: list[datetime] = []
    received: list[datetime] = []
    filed = session.scalars(select(Filing).where(Filing.box_id == box.id, Filing.state == FILED)).all()
    for one in filed:
        for mail in session.scalars(select(Message).where(Message.conversation_id == one.conversation_id)):
            copies = session.scalars(select(Copy).where(Copy.message_id == mail.id)).all()
            if mail.automatic or mail.auto_reply or all(copy.hidden for copy in copies):
                continue
            to = session.scalars(select(Recipient).where(Recipient.message_id == mail.id))
            outsiders = [each for each in to if each.kind != "reply-to" and each.normalized not in own]
            if mail.sender_normalized not in own:
                received.append(mail.sent_at)
            elif outsiders:
                sent.append(mail.sent_at)
    todo = session.scalars(select(Task).where(Task.box_id == box.id, Task.done_at.is_(None))).all()
    every = [*sent, *received]
    return (
        max(sent, default=None), max(received, default=None), max(every, default=None), len(every),
        min((task.due_on for task in todo if task.due_on), default=None), len(todo),
    )  # fmt: skip


def kept(session: Session, box: Box) -> Facts:
    session.expire_all()
    found = session.get_one(BoxFacts, box.id)
    return (
        found.last_sent_at, found.last_received_at, found.last_mail_at, found.message_count, found.next_task_on,
        found.open_task_count,
    )  # fmt: skip


class Play:
    """Things that happen to boxes, by chance."""

    def __init__(self, session: Session, seed: int) -> None:
        self.random, self.session = Random(seed), session
        alice = a_team(session)
        bob = people.add_user(session, alice.team_id, BOB, name="Bob")
        self.viewer: Viewer = people.viewer_of(alice, "test")
        self.mailboxes: list[Mailbox] = [a_mailbox(session, alice), a_mailbox(session, bob)]
        self.boxes = [a_box(session, self.viewer, f"Box {number}", OUTSIDE[number]) for number in range(3)]
        self.tasks: list[Task] = []
        others = (self.file, self.file, self.remove, self.hide, self.drop, self.task, self.settle)
        self.acts = (*(self.mail,) * 7, *others)

    def act(self) -> None:
        self.random.choice(self.acts)()

    def mail(self) -> None:
        random, everybody = self.random, [*OUTSIDE, ALICE, BOB]
        message = a_mail(
            self.session,
            random.choice(self.mailboxes),
            sender=random.choice(everybody),
            text=str(random.random()),
            to=random.sample(everybody, 2),
            at=NOW - timedelta(minutes=random.randrange(9999)),
            thread=f"thread {random.randrange(12)}",
            labels=random.choice([("INBOX",), ("INBOX",), ("SENT",), ("TRASH",)]),
        )
        if self.random.random() < 0.2:  # a notice of a machine, which the sync would have stored as one
            newest = select(Message).where(Message.conversation_id == message.id).order_by(Message.id.desc())
            mail = self.session.scalars(newest.limit(1)).one()
            mail.automatic, mail.auto_reply = random.choice([("a list", False), (None, True)])
            self.session.flush()
            conversations.refresh(self.session, [message.id])

    def conversation(self) -> Conversation | None:
        found = self.session.scalars(select(Conversation)).all()
        return self.random.choice(found) if found else None

    def file(self) -> None:
        if conversation := self.conversation():
            filing.file(self.session, self.viewer, conversation, self.random.choice(self.boxes))

    def remove(self) -> None:
        if conversation := self.conversation():
            filing.remove(self.session, self.viewer, conversation, self.random.choice(self.boxes))

    def hide(self) -> None:
        for copy in self.session.scalars(select(Copy)).all():
            if self.random.random() < 0.1:
                labels = (["TRASH"], []) if not copy.hidden else ([], ["TRASH"])
                conversations.relabel(
                    self.session, copy.mailbox_id, copy.gmail_id, *labels, int(copy.history_id) + 1000
                )

    def drop(self) -> None:
        for mailbox in self.mailboxes:
            held = self.session.scalars(select(Copy.gmail_id).where(Copy.mailbox_id == mailbox.id)).all()
            if held:
                conversations.drop_copies(self.session, mailbox.id, [self.random.choice(held)])

    def task(self) -> None:
        due = date(2026, 11, self.random.randrange(1, 29)) if self.random.random() < 0.7 else None
        box = self.random.choice(self.boxes)
        self.tasks.append(tasks.create(self.session, self.viewer, "Call", box=box, due_on=due, now=NOW))

    def settle(self) -> None:
        if self.tasks:
            task = self.random.choice(self.tasks)
            if self.random.random() < 0.7:
                tasks.complete(self.session, self.viewer, task, NOW)
            else:
                tasks.remove(self.session, self.viewer, task)
                self.tasks.remove(task)


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.soak) for n in range(2, 12))])
def test_facts_are_as_counted_afresh_after_anything_that_happens(session: Session, seed: int) -> None:
    play = Play(session, seed)
    for _ in range(40):
        play.act()
    counted = [by_hand(session, box) for box in play.boxes]
    assert any(one[3] for one in counted), "a play in which no mail was filed shows nothing"
    assert [kept(session, box) for box in play.boxes] == counted


def test_mail_of_an_address_that_becomes_our_own_is_ours(session: Session) -> None:
    play, audit = Play(session, 7), Audit()
    for _ in range(40):
        play.act()
    late = a_mail(session, play.mailboxes[0], sender=OUTSIDE[0], at=NOW)
    filing.file(session, play.viewer, late, play.boxes[0])
    audit.step(session)
    before = [kept(session, box) for box in play.boxes]
    people.own_address(session, play.viewer.team_id, OUTSIDE[0], None)
    counted = [by_hand(session, box) for box in play.boxes]
    assert counted != before
    audit.step(session)
    assert [kept(session, box) for box in play.boxes] == counted


class TestAudit:
    def test_goes_through_all_boxes_some_at_a_time_and_begins_anew(self, session: Session) -> None:
        play, audit = Play(session, 0), Audit(some=2)
        for box in play.boxes:
            session.get_one(BoxFacts, box.id).message_count = 99
        session.flush()
        told = []
        for _ in range(3):
            assert not audit.step(session)
            told.append([kept(session, box)[3] for box in play.boxes])
        assert told == [[0, 0, 99], [0, 0, 0], [0, 0, 0]]
        session.get_one(BoxFacts, play.boxes[0].id).message_count = 99
        session.flush()
        audit.step(session)
        audit.step(session)
        assert kept(session, play.boxes[0])[3] == 0

    def test_looks_first_at_boxes_with_mail_of_a_new_address(self, session: Session) -> None:
        play, audit = Play(session, 0), Audit(some=1)
        for box, address in zip(play.boxes, OUTSIDE, strict=True):
            filing.file(session, play.viewer, a_mail(session, play.mailboxes[0], sender=address), box)
        audit.step(session)  # looks at the first box, and knows the addresses now
        people.own_address(session, play.viewer.team_id, OUTSIDE[2], None)
        assert not audit.step(session)
        assert kept(session, play.boxes[2])[1] is None

    def test_says_whether_more_is_urgent(self, session: Session) -> None:
        play, audit = Play(session, 0), Audit(some=1)
        audit.step(session)
        for box in play.boxes:
            filing.file(session, play.viewer, a_mail(session, play.mailboxes[0], sender="f@new.test"), box)
        people.own_address(session, play.viewer.team_id, "f@new.test", None)
        assert [audit.step(session) for _ in range(3)] == [True, True, False]


def test_the_workers_tick_looks_at_all_that_is_urgent_at_once(sessions: Sessions) -> None:
    audit = Audit(some=1)
    with transaction(sessions) as session:
        play = Play(session, 0)
        for box in play.boxes:
            filing.file(session, play.viewer, a_mail(session, play.mailboxes[0], sender="f@new.test"), box)
    worker.audit(sessions, audit)
    with transaction(sessions) as session:
        people.own_address(session, play.viewer.team_id, "f@new.test", None)
    worker.audit(sessions, audit)
    with sessions() as session:
        assert [kept(session, box)[1] for box in play.boxes] == [None] * 3


def test_only_what_differs_is_written(session: Session) -> None:
    play = Play(session, 1)
    session.get_one(BoxFacts, play.boxes[1].id).open_task_count = 7
    session.flush()
    assert facts.refresh(session, [box.id for box in play.boxes]) == 1


def test_of_two_who_set_a_task_at_the_same_time_both_are_counted(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        viewer = people.viewer_of(a_team(session), "test")
        box_id = a_box(session, viewer, "Deal").id

    def second() -> None:
        with transaction(sessions) as session:
            tasks.create(session, viewer, "Second", box=session.get_one(Box, box_id), now=NOW)

    with transaction(sessions) as session:
        tasks.create(session, viewer, "First", box=session.get_one(Box, box_id), now=NOW)
        other = threading.Thread(target=second)
        other.start()
        other.join(0.5)
        assert other.is_alive(), "the second waits for the first"
    other.join(10)
    with sessions() as session:
        assert session.get_one(BoxFacts, box_id).open_task_count == 2
