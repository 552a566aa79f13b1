"""Workers that begin in milliseconds: a process that has imported everything, and forks one for each line.

    {"kill_after": 7, "threads": 0, …}   → forks a worker, prints its process id
    {"wait": 1234}                       → prints the signal that ended it, or 0
    {"warm": true, …}                    → works itself, so that workers inherit what was compiled

A worker prepares and sends until nothing is left or somebody kills it; with `kill_after` it kills itself with
SIGKILL right after so many things that last (a commit, a call that reached Gmail).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]


# -- in the test


@dataclass
class Zygote:
    """The process, as tests see it."""

    process: subprocess.Popen[str]
    options: dict[str, Any]
    running: set[int] = field(default_factory=set)

    def fork(self, **options: Any) -> int:
        """A new worker; its process id."""
        pid = int(self._ask(self.options | options))
        self.running.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        """SIGKILL: nothing is tidied up."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def wait(self, pid: int) -> int:
        """Wait until it ends; the signal that ended it, or 0."""
        self.running.discard(pid)
        return int(self._ask({"wait": pid}))

    def warm(self) -> None:
        """Do what waits now, without a worker; those to come need not compile it again."""
        self._ask(self.options | {"warm": True})

    def run(self, **options: Any) -> int:
        """Fork one and wait until it ends."""
        return self.wait(self.fork(**options))

    def _ask(self, line: dict[str, Any]) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the zygote has died"
        return answer


@contextmanager
def zygote(database_url: str, credentials: dict[str, Any], api_url: str, log: Path) -> Iterator[Zygote]:
    """A zygote whose workers use this database and this sandbox; none outlives the block."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.scheduler.zygote"], cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    made = Zygote(process, {"database_url": database_url, "google": credentials, "api_url": api_url})
    try:
        yield made
    finally:
        for pid in list(made.running):
            made.kill(pid)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


# -- in the process


class Steps:
    """Counts what lasts, and ends the process right after one of them."""

    def __init__(self, kill_after: int) -> None:
        self.left, self.mutex = kill_after, threading.Lock()

    def taken(self) -> None:
        """Something that lasts was done."""
        with self.mutex:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def cut(sessions: Any, steps: Steps) -> None:
    """Have it counted. Between two things that last, it makes no difference where a process dies."""
    from sqlalchemy import event, text

    from gmail_sync import client

    request = client.Transport.request

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        answer = request(self, *arguments, **named)
        steps.taken()
        return answer

    def before_commit(session: Any) -> None:
        wrote = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
        session.info["wrote"] = session.execute(wrote).scalar()

    def after_commit(session: Any) -> None:
        if session.info.pop("wrote", False):
            steps.taken()

    client.Transport.request = counted  # type: ignore[assignment]
    event.listen(sessions, "before_commit", before_commit)
    event.listen(sessions, "after_commit", after_commit)


def work(options: dict[str, Any]) -> None:
    """A worker: drafts are made, due mail is sent, until nothing is left (or, with `forever`, for ever)."""
    from gmail_sync import client, oauth
    from gmail_sync.session import Services
    from gmail_sync.vault import Vault
    from scheduler.dispatch import Dispatcher
    from scheduler.post import Post
    from tracker.db import make_sessions, transaction

    client.backoff = lambda attempt: 0.02 * (attempt + 1)  # the storms of tests are short
    sessions = make_sessions(_engine(options["database_url"]))
    if options.get("kill_after"):
        cut(sessions, Steps(options["kill_after"]))
    google = oauth.Google(api_url=options["api_url"], auth_url="", token_url="", certs_url="", **options["google"])
    vault = Vault("a secret key for tests only, not for the world")
    services = Services(sessions, vault, google, 10**9, 0, timedelta(seconds=60), patience=1.0)
    post = Post(services, ask_after=timedelta(seconds=options.get("ask_after", 0.02)))
    dispatcher = Dispatcher(post, threads=options.get("threads", 0))
    if options.get("threads"):
        dispatcher.start()
    while True:
        prepare(post)
        busy = dispatcher.step() if not options.get("threads") else False
        with transaction(sessions) as session:
            if not busy and not waits(session) and not options.get("forever"):
                break
        time.sleep(0.0 if busy else 0.01)
    dispatcher.stop()


@cache
def _engine(url: str) -> Any:
    """One for the zygote and all its workers: what it has compiled they need not."""
    from tracker.db import make_engine

    return make_engine(url)


def prepare(post: Any) -> None:
    """What the jobs do."""
    from scheduler import preparing
    from tracker.db import transaction
    from tracker.jobs import Again

    with transaction(post.sessions) as session:
        due = preparing.waiting(session, post.now())
    for mailbox_id in due:
        with suppress(Again):
            preparing.prepare_mailbox(post, mailbox_id)


def waits(session: Any) -> bool:
    """Whether there is something left to do."""
    from sqlalchemy import or_, select

    from scheduler.outbox import ScheduledEmail
    from scheduler.states import State

    left = or_(ScheduledEmail.behind, ScheduledEmail.state.in_([State.QUEUED.value, State.SENDING.value]))
    return session.scalar(select(ScheduledEmail.id).where(left).limit(1)) is not None


def main(lines: IO[str], answers: IO[str]) -> None:
    """Fork for each line."""
    import config.tables  # noqa: F401
    import scheduler.dispatch
    import scheduler.preparing  # noqa: F401

    children: set[int] = set()
    for line in lines:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            children.discard(asked["wait"])
            answer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)
        elif "warm" in asked:
            work(asked)
            answer = 0
        else:
            answer = os.fork()
            if answer == 0:
                _engine(asked["database_url"]).dispose(close=False)  # its connections are the zygote's
                _child(asked)
            children.add(answer)
        answers.write(f"{answer}\n")
        answers.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _child(asked: dict[str, Any]) -> None:
    import traceback

    try:
        work(asked)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
