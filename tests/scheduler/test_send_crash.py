"""kill -9 at every step, storms, lost answers: each mail is delivered exactly once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from gmail_sync.sandbox import Fault
from scheduler import outbox
from scheduler.outbox import About, ScheduledEmail, When, Zone
from scheduler.states import State
from tests.gmail_sync import processes
from tests.gmail_sync.processes import Workers, until
from tests.gmail_sync.syncing import ALICE, Team
from tests.scheduler.sending import a_letter, drafts_of, received, sent_by
from tests.scheduler.zygote import Zygote, zygote
from tests.tracker.domain import a_box
from tracker.db import transaction, utc_now
from tracker.events import Event
from tracker.filing import FILED, Filing
from tracker.mailboxes import Mailbox
from tracker.people import system_viewer

workers = processes.workers
DORA = "dora@outside.example"
SOAK = "TRACKER_SOAK" in os.environ


@pytest.fixture
def fresh(team: Team, database_url: str, tmp_path: Path) -> Iterator[Zygote]:
    """Workers by the dozen."""
    team.sandbox.add_user(DORA)
    team.sandbox.sends_per_day = 0
    google = {"client_id": team.sandbox.client_id, "client_secret": team.sandbox.client_secret}
    with zygote(database_url, google, team.sandbox.url, tmp_path / "zygote.log") as made:
        yield made


def queue(team: Team, mailbox: Mailbox, *subjects: str, about: About | None = None) -> None:
    """Mails that are due now."""
    now = utc_now()
    when = When(now.replace(tzinfo=None), "UTC", Zone.NOW)
    with transaction(team.sessions) as session:
        for subject in subjects:
            letter = a_letter(mailbox.address, DORA, subject, subject)
            viewer = system_viewer(mailbox.team_id, "tests")
            outbox.queue(session, viewer, mailbox, letter, when, about or About(), now=now)


def count(team: Team) -> Counter[str]:
    """How many mails are in each state."""
    with team.sessions() as session:
        query = select(ScheduledEmail.state, func.count()).group_by(ScheduledEmail.state)
        return Counter(dict(session.execute(query).all()))


def each_once(team: Team, subjects: list[str], *mailboxes: Mailbox) -> bool:
    """Whether each mail was delivered once, is known to have gone once, and has left nothing behind."""
    once = dict.fromkeys(subjects, 1)
    assert received(team.sandbox, DORA) == once
    assert sum((sent_by(team.sandbox, box.address) for box in mailboxes), Counter()) == once
    assert count(team) == {State.SENT: len(subjects)}
    assert [drafts_of(team.sandbox, box.address) for box in mailboxes] == [{} for _ in mailboxes]
    with team.sessions() as session:
        query = select(Event.data["subject"].astext).where(Event.kind == "email.sent")
        assert Counter(session.scalars(query)) == once
        ids = list(session.scalars(select(ScheduledEmail.sent_gmail_id)))
        assert len(set(ids)) == len(ids)
    return True


def kill_at_each_step(
    team: Team, fresh: Zygote, fault: Callable[[int], list[Fault]] = lambda _: [], *, every: int = 1
) -> int:
    """Kill a worker after its first step, its second …, each time with new mail; returns how many were killed."""
    mailbox, subjects, kills = team.connect(ALICE), ["warm"], 0
    queue(team, mailbox, *subjects)
    fresh.warm()
    for step in range(1, 200, every):
        mine = [f"{step}.{number}" for number in range(3)]
        subjects += mine
        queue(team, mailbox, *mine)
        for one in fault(step):
            team.sandbox.faults.add(one)
        ended = fresh.run(kill_after=step)
        team.sandbox.faults.clear()
        assert ended in (0, signal.SIGKILL)
        if ended == 0:
            break
        kills += 1
        assert fresh.run() == 0  # another worker takes over
    assert each_once(team, subjects, mailbox)
    return kills


def test_a_worker_that_is_killed_after_any_step_delivers_each_mail_once(team: Team, fresh: Zygote) -> None:
    assert kill_at_each_step(team, fresh) >= 20


def test_the_same_with_lost_answers_on_the_way(team: Team, fresh: Zygote) -> None:
    def lost(step: int) -> list[Fault]:
        return [Fault(("lost_answer", "drop")[step // 3 % 2], "drafts.*", skip=step % 4, times=2)]  # type: ignore[arg-type]

    assert kill_at_each_step(team, fresh, lost, every=1 if SOAK else 5) >= 5


def storm(team: Team, probability: float) -> None:
    """Everything goes wrong at times, for those who write."""
    for kind in ("drop", "lost_answer"):
        team.sandbox.faults.add(Fault(kind, "drafts.*", probability=probability))  # type: ignore[arg-type]
    for status, reason in ((429, "rateLimitExceeded"), (403, "userRateLimitExceeded"), (500, "backendError")):
        for method in ("drafts.*", "threads.*"):
            fault = Fault("status", method, probability=probability, status=status, reason=reason, retry_after=0)
            team.sandbox.faults.add(fault)


def killed_at_random(team: Team, fresh: Zygote, *, number: int, mails: int, kills: int, seed: int) -> None:
    """Workers on several mailboxes in a storm, killed again and again; one of them comes to the end."""
    rng = random.Random(seed)
    addresses = [f"rep{one}@team.example" for one in range(6)]
    mailboxes = []
    for address in addresses:
        team.sandbox.add_user(address)
        mailboxes.append(team.connect(address))
    subjects = [f"mail {one}" for one in range(mails)]
    for place, mailbox in enumerate(mailboxes):
        queue(team, mailbox, *subjects[place :: len(mailboxes)])
    storm(team, 0.04)
    running = [fresh.fork(threads=4, forever=True) for _ in range(number)]
    for _ in range(kills):
        time.sleep(rng.uniform(0.02, 0.4))
        unlucky = running.pop(rng.randrange(len(running)))
        fresh.kill(unlucky)
        running.append(fresh.fork(threads=4, forever=True))
    until(lambda: count(team) == {State.SENT: mails} or count(team)[State.UNCERTAIN], 120, "the end of the queue")
    for pid in running:
        fresh.kill(pid)
    assert each_once(team, subjects, *mailboxes)


@pytest.mark.parametrize("number", [1, 4])
def test_workers_killed_in_a_storm_deliver_each_mail_once(team: Team, fresh: Zygote, number: int) -> None:
    killed_at_random(team, fresh, number=number, mails=36, kills=4, seed=number)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("seed", range(100, 102))
def test_two_thousand_mails_and_two_hundred_kills(team: Team, fresh: Zygote, number: int, seed: int) -> None:
    killed_at_random(team, fresh, number=number, mails=2000, kills=60, seed=seed)


def test_the_whole_worker_prepares_sends_and_files_without_being_woken(team: Team, workers: Workers) -> None:
    team.sandbox.add_user(DORA)
    mailbox = team.connect(ALICE)
    with transaction(team.sessions) as session:
        box = a_box(session, system_viewer(mailbox.team_id, "tests"), "Dora's deal")
    queue(team, mailbox, "One", about=About(box=box))
    worker = workers.start()

    def filed() -> bool:
        with team.sessions() as session:
            query = select(Filing.id).where(Filing.box_id == box.id, Filing.state == FILED)
            return session.scalar(query) is not None

    until(lambda: filed() and count(team) == {State.SENT: 1}, 60, "the mail in its box", [worker])
    assert received(team.sandbox, DORA) == {"One": 1}
