"""Real worker processes, more databases, and a record of what was asked of the sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from config.postgres import Cluster
from gmail_sync.sandbox import SandboxMailbox
from gmail_sync.sandbox.routes import table
from gmail_sync.wanted import Wanted
from tests.databases import copied
from tests.gmail_sync.syncing import Team, make_team, story
from tracker.db import Sessions, make_engine, make_sessions
from tracker.events import Event
from tracker.mailboxes import Backfill, Mailbox
from tracker.messages import Copy

ROOT = Path(__file__).parents[2]
SECRET = "a secret key for tests only, not for the world"


@dataclass
class Worker:
    """A worker process in a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    @property
    def words(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")[-4000:]


@dataclass
class Workers:
    """Starts workers on one database and one sandbox; none outlives the test."""

    team: Team
    database_url: str
    folder: Path
    running: list[Worker] = field(default_factory=list)

    def start(self) -> Worker:
        """Start one."""
        log = self.folder / f"worker-{len(self.running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "config.cli", "worker"],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running.append(Worker(process, log))
        return self.running[-1]

    def stop(self) -> None:
        """Kill those that still run."""
        for worker in self.running:
            if worker.process.poll() is None:
                worker.kill()

    def _environment(self) -> dict[str, str]:
        url = self.team.sandbox.url
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
        return kept | {
            "PYTHONPATH": str(ROOT),
            "TRACKER_DATABASE_URL": self.database_url,
            "TRACKER_DATA_DIR": str(self.folder / "var"),
            "TRACKER_SECRET_KEY": SECRET,
            "TRACKER_GMAIL_API_URL": url,
            "TRACKER_GOOGLE_AUTH_URL": f"{url}/o/oauth2/v2/auth",
            "TRACKER_GOOGLE_TOKEN_URL": f"{url}/token",
            "TRACKER_GOOGLE_CERTS_URL": f"{url}/oauth2/v3/certs",
            "TRACKER_GMAIL_UNITS_PER_MINUTE": "1000000000",
            "TRACKER_WORKER_STALLED_SECONDS": "1",
            "TRACKER_POLL_SECONDS": "1",
        }


@pytest.fixture
def workers(team: Team, database_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Workers on the team's database."""
    made = Workers(team, database_url, tmp_path)
    yield made
    made.stop()


@dataclass
class Asked:
    """The API calls that reached the sandbox, parts of batches one by one, in order."""

    paths: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def more_than(self, count: int) -> bool:
        """Whether there were more calls than these."""
        return len(self.paths) > count

    def gets(self, start: int = 0) -> list[tuple[str, str]]:
        """The fetches since `start`: ("messages" or "threads", id)."""
        parts = [path.split("/") for path in self.paths[start:]]
        return [(part[-2], part[-1]) for part in parts if part[-2] in ("messages", "threads")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What is asked of the sandbox from now on."""
    found, handle = Asked(), table.handle

    def recorded(sandbox: Any, request: Any) -> Any:
        found.paths.append(request.path)
        found.times.append(time.monotonic())
        return handle(sandbox, request)

    monkeypatch.setattr(table, "handle", recorded)
    return found


@contextmanager
def opened(url: str) -> Iterator[Sessions]:
    """Sessions on a database, whose connections are closed afterwards."""
    engine = make_engine(url)
    try:
        yield make_sessions(engine)
    finally:
        engine.dispose()


def elsewhere(team: Team, sessions: Sessions) -> Team:
    """A team at the same sandbox, in another database."""
    return make_team(team.sandbox, sessions)


@pytest.fixture
def other(cluster: Cluster, team: Team) -> Iterator[Team]:
    """Another team at the same sandbox, in a database of its own: the one that nothing disturbs."""
    with copied(cluster) as url, opened(url) as sessions:
        yield elsewhere(team, sessions)


#: Machines are slow at times; what is waited for comes much sooner on most.
PATIENCE = 3.0


def until(condition: Callable[[], Any], seconds: float, what: str = "it", workers: Sequence[Worker] = ()) -> None:
    """Wait until something holds; fails with the workers' words when it takes too long."""
    ends = time.monotonic() + seconds * PATIENCE
    while not condition():
        if time.monotonic() > ends:
            raise AssertionError("\n".join([f"{what} did not come true in time", *(w.words for w in workers)]))
        time.sleep(0.05)


def up_to_date(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> bool:
    """Whether nothing is left to do: the cursor is Gmail's, nothing is wanted, the first reading is over."""
    with team.sessions() as session:
        row = session.get_one(Mailbox, mailbox.id)
        left = session.scalar(select(Wanted.gmail_id).where(Wanted.mailbox_id == mailbox.id).limit(1))
    return row.backfill == Backfill.DONE and left is None and int(row.history_id or 0) == box.history_id


def held(team: Team, mailbox: Mailbox) -> set[str]:
    """The ids of all messages whose commit happened."""
    with team.sessions() as session:
        return set(session.scalars(select(Copy.gmail_id).where(Copy.mailbox_id == mailbox.id)))


def visible_story(session: Session) -> dict[str, Any]:
    """The story of what is not in the trash.

    What came and went, or was trashed, between two looks is here or not, depending on who looked when.
    """
    found = story(session)
    seen = {copy[3] for copy in found["copies"]}
    groups = [tuple(name for name in group if name in seen) for group in found["conversations"]]
    filings = [(tuple(name for name in group if name in seen), *rest) for group, *rest in found["filings"]]
    threads = {copy[4] for copy in found["copies"]}
    return {
        "copies": found["copies"],
        "conversations": sorted(filter(None, groups)),
        "arrivals": [arrival for arrival in found["arrivals"] if arrival[1] in seen],
        "filings": sorted(filing for filing in filings if filing[0]),
        "threads": sorted(thread for thread, _ in found["threads"] if thread in threads),
    }


def no_event_twice(session: Session) -> bool:
    """Whether each thing that happened was written down once; mails of these tests have each their own date."""
    what = (Event.kind, Event.at, Event.message_id, Event.conversation_id, Event.box_id)
    arrivals = [tuple(row) for row in session.execute(select(*what).where(Event.kind.like("message.%")))]
    assert len({row[:2] for row in arrivals}) == len(arrivals)
    others = select(Event.kind, Event.conversation_id, Event.box_id, Event.message_id, Event.data)
    rows = [str(tuple(row)) for row in session.execute(others.where(Event.kind.not_like("message.%")))]
    assert len(set(rows)) == len(rows)
    return True


def sql(sessions: Sessions, statement: str, **values: Any) -> Any:
    """Run one statement behind the tracker's back; the first column of the first row, if there is one."""
    with sessions() as session, session.begin():
        done: Any = session.execute(text(statement), values)
        return done.scalar() if done.returns_rows else None


def in_background(work: Callable[[threading.Event], None]) -> Callable[[], None]:
    """Run `work` in a thread until the function that is returned is called; its exception is raised there."""
    ending, wrong = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work(ending)
        except BaseException as error:  # handed over to the test
            wrong.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def finish() -> None:
        ending.set()
        thread.join(30)
        if wrong:
            raise wrong[0]

    return finish


def with_clock_ahead(team: Team, seconds: float) -> Team:
    """The same team, some time later."""
    from datetime import timedelta

    now = team.services.now
    return replace(team, services=replace(team.services, now=lambda: now() + timedelta(seconds=seconds)))
