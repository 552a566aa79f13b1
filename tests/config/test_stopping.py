"""How `tracker up` ends: in order, however often it is asked to, and not alone when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import parent
from tests.config.running import ROOT, Running, environment, free_port


@pytest.fixture
def up(tmp_path: Path, database_url: str) -> Iterator[Running]:
    """A running `tracker up` on the test's database."""
    env = environment(tmp_path / "var", database_url=database_url, port=free_port())
    running = Running(env, "up", log=tmp_path / "up.log")
    running.wait_for(lambda: "Tracker is at" in running.log.read_text(), 30)
    yield running
    running.stop(signal.SIGKILL)


def processes() -> dict[int, int]:
    """Every process that lives, with its parent."""
    done = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def descendants(pid: int) -> set[int]:
    """The processes below one."""
    parents, found = processes(), {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def gone(pids: set[int], seconds: float) -> bool:
    """Whether they all end in time."""
    deadline = time.monotonic() + seconds
    while pids & processes().keys():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.timeout(90)
def test_what_a_killed_supervisor_started_ends_too(up: Running) -> None:
    below = descendants(up.process.pid)
    assert len(below) >= 3  # the web server and its worker process, the worker
    up.stop(signal.SIGKILL)
    assert gone(below, 10)


@pytest.mark.timeout(90)
def test_impatient_signals_do_not_cut_the_stopping_short(up: Running) -> None:
    below = descendants(up.process.pid)
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        up.process.send_signal(number)
        time.sleep(0.05)
    assert up.process.wait(30) == 0
    assert not below & processes().keys()
    assert "Traceback" not in up.log.read_text()


@pytest.mark.parametrize(("handler", "status"), [("SIG_DFL", -signal.SIGTERM), ("SIG_IGN", -signal.SIGKILL)])
def test_a_process_ends_with_its_parent_even_when_it_does_not_listen(handler: str, status: int) -> None:
    script = (
        "import signal, time; from config import parent; parent.GRACE_SECONDS = 0.2;"
        f"signal.signal(signal.SIGTERM, signal.{handler}); parent.end_with_parent();"
        "print('ready', flush=True); time.sleep(60)"
    )
    reading, writing = os.pipe()
    env = {**os.environ, parent.VARIABLE: str(reading), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=env, pass_fds=[reading], stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        os.close(reading)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        os.close(writing)
        assert child.wait(10) == status
