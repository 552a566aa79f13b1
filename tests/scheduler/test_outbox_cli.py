"""`tracker outbox`, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config.cli import main
from scheduler.states import State
from tests.config.running import environment
from tests.gmail_sync.syncing import ALICE
from tests.scheduler.sending import Office
from tracker.mailboxes import Mailbox


@pytest.fixture
def env(tmp_path: Path, database_url: str, office: Office) -> dict[str, str]:
    """The environment of commands that work on the test's database and sandbox."""
    return environment(tmp_path / "var", database_url=database_url, gmail_api_url=office.sandbox.url)


def tracker(env: dict[str, str], *arguments: str, text: str = "") -> Result:
    """Run a command."""
    return CliRunner().invoke(main, ["outbox", *arguments], input=text, env=env)


def test_mail_is_queued_listed_held_released_and_cancelled(alices: Mailbox, env: dict[str, str]) -> None:
    queued = tracker(env, "queue", ALICE, "dora@outside.example", "--subject", "Hello", "--zone", "Asia/Tokyo",
                     text="Good morning.")  # fmt: skip
    assert "queued: Hello" in queued.output
    assert "09:00 in Tokyo" in queued.output
    (row,) = json.loads(tracker(env, "list", "--json").output)
    assert (row["state"], row["zone"], row["to"]) == (State.PREPARING, "Asia/Tokyo", ["dora@outside.example"])
    key = row["key"]
    assert "held" in tracker(env, "hold", key, "not yet").output
    assert "not yet" in tracker(env, "list").output
    assert "released" in tracker(env, "release", key).output
    assert "cancelled" in tracker(env, "cancel", key).output
    assert tracker(env, "list").output == ""
    assert State.CANCELLED in tracker(env, "list", "--all").output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("queue", "nobody@team.example", "dora@outside.example"), "is not connected"),
        (("queue", ALICE, "dora@outside.example", "--zone", "Mars/Base"), "is no time zone"),
        (("queue", ALICE, "dora@outside.example", "--zone", "Europe"), "Europe is no time zone"),
        (("queue", ALICE, "dora@outside.example", "--at", "noon"), "is no time of day"),
        (("hold", "made-up"), "There is no mail"),
    ],
)
def test_what_can_not_be_done_is_refused_in_words(
    alices: Mailbox, env: dict[str, str], arguments: tuple[str, ...], told: str
) -> None:
    done = tracker(env, *arguments)
    assert done.exit_code == 1
    assert told in done.output + (done.stderr or "")
