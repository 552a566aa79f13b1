"""kill -9 at any point: what was committed stays, what was not is done again, nothing is done twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import delete, event, func, insert, select, text
from sqlalchemy.orm import Session

from config.postgres import Cluster
from gmail_sync import check, client
from gmail_sync.sandbox import Fault, SandboxMailbox
from gmail_sync.sync import lock, sync_mailbox
from tests.databases import copied
from tests.gmail_sync import processes
from tests.gmail_sync.processes import (
    Asked,
    Workers,
    elsewhere,
    held,
    in_background,
    no_event_twice,
    opened,
    until,
    up_to_date,
    visible_story,
)
from tests.gmail_sync.syncing import ALICE, CHARLIE, Team, in_gmail, mail, stored, story
from tests.tracker.domain import a_box
from tracker import mailboxes
from tracker.db import Sessions, transaction
from tracker.events import Event
from tracker.jobs import Again
from tracker.mailboxes import Mailbox
from tracker.messages import Copy
from tracker.people import system_viewer

workers, asked, other = processes.workers, processes.asked, processes.other

BEGINNING = datetime(2026, 3, 1, 8, tzinfo=UTC)
KILLS = 4
#: What a kill may cost besides the batches under way: profile, labels, a listing's page, history.
OVERHEAD = 100


class Mails:
    """Mails with a date of their own each, so that an event that is written twice shows."""

    def __init__(self) -> None:
        self.count = 0

    def next(self, sender: str = CHARLIE, **headers: str) -> bytes:
        """A new mail."""
        self.count += 1
        date = format_datetime(BEGINNING + timedelta(minutes=self.count))
        name = f"<{self.count}@outside.example>"
        return mail(sender, subject=f"Topic {self.count}", date=date, Message_ID=name, **headers)


def fill(box: SandboxMailbox, mails: Mails, threads: int) -> None:
    """Threads of one to four mails."""
    for number in range(threads):
        first = box.insert(mails.next(CHARLIE if number % 3 else "dora@outside.example"))
        thread = box.messages.get(first).short["threadId"]
        for _ in range(number % 4):
            box.insert(mails.next(), thread_id=thread)


def live_step(box: SandboxMailbox, mails: Mails, seed: int) -> Callable[[], None]:
    """One thing that happens in a mailbox: mail comes, goes, is trashed, labelled."""
    rng = random.Random(seed)

    def step() -> None:
        one = rng.choice(box.message_ids(include_spam_trash=True))
        match rng.randrange(7):
            case 0 | 1:
                box.insert(mails.next())
            case 2:
                box.insert(mails.next(), thread_id=box.messages.get(one).short["threadId"])
            case 3:
                box.delete(one)
            case 4:
                box.trash(one)
            case 5:
                box.untrash(one)
            case _:
                box.modify(one, add=(rng.choice(["STARRED", "IMPORTANT", "UNREAD"]),), remove=("INBOX",))

    return step


def live(box: SandboxMailbox, mails: Mails, seed: int) -> Callable[[threading.Event], None]:
    """Things happen in a mailbox while it is synced."""
    rng, step = random.Random(seed), live_step(box, mails, seed)

    def run(ending: threading.Event) -> None:
        while not ending.wait(rng.uniform(0.0, 0.08)):
            step()

    return run


def connect(team: Team) -> Mailbox:
    """Alice's mailbox in a team where a box waits for Dora's mail."""
    mailbox = team.connect(ALICE)
    with transaction(team.sessions) as session:
        a_box(session, system_viewer(mailbox.team_id, "tests"), "Dora's deal", "dora@outside.example")
    return mailbox


def floor(box: SandboxMailbox) -> int:
    """The fewest quota units that bring the mailbox."""
    fetching = sum(min(40, 20 * len(ids)) for ids in box.threads().values())
    return fetching + 5 * -(-len(box.message_ids()) // 500)


def killed_again_and_again(
    team: Team,
    mailbox: Mailbox,
    box: SandboxMailbox,
    workers: Workers,
    asked: Asked,
    rng: random.Random,
    kills: int,
) -> list[tuple[set[str], int]]:
    """Kill workers at random points; the last one comes to the end.

    Returns, for each kill, what had been committed by then and how many calls had been made.
    """
    found = []
    for _ in range(kills):
        began = len(asked.paths)
        worker = workers.start()
        until(partial(asked.more_than, began), 40, "a first call", [worker])
        time.sleep(rng.uniform(0.0, 1.2))
        worker.kill()
        found.append((held(team, mailbox), len(asked.paths)))
    worker = workers.start()
    until(lambda: up_to_date(team, mailbox, box), 60, "the sync", [worker])
    worker.kill()
    return found


def nothing_committed_was_fetched_again(
    asked: Asked, kills: list[tuple[set[str], int]], threads: dict[str, list[str]]
) -> bool:
    """Whether, after each kill, only what had not been committed was asked for."""
    for done, start in kills:
        for kind, id_ in asked.gets(start):
            if kind == "messages":
                assert id_ not in done, f"message {id_} was fetched again"
            elif id_ in threads:
                assert not set(threads[id_]) <= done, f"thread {id_} was fetched again"
    return True


def agree(team: Team, other: Team, box: SandboxMailbox, *, still: bool) -> bool:
    """Whether the disturbed team holds what an undisturbed one that reads the mailbox now does.

    Where mail was deleted that had put its conversation into a box, the conversation stays there: only in a
    mailbox that lay still are the filings the very same.
    """
    mailbox = connect(other)
    other.sync(mailbox)
    with team.sessions() as mine, other.sessions() as theirs:
        assert stored(mine, mailbox) == in_gmail(box)
        found, expected = visible_story(mine), visible_story(theirs)
        filed, expected_filed = found.pop("filings"), expected.pop("filings")
        assert found == expected
        assert expected_filed
        assert set(expected_filed) <= set(filed)
        assert not still or filed == expected_filed
        assert no_event_twice(mine)
    return True


def backfill_killed(team: Team, other: Team, workers: Workers, asked: Asked, seed: int, kills: int) -> None:
    """The first reading of a mailbox that lies still."""
    rng, box = random.Random(seed), team.sandbox.mailbox(ALICE)
    fill(box, Mails(), 180)
    mailbox = connect(team)
    team.sandbox.faults.add(Fault(kind="latency", method="*.get", seconds=0.006))
    killed = killed_again_and_again(team, mailbox, box, workers, asked, rng, kills)
    team.sandbox.faults.clear()
    spent = team.sandbox.stats.units_total(ALICE)
    assert spent <= floor(box) + kills * (3 * 1000 + OVERHEAD)
    assert nothing_committed_was_fetched_again(asked, killed, box.threads())
    assert agree(team, other, box, still=True)


def history_killed(team: Team, other: Team, workers: Workers, asked: Asked, seed: int, kills: int) -> None:
    """A mailbox in which things happen all the time."""
    rng, box, mails = random.Random(seed), team.sandbox.mailbox(ALICE), Mails()
    fill(box, mails, 60)
    mailbox = connect(team)
    team.sync(mailbox)
    team.sandbox.faults.add(Fault(kind="latency", seconds=0.01))
    finish = in_background(live(box, mails, seed))
    try:
        for _ in range(kills):
            began = len(asked.paths)
            worker = workers.start()
            until(partial(asked.more_than, began), 40, "a first call", [worker])
            time.sleep(rng.uniform(0.0, 1.5))
            worker.kill()
    finally:
        finish()
    worker = workers.start()
    until(lambda: up_to_date(team, mailbox, box), 60, "the sync", [worker])
    worker.kill()
    team.sandbox.faults.clear()
    assert agree(team, other, box, still=False)


def test_a_first_reading_that_is_killed_ends_as_if_nothing_had_been(
    team: Team, other: Team, workers: Workers, asked: Asked
) -> None:
    backfill_killed(team, other, workers, asked, seed=1, kills=2)


def test_following_that_is_killed_ends_as_if_nothing_had_been(
    team: Team, other: Team, workers: Workers, asked: Asked
) -> None:
    history_killed(team, other, workers, asked, seed=2, kills=2)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(100, 112))
def test_first_readings_killed_often(team: Team, other: Team, workers: Workers, asked: Asked, seed: int) -> None:
    backfill_killed(team, other, workers, asked, seed, kills=KILLS)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(200, 212))
def test_following_killed_often(team: Team, other: Team, workers: Workers, asked: Asked, seed: int) -> None:
    history_killed(team, other, workers, asked, seed, kills=KILLS)


class Cut(BaseException):
    """The process is gone: nothing catches it, and nothing is committed or asked any more."""


class Steps:
    """Counts what lasts, commits and calls, and ends the process right after one of them."""

    def __init__(self, end_after: int | None) -> None:
        self.end_after = end_after
        self.taken: list[str] = []
        self.dead = False

    def before(self) -> None:
        """About to do something that lasts."""
        if self.dead:
            raise Cut

    def after(self, what: str) -> None:
        """Something that lasts was done."""
        self.taken.append(what)
        if self.end_after is not None and len(self.taken) >= self.end_after:
            self.dead = True
            raise Cut


@contextmanager
def stepping(sessions: Sessions, steps: Steps) -> Iterator[None]:
    """Count, and cut, what happens inside.

    Between two things that last, it makes no difference where a process dies; so cutting after each is cutting
    everywhere.
    """
    request = client.Transport.request

    def counted(self: client.Transport, *arguments: object, **named: object) -> object:
        steps.before()
        answer = request(self, *arguments, **named)  # type: ignore[arg-type]
        steps.after("label" if "labelIds=" in str(arguments) + str(named) else "call")
        return answer

    def before_commit(session: Session) -> None:
        steps.before()
        wrote = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
        session.info["wrote"] = session.execute(wrote).scalar()

    def after_commit(session: Session) -> None:
        if session.info["wrote"]:
            steps.after("commit")

    event.listen(sessions, "before_commit", before_commit)
    event.listen(sessions, "after_commit", after_commit)
    client.Transport.request = counted  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        client.Transport.request = request  # type: ignore[method-assign]
        event.remove(sessions, "before_commit", before_commit)
        event.remove(sessions, "after_commit", after_commit)


def first_reading(box: SandboxMailbox, look: Callable[[], None]) -> None:
    """Nothing happens but the reading itself."""


def following(box: SandboxMailbox, look: Callable[[], None]) -> None:
    """Mail comes, goes, is trashed and labelled; a thread grows."""
    look()
    ids = box.message_ids()
    box.modify(ids[0], add=("STARRED",), remove=("INBOX",))
    box.delete(ids[1])
    box.trash(ids[2])
    later = Mails()
    later.count = 50
    for _ in range(2):
        box.insert(later.next("dora@outside.example"))
    for _ in range(2):  # two wanted: the whole thread is brought, with what is held already
        box.insert(later.next(), thread_id=box.messages.get(ids[3]).short["threadId"])
    box.delete(box.insert(later.next()))


def expired(box: SandboxMailbox, look: Callable[[], None]) -> None:
    """The same, and the cursor is too old."""
    following(box, look)
    box.expire_history()
    box.modify(box.message_ids()[0], add=("IMPORTANT",))


@pytest.mark.parametrize("scenario", [first_reading, following, pytest.param(expired, marks=pytest.mark.soak)])
def test_a_sync_cut_after_any_single_step_ends_as_if_nothing_had_been(
    scenario: Callable[[SandboxMailbox, Callable[[], None]], None],
    team: Team,
    other: Team,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As many labels as the scenario needs.
    monkeypatch.setattr(client.Gmail, "label_ids", lambda self: ["INBOX", "STARRED", "IMPORTANT"])
    box = team.sandbox.mailbox(ALICE)
    fill(box, Mails(), 4)
    mailbox, undisturbed = connect(team), connect(other)

    def look() -> None:
        team.sync(mailbox)
        other.sync(undisturbed)

    scenario(box, look)
    other.sync(undisturbed)
    with other.sessions() as session:
        expected = story(session)
    template = str(team.sessions.kw["bind"].url.database)
    team.sessions.kw["bind"].dispose()  # nobody may be connected to what is copied

    def run(end_after: int | None) -> Steps:
        with copied(cluster, template) as url, opened(url) as sessions:
            steps, mine = Steps(end_after), elsewhere(team, sessions)
            with stepping(sessions, steps):
                try:
                    sync_mailbox(mine.services, mailbox.id)
                except Cut:
                    assert steps.dead
            mine.sync(mailbox)
            with sessions() as session:
                assert stored(session, mailbox) == in_gmail(box)
                assert story(session) == expected
                assert no_event_twice(session)
        return steps

    whole = run(None)
    assert {"commit", "call"} <= set(whole.taken)
    labels = [number for number, what in enumerate(whole.taken, 1) if what == "label"]
    repeated = range(labels[1], labels[-1]) if labels else range(0)  # listing one label is like listing another
    for number in range(1, len(whole.taken) + 1):
        if number in repeated:
            continue
        assert run(number).dead, f"cut {number} of {len(whole.taken)} never came"


def test_what_a_killed_worker_was_doing_is_told_by_rows_not_by_jobs(team: Team, workers: Workers) -> None:
    # No job is queued at all: the wish in the mailbox's row is enough for a worker to begin.
    box = team.sandbox.mailbox(ALICE)
    fill(box, Mails(), 3)
    mailbox = team.connect(ALICE)
    assert lock(mailbox.id) == f"mailbox:{mailbox.id}"
    worker = workers.start()
    until(lambda: up_to_date(team, mailbox, box), 40, "the sync", [worker])


def test_a_sync_put_off_by_a_fault_keeps_what_it_had(team: Team) -> None:
    box = team.sandbox.mailbox(ALICE)
    fill(box, Mails(), 80)
    mailbox = team.connect(ALICE)
    team.sandbox.faults.add(Fault(kind="lost_answer", method="batch", skip=1, times=4))
    hasty = team.with_services(patience=0.0)
    with pytest.raises(Again):
        sync_mailbox(hasty.services, mailbox.id)
    assert held(team, mailbox)


def test_an_expired_cursor_ends_as_if_one_had_looked_all_the_time(team: Team, other: Team) -> None:
    box, mails = team.sandbox.mailbox(ALICE), Mails()
    fill(box, mails, 12)
    sleeper, awake = connect(team), connect(other)
    team.sync(sleeper)
    other.sync(awake)
    step, rng = live_step(box, mails, 7), random.Random(7)
    for number in range(60):
        step()
        if rng.random() < 0.5:
            other.sync(awake)
        if number == 40:
            other.sync(awake)
            box.expire_history()
            box.modify(box.message_ids()[0], add=("STARRED",))
    team.sync(sleeper)
    other.sync(awake)
    with team.sessions() as mine, other.sessions() as theirs:
        assert stored(mine, sleeper) == in_gmail(box) == stored(theirs, awake)
        assert visible_story(mine) == visible_story(theirs)
        assert no_event_twice(mine)
    assert team.read(sleeper).gap_at is None


def test_two_workers_fetch_each_message_once(team: Team, workers: Workers) -> None:
    box = team.sandbox.mailbox(ALICE)
    fill(box, Mails(), 120)
    team.sandbox.faults.add(Fault(kind="latency", method="*.get", seconds=0.002))
    mailbox = connect(team)
    both = [workers.start(), workers.start()]
    until(lambda: up_to_date(team, mailbox, box), 60, "the sync", both)
    assert all(worker.process.poll() is None for worker in both)
    calls = team.sandbox.stats.calls(ALICE)
    threads = [len(ids) for ids in box.threads().values()]
    assert calls["threads.get"] == sum(size > 1 for size in threads)
    assert calls["messages.get"] == sum(size == 1 for size in threads)
    assert calls["messages.list"] == 1
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)
        assert no_event_twice(session)


def lost(team: Team, mailbox: Mailbox, ids: list[str]) -> None:
    """Copies vanish behind the tracker's back."""
    with transaction(team.sessions) as session:
        session.execute(delete(Copy).where(Copy.mailbox_id == mailbox.id, Copy.gmail_id.in_(ids)))


