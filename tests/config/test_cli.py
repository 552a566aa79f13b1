"""The command line, as an operator types it, with processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from config.cli import main
from config.cli.lazy import LazyGroup
from gmail_sync.sandbox import Sandbox
from tests.config.running import ROOT, Running, answers, environment, free_port, told, tracker
from tests.sandbox_fixtures import ALICE, BOB, mail
from tracker.db import Sessions
from tracker.mailboxes import Backfill, Mailbox
from tracker.messages import Copy


@pytest.fixture
def env(tmp_path: Path, database_url: str, sandbox: Sandbox) -> dict[str, str]:
    """The environment of commands that work on the test's database and sandbox."""
    return environment(
        tmp_path / "var",
        database_url=database_url,
        gmail_api_url=sandbox.url,
        gmail_units_per_minute=10**9,
        poll_seconds=1,
        worker_stalled_seconds=2,
    )


@pytest.fixture
def credentials(tmp_path: Path, sandbox: Sandbox) -> Path:
    """Alice's authorized-user file."""
    path = tmp_path / "alice.json"
    path.write_text(json.dumps(sandbox.credentials(ALICE)))
    return path


@pytest.fixture
def worker(env: dict[str, str], tmp_path: Path) -> Iterator[Running]:
    """A worker."""
    running = Running(env, "worker", log=tmp_path / "worker.log")
    yield running
    running.stop()


def fill(sandbox: Sandbox, number: int) -> None:
    """Some mail for Alice."""
    for index in range(number):
        sandbox.deliver(mail(f"Topic {index}", message_id=f"{index}@example.net"), [ALICE])


def read(sessions: Sessions) -> bool:
    """Whether the one mailbox's first reading is over; asked here, since a command takes its time."""
    with sessions() as session:
        return session.scalar(select(Mailbox.synced_at).where(Mailbox.backfill == Backfill.DONE)) is not None


def held(sessions: Sessions) -> int | None:
    """How many messages there are."""
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Copy))


def connect(env: dict[str, str], credentials: Path, address: str = ALICE) -> subprocess.CompletedProcess[str]:
    """`tracker mailbox connect`."""
    return tracker(env, "mailbox", "connect", address, "--credentials", str(credentials))


def test_a_mailbox_is_connected_read_and_checked_without_a_browser(
    env: dict[str, str], credentials: Path, sandbox: Sandbox, sessions: Sessions, worker: Running
) -> None:
    fill(sandbox, 30)
    assert connect(env, credentials).returncode == 0

    worker.wait_for(lambda: read(sessions))
    status = told(env, "status", "--json")
    (row,) = status["mailboxes"]
    assert (row["address"], row["messages"], row["conversations"]) == (ALICE, 30, 30)
    assert row["health"] == "ok"
    assert row["history_id"].isdigit()
    assert row["units_total"] == sum(row["units"].values()) > 0
    assert {"mailboxes", "boxes", "workers", "queue"} <= set(status)
    assert status["workers"] == 1
    report = told(env, "mailbox", "check", ALICE, "--json")
    assert [report[name] for name in ("gmail", "stored", "missing", "extra", "repaired")] == [30, 30, 0, 0, 0]


def test_new_mail_is_polled_for_when_no_push_comes(
    env: dict[str, str], credentials: Path, sandbox: Sandbox, sessions: Sessions, worker: Running
) -> None:
    connect(env, credentials)
    worker.wait_for(lambda: read(sessions))
    fill(sandbox, 1)
    worker.wait_for(lambda: held(sessions) == 1)
    assert told(env, "status", "--json")["mailboxes"][0]["messages"] == 1


def test_sync_here_and_now_needs_no_worker(env: dict[str, str], credentials: Path, sandbox: Sandbox) -> None:
    fill(sandbox, 3)
    connect(env, credentials)
    assert told(env, "mailbox", "sync", ALICE, "--json")["messages"] == 3
    (row,) = told(env, "mailbox", "list", "--json")
    assert row["backfill"] == {"state": "done", "done": 3, "total": 3, "seconds_left": 0.0}


def test_somebody_elses_credentials_are_refused(env: dict[str, str], tmp_path: Path, sandbox: Sandbox) -> None:
    path = tmp_path / "bob.json"
    path.write_text(json.dumps(sandbox.credentials(BOB)))
    done = connect(env, path)
    assert done.returncode == 1
    assert BOB in done.stderr
    assert "Traceback" not in done.stderr
    assert told(env, "mailbox", "list", "--json") == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"refresh_token": 5}', "no json"])
def test_odd_credentials_are_refused_in_words(env: dict[str, str], tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(content)
    # In this process: they are refused before anything is started.
    done = CliRunner(env=env).invoke(main, ["mailbox", "connect", ALICE, "--credentials", str(path)])
    assert done.exit_code == 1
    assert "no authorized-user credentials" in done.stderr
    assert isinstance(done.exception, SystemExit)


def test_revoked_credentials_are_refused(env: dict[str, str], credentials: Path, sandbox: Sandbox) -> None:
    sandbox.mailbox(ALICE).revoke()
    done = connect(env, credentials)
    assert (done.returncode, "revoked" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["status"], {"port": "http"}, "TRACKER_PORT"),
        (["status"], {"database_url": "postgresql://nobody@127.0.0.1:1/none"}, "can't be reached"),
        (["mailbox", "check", "nobody@example.com"], {}, "is not connected"),
        (["sandbox", "credentials", ALICE, "--url", "http://127.0.0.1:1"], {}, "No sandbox answers"),
        (["sandbox", "serve", "--owner", "x"], {}, "one --owner for each --mbox"),
    ],
)
def test_what_goes_wrong_is_said_without_a_traceback(
    env: dict[str, str], arguments: list[str], settings: dict[str, str], said: str
) -> None:
    done = tracker({**env, **{f"TRACKER_{name.upper()}": value for name, value in settings.items()}}, *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sandbox_is_served_and_hands_out_credentials(tmp_path: Path) -> None:
    mbox = tmp_path / "mail.mbox"
    mbox.write_bytes(b"From x Thu Jan  1 00:00:00 2026\n" + mail("Only one", message_id="1@example.net") + b"\n")
    port = free_port()
    env = environment(tmp_path / "var", sandbox_port=port)
    arguments = ("sandbox", "serve", "--port", str(port), "--mbox", str(mbox), "--owner", ALICE)
    serving = Running(env, *arguments, log=tmp_path / "sandbox.log")
    try:
        serving.wait_for(lambda: answers(f"http://127.0.0.1:{port}/sandbox/credentials/{ALICE}"))
        kept = told(env, "sandbox", "credentials", ALICE)
        assert kept["token_uri"] == f"http://127.0.0.1:{port}/token"
        assert tracker(env, "sandbox", "credentials", "nobody@example.com").returncode == 1
        taken = tracker(env, "sandbox", "serve", "--port", str(port))
        assert (taken.returncode, "can't be listened on" in taken.stderr) == (1, True)
    finally:
        serving.stop()


def test_the_help_lists_commands_as_they_describe_themselves_and_imports_none_of_them() -> None:
    context = click.Context(main, info_name="tracker")
    groups = [main, main.get_command(context, "mailbox")]
    for group in groups:
        assert isinstance(group, LazyGroup)
        for name, (_, line) in group.lazy.items():
            found = group.get_command(context, name)
            assert found is not None
            assert (found.name, (found.help or "").partition("\n\n")[0]) == (name, line)
    script = (
        "import sys; from config.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Connected Gmail accounts." in done.stdout
    assert not {"sqlalchemy", "pydantic", "flask", "googleapiclient", "procrastinate"} & set(done.stdout.split())
