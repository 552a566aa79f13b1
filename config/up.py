"""`tracker up`: everything on one machine, in one terminal, until Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import requests

from config import parent, ports, postgres
from config.rooms import furnish
from config.settings import Settings
from tracker import migrations

RESTART_SECONDS = (1, 2, 5, 10, 30)  # after a crash; a process that ran a minute starts anew
STOP_SECONDS = 25
SETTLE_SECONDS = 3  # between two looks whether the demo's mail is read
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PUSH_ACCOUNT = "gmail-push@sandbox-project.iam.gserviceaccount.com"


class UpError(Exception):
    """It can't be started; the text says why and what to do."""


@dataclass(slots=True)
class Child:
    """A process that is kept running."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    lifeline: int  # a pipe that ends with us: it ends then, too
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    due_at: float = 0.0

    def start(self) -> None:
        """Start it, in a process group of its own: Ctrl-C comes to us, and we stop it in order."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "config.cli", *self.arguments],
            env={**os.environ, **self.environment, parent.VARIABLE: str(self.lifeline)},
            pass_fds=(self.lifeline,),
            start_new_session=True,
        )

    def look(self, say: Callable[[str], None]) -> None:
        """Start it again if it ended, after a pause that grows with each failure."""
        if self.process is not None and self.process.poll() is not None:
            if time.monotonic() - self.started_at > 60:
                self.failures = 0
            pause = RESTART_SECONDS[min(self.failures, len(RESTART_SECONDS) - 1)]
            say(f"{self.name} ended with {self.process.returncode}; starting it again in {pause} s")
            self.process, self.failures, self.due_at = None, self.failures + 1, time.monotonic() + pause
        if self.process is None and time.monotonic() >= self.due_at:
            self.start()

    def stop(self) -> None:
        """Ask it to end; it finishes what it is doing."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, deadline: float) -> None:
        """Wait for its end; past the deadline it is killed (nothing is lost by that, it only takes longer)."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass(slots=True)