def made_up(team: Team, mailbox: Mailbox, gmail_id: str) -> None:
    """A copy appears of a message that Gmail does not hold."""
    with transaction(team.sessions) as session:
        row = session.scalars(select(Copy).where(Copy.mailbox_id == mailbox.id).limit(1)).one()
        names = {column.name for column in Copy.__table__.columns} - {"id", "hidden"}
        kept = {name: getattr(row, name) for name in names}
        session.execute(insert(Copy).values(**(kept | {"gmail_id": gmail_id})))


def level(team: Team, mailbox: Mailbox) -> str:
    """How the mailbox's health looks."""
    return mailboxes.health(team.read(mailbox), team.services.now(), team.services.silence).level


def test_a_check_names_exactly_what_was_lost_and_repairs_it(team: Team) -> None:
    box = team.sandbox.mailbox(ALICE)
    fill(box, Mails(), 12)
    mailbox = connect(team)
    team.sync(mailbox)
    assert level(team, mailbox) == "ok"
    gone = sorted(box.message_ids()[2:9:3])
    lost(team, mailbox, gone)
    made_up(team, mailbox, "1234567890abcdef")
    report = team.check(mailbox)
    assert (report.missing, report.extra) == (len(gone), 1)
    assert (sorted(report.missing_ids), report.extra_ids) == (gone, ("1234567890abcdef",))
    assert report.gmail == len(box.message_ids())
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)
    assert level(team, mailbox) == "bad"
    team.sync(mailbox)
    assert level(team, mailbox) == "bad"  # only a clean check says that all is well again
    assert team.check(mailbox).clean
    assert level(team, mailbox) == "ok"
    assert team.check(mailbox).clean
    with team.sessions() as session:
        assert session.scalar(select(func.count()).where(Event.kind == "mailbox.gap")) == 1


