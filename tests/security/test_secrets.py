"""`tracker secrets`: a new key takes the place of the former one, and nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from config import rooms, settings
from config.cli.secrets import secrets
from gmail_sync import sync
from tests.tracker.domain import NOW, a_team
from tracker import mailboxes
from tracker.db import Sessions, transaction
from tracker.mailboxes import Mailbox, State
from webhooks.bells import subscriptions
from webhooks.bells.subscriptions import VapidKey

CREDENTIALS = {"refresh_token": "1//precious"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Path:
    """A data folder with a key of its own, and the test's database."""
    monkeypatch.chdir(tmp_path)
    for name in ("TRACKER_SECRET_KEY", "TRACKER_OLD_SECRET_KEYS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRACKER_DATABASE_URL", database_url)
    monkeypatch.setenv("TRACKER_DATA_DIR", str(tmp_path / "var"))
    return tmp_path / "var"


@pytest.fixture
def sealed(data: Path, sessions: Sessions) -> None:
    """A mailbox with credentials, and a team's key for pushes."""
    furnished = rooms.furnish(settings.load())
    with transaction(sessions) as session:
        alice = a_team(session)
        mailboxes.connect(session, alice, alice.address, furnished.gmail.vault.seal(CREDENTIALS), NOW)
        subscriptions.vapid_key(session, alice.team_id, furnished.push_cipher)
    furnished.close()


def ran(*arguments: str) -> Result:
    """What the command said."""
    return CliRunner().invoke(secrets, list(arguments))


def opened(sessions: Sessions) -> object:
    """The credentials, read with the keys that there are by now."""
    furnished = rooms.furnish(settings.load())
    with sessions() as session:
        credentials = session.scalars(select(Mailbox.credentials)).one()
        assert credentials is not None
        furnished.push_cipher.open(session.scalars(select(VapidKey.private)).one())
        furnished.close()
        return furnished.gmail.vault.open(credentials)


@pytest.mark.usefixtures("sealed")
def test_a_new_key_takes_the_place_of_the_former(data: Path, sessions: Sessions) -> None:
    former = settings.load().secret_key
    assert ran("new-key").exit_code == 0
    read = settings.load()
    assert (read.secret_key != former, read.old_secret_keys) == (True, former)
    assert opened(sessions) == CREDENTIALS  # between the steps too
    too_soon = ran("rotate", "--forget")
    assert too_soon.exit_code == 1
    assert "mailbox alice@team.example" in too_soon.output
    assert "key for pushes" in too_soon.output
    assert former in (data / "secret_key").read_text()
    said = ran("rotate")
    assert said.exit_code == 0, said.output
    assert ran("rotate", "--forget").exit_code == 0
    assert "2 secrets are encrypted with the present key" in said.output
    assert former not in (data / "secret_key").read_text()
    assert settings.load().old_secret_keys == ""
    assert opened(sessions) == CREDENTIALS
    assert (data / "secret_key").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("sealed")
def test_what_no_key_opens_is_named_and_no_former_key_is_forgotten(
    data: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran("new-key")
    with transaction(sessions) as session:
        session.scalars(select(Mailbox)).one().credentials = b"of another installation"
    kept = (data / "secret_key").read_text()
    said = ran("rotate", "--forget")
    assert said.exit_code == 1
    assert "mailbox alice@team.example" in said.output
    assert (data / "secret_key").read_text() == kept


def test_a_key_from_the_environment_is_the_operators_to_change(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_SECRET_KEY", "k" * 40)
    said = ran("new-key")
    assert said.exit_code == 1
    assert "TRACKER_OLD_SECRET_KEYS" in said.output
    said = ran("rotate", "--forget")
    assert said.exit_code == 1
    assert "TRACKER_OLD_SECRET_KEYS" in said.output
    assert not (data / "secret_key").exists()


@pytest.mark.usefixtures("sealed")
def test_a_worker_with_the_former_key_alone_waits_and_goes_on_once_it_has_the_new_one(sessions: Sessions) -> None:
    former = settings.load()
    ran("new-key")
    ran("rotate")
    with sessions() as session:
        mailbox = session.scalars(select(Mailbox)).one()
    furnished = rooms.furnish(former)
    sync.sync_mailbox(replace(furnished.gmail, now=lambda: NOW), mailbox.id)
    furnished.close()
    with sessions() as session:
        found = session.get_one(Mailbox, mailbox.id)
        assert found.state == State.CONNECTED
        assert "TRACKER_OLD_SECRET_KEYS" in (found.fetch_trouble or "")
        assert mailboxes.due(session, NOW + timedelta(minutes=4), timedelta(hours=9)) == []
        assert mailboxes.due(session, NOW + timedelta(minutes=5), timedelta(hours=9)) == [mailbox.id]
    assert opened(sessions) == CREDENTIALS