class Up:
    """What `tracker up` starts."""

    settings: Settings
    with_demo: bool
    say: Callable[[str], None]
    children: list[Child] = field(default_factory=list)
    lifeline: int = -1

    def run(self) -> None:
        """Start everything, keep it running, and stop it at Ctrl-C or SIGTERM. Raises `UpError`."""
        with ExitStack() as stack:
            stack.enter_context(_only_one(self.settings.data_dir))
            stack.enter_context(_stoppable())
            self._check_ports()
            self.lifeline = stack.enter_context(_lifeline())
            settings = stack.enter_context(self._database())
            stack.callback(self._stop)
            try:
                if self.with_demo:
                    settings = self._start_sandbox(settings)
                self._prepare(settings)
                self._start(settings)
                if self.with_demo:
                    self._watch(until=_demo_is_settled(stack, settings))
                self._watch()
            except KeyboardInterrupt:
                self.say("Stopping; your data stays")

    def _check_ports(self) -> None:
        ports.check(self.settings.host, self.settings.port, "TRACKER_PORT")
        if self.with_demo:
            ports.check("127.0.0.1", self.settings.sandbox_port, "TRACKER_SANDBOX_PORT")

    @contextmanager
    def _database(self) -> Iterator[Settings]:
        if self.settings.database_url:
            yield self.settings
            return
        self.say("Starting PostgreSQL")
        with postgres.embedded(self.settings.data_dir) as cluster:
            yield self.settings.model_copy(update={"database_url": cluster.url})

    def _start_sandbox(self, settings: Settings) -> Settings:
        self.say("Starting the sandbox that plays Gmail")
        url = f"http://127.0.0.1:{settings.sandbox_port}"
        push = f"{_local_url(settings)}/gmail/push"
        arguments = ("sandbox", "serve", "--port", str(settings.sandbox_port), "--demo", "--push", push)
        data = ("--data", str(settings.data_dir / "sandbox.sqlite"))
        child = Child("The sandbox", (*arguments, *data), settings.environment(), self.lifeline)
        self.children.append(child)
        child.start()
        client = _answer(f"{url}/sandbox/", child).json()
        return settings.model_copy(
            update={
                "gmail_api_url": url,
                "google_auth_url": f"{url}/o/oauth2/v2/auth",
                "google_token_url": f"{url}/token",
                "google_certs_url": f"{url}/oauth2/v3/certs",
                "google_client_id": client["client_id"],
                "google_client_secret": client["client_secret"],
                "pubsub_topic": "projects/sandbox/topics/gmail",
                "push_audience": push,
                "push_service_account": PUSH_ACCOUNT,
                "addon_service_account": client["addon_service_account"],
                "addon_client_id": client["addon_client_id"],
                "addon_preview": True,
                "poll_seconds": min(settings.poll_seconds, 20),
                "offer_soon": True,
            }
        )

    def _prepare(self, settings: Settings) -> None:
        rooms = furnish(settings)
        try:
            migrations.upgrade(rooms.engine)
            if self.with_demo:
                from config import demo  # the story and the sandbox, which nobody else needs

                demo.seed(rooms, settings.gmail_api_url)
        finally:
            rooms.close()

    def _start(self, settings: Settings) -> None:
        environment = settings.environment()
        for name, command in (("The web server", "serve"), ("The worker", "worker")):
            child = Child(name, (command,), environment, self.lifeline)
            self.children.append(child)
            child.start()
        _answer(f"{_local_url(settings)}/healthz", self.children[-2])
        preview = f"  Its panel in Gmail, as a preview: {settings.url}/addon/preview\n" if self.with_demo else ""
        stays = f"  Ctrl-C stops it; your data stays in {settings.data_dir}/\n"
        self.say(f"\n  Tracker is at {settings.url}\n{preview}{stays}")

    def _watch(self, until: Callable[[], bool] = lambda: False) -> None:
        while not until():
            for child in self.children:
                child.look(self.say)
            time.sleep(0.5)

    def _stop(self) -> None:
        _ignore_signals()  # an error may have brought us here
        for child in reversed(self.children):
            child.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for child in reversed(self.children):
            child.wait(deadline)


def _demo_is_settled(stack: ExitStack, settings: Settings) -> Callable[[], bool]:
    """Asks now and then whether the demo's mail is read, and lets its people say what they have to say of it."""
    from config import demo

    rooms = furnish(settings)
    stack.callback(rooms.close)
    asked = 0.0

    def look() -> bool:
        nonlocal asked
        if time.monotonic() < asked + SETTLE_SECONDS:
            return False
        asked = time.monotonic()
        return demo.settle(rooms)

    return look


def _local_url(settings: Settings) -> str:
    """The web server's address on this machine."""
    return ports.address(ports.reachable(settings.host), settings.port)


def _answer(url: str, child: Child, seconds: float = 60.0) -> requests.Response:
    """The first good answer of a process that has just been started. Raises `UpError`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.process is not None and child.process.poll() is not None:
            raise UpError(f"{child.name} ended with {child.process.returncode}; the lines above say why")
        with contextlib.suppress(requests.RequestException):
            answer = requests.get(url, timeout=5)
            if answer.ok:
                return answer
        time.sleep(0.1)
    raise UpError(f"{child.name} did not answer at {url} within {seconds:.0f} s")


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UpError(
                f"Tracker runs in {data_dir}/ already (process {_written(file)}); stop that one first, or set "
                "TRACKER_DATA_DIR to another folder"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _written(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "unknown"


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM (systemd, docker stop) and a closed terminal stop it like Ctrl-C; one of them is enough."""

    def interrupt(*_: object) -> None:
        _ignore_signals()  # a second one would cut the stopping short and leave processes behind
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited by what is started yet


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end to read from of a pipe that nobody writes to: it is at its end when we are, killed or not."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)