def test_mail_that_comes_and_goes_during_a_check_is_no_gap(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    box, mails = team.sandbox.mailbox(ALICE), Mails()
    fill(box, mails, 8)
    mailbox = connect(team)
    team.sync(mailbox)
    listed = check.list_all

    def list_while_things_happen(*arguments: Any, **named: Any) -> int:
        box.insert(mails.next())  # listed, and not held yet
        box.delete(box.message_ids()[-1])  # held, and not listed any more
        return listed(*arguments, **named)

    monkeypatch.setattr(check, "list_all", list_while_things_happen)
    report = team.check(mailbox)
    monkeypatch.undo()
    assert (report.missing, report.extra) == (0, 0)
    assert level(team, mailbox) == "ok"
    assert team.check(mailbox).clean
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)


def test_a_gap_shows_even_while_new_mail_comes(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    box, mails = team.sandbox.mailbox(ALICE), Mails()
    fill(box, mails, 8)
    mailbox = connect(team)
    team.sync(mailbox)
    gone = box.message_ids()[3]
    lost(team, mailbox, [gone])
    listed = check.list_all

    def list_while_mail_comes(*arguments: Any, **named: Any) -> int:
        box.insert(mails.next())
        return listed(*arguments, **named)

    monkeypatch.setattr(check, "list_all", list_while_mail_comes)
    report = team.check(mailbox)
    monkeypatch.undo()
    assert (report.missing_ids, report.extra) == ((gone,), 0)
    team.sync(mailbox)
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)
