"""What the tests of the doors share: tracked mail, servers that can be killed, load that keeps its answers."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.config.running import ROOT, free_port
from tests.tracker.domain import a_team
from tracker.db import Sessions, plain_url, transaction
from webhooks import hit_intake
from webhooks.hits import Hit
from webhooks.tracks import TrackedEmail, TrackedLink

NOBODY = "u" * 32  # a token that nobody has


@dataclass
class Tracked:
    """Mail with a pixel and a link each."""

    pixels: list[str]
    links: list[str]
    urls: list[str]


def track(sessions: Sessions, number: int = 1, url: str = "https://example.com/offer?a=1#top") -> Tracked:
    """So many tracked mails."""
    with transaction(sessions) as session:
        team_id = a_team(session).team_id
        emails = [TrackedEmail(team_id=team_id) for _ in range(number)]
        session.add_all(emails)
        session.flush()
        links = [TrackedLink(team_id=team_id, tracked_email_id=one.id, position=0, url=url) for one in emails]
        session.add_all(links)
        session.flush()
        return Tracked([one.token for one in emails], [one.token for one in links], [one.url for one in links])


def hits(session: Session) -> list[Hit]:
    """All of them, in the order in which they came; what only arrived is taken in."""
    session.rollback()
    while hit_intake.take_in_some(session):
        session.commit()
    return list(session.scalars(select(Hit).order_by(Hit.key)))


@dataclass
class Server:
    """The doors, in a process group of their own."""

    database_url: str
    folder: Path
    trusted: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        """Start, and wait until it answers."""
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "DOORS_DATABASE": plain_url(self.database_url),
            "DOORS_FOLDER": str(self.folder / "hits"), "DOORS_TRUSTED": self.trusted,
        }  # fmt: skip
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.webhooks.doors.slim", str(self.port)],
                env=environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        until(lambda: listens(self.port), 60)
        return self

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "doors.log"

    @property
    def words(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace")

    @property
    def rss(self) -> int:
        """Bytes that its processes hold."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return max(int(one.memory_info().rss) for one in [parent, *parent.children(recursive=True)])

    def kill(self) -> None:
        """SIGKILL, all of it."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """SIGTERM: what it has is still kept."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(30) == 0, self.words

    def journals(self) -> list[Path]:
        """What is in the journal's folder."""
        return list((self.folder / "hits").glob("*"))


def listens(port: int) -> bool:
    """Whether somebody does."""
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request: status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def raw(port: int, data: bytes, seconds: float = 10.0) -> bytes:
    """Whatever comes back for these bytes until the server closes, or is silent for so long."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        got = b""
        with suppress(OSError):
            connection.sendall(data)
        with suppress(OSError):
            while part := connection.recv(65536):
                got += part
        return got


class Load:
    """Requests that each can be told apart, from some connections at once, and which of them were answered."""

    def __init__(self, port: int, paths: list[str], threads: int = 8) -> None:
        self.port, self.paths = port, paths
        self.asked: set[str] = set()
        self.answered: set[str] = set()
        self.odd: list[object] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=[name], daemon=True) for name in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
        assert self.odd == []

    def some(self, number: int) -> None:
        """Wait until so many more were answered."""
        goal = len(self.answered) + number
        until(lambda: len(self.answered) >= goal, 30)

    def _ask(self, name: int) -> None:
        number, connection = 0, http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self._ending.is_set():
            number += 1
            agent = f"load-{name}-{number}"
            self.asked.add(agent)
            try:
                connection.request("GET", self.paths[number % len(self.paths)], headers={"User-Agent": agent})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):  # killed: whether it came through, nobody knows
                connection.close()
                time.sleep(0.02)
                continue
            if answer.status in (200, 302):
                self.answered.add(agent)
            else:
                self.odd.append((answer.status, agent))


def each_is_stored_once(session: Session, load: Load) -> None:
    """What was answered is stored, once; nothing else is, but what was asked and cut off."""
    stored = [one.agent for one in hits(session)]
    assert load.answered - set(stored) == set()
    assert len(stored) == len(set(stored))
    assert set(stored) <= load.asked


def agents_in(path: Path) -> list[str]:
    """The agents that a journal holds."""
    return re.findall(r'"agent":"([^"]+)"', path.read_text())
