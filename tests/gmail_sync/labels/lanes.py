"""Interleavings: random histories of label changes in Gmail and of changes in Tracker, several in a mailbox.

A *lane* is one interleaving: its own threads and boxes, its own random steps. Several lanes share a mailbox, so
that one sync serves them all; none concerns another. The syncing, deciding and storing are the real code on the
real database; only Gmail is played in memory.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from gmail_sync import history
from gmail_sync.labels import run as labels
from gmail_sync.labels import switch, wakes
from gmail_sync.labels.tables import Label, LabelMailbox, Shadow, Touch
from gmail_sync.session import Services, Sync
from tests.gmail_sync.labels.fake import FIRST, Cut, FakeGmail
from tests.tracker.domain import pipeline
from tests.tracker.web.factories_web import _incoming
from tracker import boxes, conversations, filing, mailboxes, merging, people, pipelines
from tracker.boxes import Box
from tracker.conversations import Conversation, Thread
from tracker.db import Sessions, transaction
from tracker.filing import FILED, Filing
from tracker.mailboxes import Backfill, Mailbox
from tracker.people import User, Viewer

numbers = itertools.count(1)
Place = tuple[str, int]  #: thread, box


@dataclass
class Lane:
    """One interleaving."""

    threads: list[str]
    boxes: list[int]
    #: Where each thread has to be in the end; only while nothing happened that makes it a matter of definition.
    want: dict[Place, bool] = field(default_factory=dict)
    touched: dict[Place, bool] = field(default_factory=dict)  #: in Gmail, not heard of yet
    unsure: set[Place] = field(default_factory=set)  #: nobody can know which was later
    names: dict[int, str] = field(default_factory=dict)
    renamed: dict[int, str] = field(default_factory=dict)  #: in Gmail, not heard of yet
    unsure_names: set[int] = field(default_factory=set)
    wild: bool = False  #: labels deleted, boxes merged …: both sides are to agree, no more is foretold
    steps: list[str] = field(default_factory=list)


class World:
    """A mailbox with some lanes."""

    def __init__(self, sessions: Sessions, services: Services, user: User, seed: int, lanes: int) -> None:
        self.sessions, self.services, self.rng = sessions, services, random.Random(seed)
        self.viewer = people.viewer_of(user, "web")
        self.crashed = False
        with transaction(sessions) as session:
            self.mailbox = self._mailbox(session, user)
            self.lanes = self._lanes(session, lanes)
            held = self._mail(session)
            switch.on(session, self.viewer, self.mailbox, services.now())
        self.gmail = FakeGmail(held)
        self.sync()

    def _mailbox(self, session: Session, user: User) -> Mailbox:
        address = f"m{next(numbers)}@team.example"
        made = mailboxes.connect(session, user, address, b"sealed", datetime.now(UTC))
        made.backfill, made.history_id = Backfill.DONE.value, FIRST - 1  # type: ignore[assignment]
        session.flush()
        return made

    def _lanes(self, session: Session, number: int) -> list[Lane]:
        sales = pipeline(session, self.viewer.team_id)
        stages = pipelines.of_pipeline(session, sales.id)
        names = [f"{letter}{one}" for one in itertools.islice(numbers, number) for letter in "AB"]
        made = [
            Box(
                team_id=sales.team_id, pipeline_id=sales.id, stage_id=stages[0].id, name=name,
                owner_id=self.viewer.user_id, values={},
            )
            for name in names
        ]  # fmt: skip
        session.add_all(made)
        session.flush()
        found = []
        for one, other in zip(made[::2], made[1::2], strict=True):
            lane = Lane(
                [f"t{one.name}", f"t{other.name}"],
                [one.id, other.id],
                names={one.id: one.name, other.id: other.name},
            )
            lane.want = {(thread, box): False for thread in lane.threads for box in lane.boxes}
            found.append(lane)
        return found

    def _mail(self, session: Session) -> dict[str, list[str]]:
        """One mail in each lane's first thread, two in its second; the threads with their messages."""
        threads = [thread for lane in self.lanes for thread in (lane.threads[0], *lane.threads[1:] * 2)]
        mails = [_incoming("Hello", thread=thread, sender=f"{thread}@x.test") for thread in threads]
        conversations.take_in(session, self.mailbox.team_id, self.mailbox.id, mails)
        found: dict[str, list[str]] = {}
        for one in mails:
            found.setdefault(one.copy["gmail_thread_id"], []).append(one.copy["gmail_id"])
        return found

    # -- syncing

    def sync(self, dies_at: int | None = None, *, late: bool = False) -> bool:
        """What a worker does, and what it knew of when; whether it lived."""
        gmail = self.gmail
        with transaction(self.sessions) as session:
            while wakes.read_some(session, self.services.now()):
                pass
            old = self.services.now() - timedelta(days=1)
            due = update(LabelMailbox).where(LabelMailbox.mailbox_id == self.mailbox.id)
            session.execute(due.values(listed_at=old))
            mailbox = session.get_one(Mailbox, self.mailbox.id, populate_existing=True)
        sync = Sync(self.services, mailbox, gmail)  # type: ignore[arg-type]
        history.catch_up(sync)
        for lane in self.lanes:
            self._heard(lane)
            lane.steps.append(f"sync {dies_at or ''} {late if dies_at else ''}")
        gmail.calls, gmail.dies_at, gmail.late = 0, dies_at, late
        try:
            labels.run(sync)
        except Cut:
            self._after_a_crash()
            for lane in self.lanes:
                lane.steps.append("it died")
            return False
        finally:
            gmail.dies_at = None
        for lane in self.lanes:
            lane.names.update(lane.renamed)
            lane.renamed.clear()
            lane.unsure.clear()
        self.crashed = False
        return True

    def _heard(self, lane: Lane) -> None:
        for place, on in lane.touched.items():
            if place in lane.unsure:
                lane.want.pop(place, None)  # both sides have to say the same, whatever that is
            else:
                lane.want[place] = on
        lane.touched.clear()

    def _after_a_crash(self) -> None:
        """What we were saying may have been heard or not: who says the same then can't be told apart."""
        self.crashed = True
        with self.sessions() as session:
            query = select(Shadow.gmail_thread_id, Shadow.box_id).where(
                Shadow.mailbox_id == self.mailbox.id, Shadow.pushing.is_not(None)
            )
            pushing = {(thread, box) for thread, box in session.execute(query)}
        for lane in self.lanes:
            lane.unsure |= {place for place in pushing if place[0] in lane.threads}
            lane.unsure_names |= lane.renamed.keys()

    # -- steps

    def play(self, steps: int) -> None:
        """Random steps in every lane, and syncs between them, some of which are cut off."""
        for _ in range(steps):
            for lane in self.lanes:
                if self.rng.random() < 0.7:
                    self._step(lane)
            if self.rng.random() < 0.45:
                dies = self.rng.randrange(1, 8) if self.rng.random() < 0.4 else None
                self.sync(dies, late=self.rng.random() < 0.5)

    def _step(self, lane: Lane) -> None:
        acts: list[tuple[int, Callable[[Lane], None]]] = [
            (8, self._label), (6, self._file), (2, self._rename_label), (2, self._rename_box), (2, self._move),
            (1, self._wild_step),
        ]  # fmt: skip
        (act,) = self.rng.choices([one for _, one in acts], [weight for weight, _ in acts])
        act(lane)

    def _place(self, lane: Lane) -> Place:
        return self.rng.choice(lane.threads), self.rng.choice(lane.boxes)

    def _label_of(self, lane: Lane, box: int, *, make: bool = False) -> str | None:
        """The box's label, as the rep finds it; one that they make if there is none and they may."""
        with self.sessions() as session:
            query = select(Label.gmail_label_id).where(
                Label.mailbox_id == self.mailbox.id, Label.box_id == box, ~Label.former, Label.gone_at.is_(None)
            )
            found = session.scalars(query.where(Label.gmail_label_id.is_not(None))).first()
        if found in self.gmail.names:
            return found
        return None if lane.wild or found or not make else self.gmail.make(f"Boxes/Sales/{lane.names[box]}")

    def _label(self, lane: Lane) -> None:
        place = self._place(lane)
        label = self._label_of(lane, place[1], make=True)
        if label is None:
            return
        for _ in range(self.rng.choice((1, 1, 1, 2))):  # and perhaps back again
            on = not self.gmail.carries_label(place[0], label)
            self.gmail.put(place[0], label, on)
            lane.steps.append(f"gmail {place} {on}")
            lane.touched[place] = on

    def _tracker(self, lane: Lane, act: Callable[[Session, Viewer], None], what: str) -> None:
        with transaction(self.sessions) as session:
            act(session, self.viewer)
        lane.steps.append(what)

    def _file(self, lane: Lane) -> None:
        thread, box = self._place(lane)
        into = self.rng.random() < 0.55

        def act(session: Session, viewer: Viewer) -> None:
            there = session.get_one(Thread, (self.mailbox.id, thread))
            found = session.get_one(Conversation, there.conversation_id)
            made = session.get_one(Box, box)
            if made.deleted_at is None:
                (filing.file if into else filing.remove)(session, viewer, found, made)

        self._tracker(lane, act, f"tracker {(thread, box)} {into}")
        lane.want[thread, box] = into

    def _rename_label(self, lane: Lane) -> None:
        box = self.rng.choice(lane.boxes)
        label = self._label_of(lane, box)
        if label is not None and not lane.wild:
            name = f"G{next(numbers)}"
            self.gmail.rename(label, f"Boxes/Sales/{name}")
            lane.renamed[box] = name
            lane.steps.append(f"gmail renames {box} {name}")

    def _rename_box(self, lane: Lane) -> None:
        box, name = self.rng.choice(lane.boxes), f"T{next(numbers)}"
        if self._label_of(lane, box) is None and self.gmail.id_of(f"Boxes/Sales/{lane.names[box]}"):
            return  # a label that nobody has heard of yet would name a box that there isn't: a new one is made
        self._tracker(
            lane, lambda session, viewer: boxes.rename(session, viewer, session.get_one(Box, box), name),
            f"tracker renames {box} {name}",
        )  # fmt: skip
        lane.names[box] = name
        if self.crashed:
            lane.unsure_names.add(box)

    def _move(self, lane: Lane) -> None:
        def act(session: Session, viewer: Viewer) -> None:
            box = session.get_one(Box, self.rng.choice(lane.boxes))
            stage = self.rng.choice(pipelines.of_pipeline(session, box.pipeline_id))
            boxes.move(session, viewer, box, stage, now=datetime.now(UTC))

        self._tracker(lane, act, "tracker moves")

    def _wild_step(self, lane: Lane) -> None:
        lane.wild = True
        self.rng.choice((self._drop_label, self._delete_box, self._merge, self._take, self._plain))(lane)

    def _drop_label(self, lane: Lane) -> None:
        label = self._label_of(lane, self.rng.choice(lane.boxes))
        if label is not None:
            self.gmail.drop(label)
            lane.steps.append(f"gmail drops {label}")

    def _delete_box(self, lane: Lane) -> None:
        def act(session: Session, viewer: Viewer) -> None:
            box = session.get_one(Box, self.rng.choice(lane.boxes))
            if box.merged_into_id is None:
                change = boxes.undelete if box.deleted_at else None
                if change:
                    change(session, viewer, box)
                else:
                    boxes.delete(session, viewer, box, datetime.now(UTC))

        self._tracker(lane, act, "tracker deletes, or brings back")

    def _merge(self, lane: Lane) -> None:
        def act(session: Session, viewer: Viewer) -> None:
            one, other = (session.get_one(Box, id_) for id_ in lane.boxes[:2])
            if one.deleted_at is None and other.deleted_at is None:
                merging.merge(session, viewer, one, other, now=datetime.now(UTC))

        self._tracker(lane, act, "tracker merges")

    def _take(self, lane: Lane) -> None:
        """A box's label is given the other's name, where that has none."""
        one, other = self.rng.sample(lane.boxes, 2)
        label = self._label_of(lane, one)
        with self.sessions() as session:
            name = session.get_one(Box, other).name
        if label is not None and self.gmail.rename(label, f"Boxes/Sales/{name}"):
            lane.steps.append(f"gmail: the label of {one} is named as {other}")

    def _plain(self, lane: Lane) -> None:
        label = self.gmail.id_of("Boxes/Sales")
        if label is not None:
            self.gmail.put(self.rng.choice(lane.threads), label, True)
            lane.steps.append("gmail: a pipeline's label")

    # -- the laws

    def settle(self) -> None:
        """Nothing more happens; the syncs that this takes, and one that has to write nothing."""
        for _ in range(4):
            assert self.sync()
            if not self._left():
                break
        before = self.gmail.writes
        assert self.sync()
        assert self.gmail.writes == before, "a mailbox at rest is written to"
        assert not self._left()

    def _left(self) -> bool:
        with self.sessions() as session:
            asked = (
                select(Touch.heard_at).where(Touch.mailbox_id == self.mailbox.id),
                select(Shadow.box_id).where(Shadow.mailbox_id == self.mailbox.id, Shadow.pushing.is_not(None)),
                select(Label.id).where(Label.mailbox_id == self.mailbox.id, Label.former),
                select(LabelMailbox.mailbox_id).where(
                    LabelMailbox.mailbox_id == self.mailbox.id, LabelMailbox.wanted_at.is_not(None)
                ),
            )
            return any(session.scalar(query.limit(1)) is not None for query in asked)

    def check(self) -> None:
        """Both sides say the same, and where it is known which was later, that."""
        with self.sessions() as session:
            filed = self._filed(session)
            label_of = self._own_labels(session)
            query = select(Box.id, Box.name).where(Box.deleted_at.is_(None))
            names = {row[0]: row[1] for row in session.execute(query)}
        known = {id_ for ids in label_of.values() for id_ in ids}
        carried = set().union(*self.gmail.carried.values())
        assert carried <= known, f"labels that nobody knows: {carried - known}"
        for lane in self.lanes:
            told = "\n".join(lane.steps)
            for thread in lane.threads:
                carried = set().union(*(self.gmail.carried[id_] for id_ in self.gmail.threads[thread]))
                inside = {box for box in filed.get(thread, ()) if box in names and label_of.get(box)}
                shown = {box for box, ids in label_of.items() if ids & carried}
                assert shown == inside, f"{thread}: Gmail {shown}, Tracker {inside}\n{told}"
                assert self.gmail.id_of("Boxes/Sales") not in carried, told
            if not lane.wild:
                for (thread, box), on in lane.want.items():
                    assert (box in filed.get(thread, ())) == on, f"{thread} {box}: not {on}\n{told}"
                for box, name in lane.names.items():
                    assert box in lane.unsure_names or names[box] == name, (
                        f"{box} is {names[box]}, not {name}\n{told}"
                    )
            for box in lane.boxes:
                for id_ in label_of.get(box, ()):
                    if box in names:
                        assert self.gmail.names[id_] == f"Boxes/Sales/{names[box]}", told

    def _filed(self, session: Session) -> dict[str, set[int]]:
        query = (
            select(Thread.gmail_thread_id, Filing.box_id)
            .join(Filing, Filing.conversation_id == Thread.conversation_id)
            .where(Thread.mailbox_id == self.mailbox.id, Filing.state == FILED)
        )
        found: dict[str, set[int]] = {}
        for thread, box in session.execute(query):
            found.setdefault(thread, set()).add(box)
        return found

    def _own_labels(self, session: Session) -> dict[int, set[str]]:
        query = select(Label.box_id, Label.gmail_label_id).where(
            Label.mailbox_id == self.mailbox.id, Label.box_id.is_not(None), Label.gone_at.is_(None)
        )
        found: dict[int, set[str]] = {}
        for box, id_ in session.execute(query):
            if id_ in self.gmail.names:
                found.setdefault(box, set()).add(id_)
        return found

    def end(self) -> None:
        """The mailbox is out of the way."""
        with transaction(self.sessions) as session:
            switch.off(session, self.viewer, self.mailbox, self.services.now())
            session.execute(text("DELETE FROM copies WHERE mailbox_id = :id"), {"id": self.mailbox.id})


def play(sessions: Sessions, services: Services, user: User, seed: int, *, lanes: int, steps: int) -> int:
    """One world from its beginning to its rest; how many interleavings that were."""
    world = World(sessions, services, user, seed, lanes)
    try:
        world.play(steps)
        world.settle()
        world.check()
    except (AssertionError, Exception) as error:
        error.add_note(f"seed {seed}")
        raise
    world.end()
    return lanes
