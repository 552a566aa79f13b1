"""`tracker notify`: what it prints and when, at login, and where there is no desktop."""

from __future__ import annotations

import plistlib
import threading
import time as clock
from datetime import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from config.cli import base, main, notify
from config.cli.notify import Notifier, install
from config.rooms import Rooms
from config.settings import load
from tests.tracker.web.conftest import Team
from tests.webhooks.bells.ringing import Ringing, tracked_mail
from tests.webhooks.bells.test_telling import wish
from tracker.db import Sessions, utc_now


@pytest.fixture
def furnished(engine: Engine, sessions: Sessions) -> Rooms:
    url = engine.url.render_as_string(hide_password=False)
    return Rooms(load(database_url=url, secret_key="k" * 40), engine, sessions)


def read(write: Session, team: Team, ringing: Ringing, subject: str = "Your proposal") -> None:
    mail = tracked_mail(write, team.alice, team.mailbox, subject=subject)
    write.commit()
    ringing.read(mail)
    ringing.work()


def test_it_prints_what_is_new_once_and_several_as_one(
    furnished: Rooms, write: Session, team: Team, ringing: Ringing
) -> None:
    shown: list[str] = []
    read(write, team, ringing, "Before")
    notifier = Notifier(furnished, team.alice, lambda told: shown.append(told["title"]))
    notifier.look()
    assert shown == []  # that was there before it began
    read(write, team, ringing)
    notifier.look()
    notifier.look()
    assert shown == ["Charlie probably read “Your proposal”"] or shown == [
        "charlie@acme.test probably read “Your proposal”"
    ]
    for number in range(6):
        read(write, team, ringing, f"Mail {number}")
    notifier.look()
    assert shown[1:] == ["6 more things to know"]


def test_it_is_silent_in_quiet_hours_and_rings_after_them(
    furnished: Rooms, write: Session, team: Team, ringing: Ringing
) -> None:
    shown: list[str] = []
    notifier = Notifier(furnished, team.alice, lambda told: shown.append(told["title"]))
    notifier.look()
    hour = utc_now().hour
    wish(write, team.alice, quiet=(time((hour - 1) % 24), time((hour + 2) % 24)))
    read(write, team, ringing)
    notifier.look()
    assert shown == []
    wish(write, team.alice, quiet=None)
    notifier.look()
    assert len(shown) == 1


def test_it_hears_at_once_and_stops(furnished: Rooms, write: Session, team: Team, ringing: Ringing) -> None:
    shown: list[str] = []
    notifier = Notifier(furnished, team.alice, lambda told: shown.append(told["title"]))
    notifier.look()
    thread = threading.Thread(target=notifier.run)
    thread.start()
    try:
        read(write, team, ringing)
        until = clock.monotonic() + 4  # sooner than it would look by itself
        while not shown and clock.monotonic() < until:
            clock.sleep(0.02)
    finally:
        notifier.stop()
        thread.join(timeout=10)
    assert len(shown) == 1
    assert not thread.is_alive()


def test_a_database_that_is_away_is_said_once_and_nothing_is_lost(
    furnished: Rooms, write: Session, team: Team, ringing: Ringing, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shown: list[str] = []
    notifier = Notifier(furnished, team.alice, lambda told: shown.append(told["title"]))
    notifier.look()
    read(write, team, ringing)
    with monkeypatch.context() as away:
        away.setattr(notify.notices, "ringing", _gone)
        for _ in range(3):
            notifier._look_or_wait()
    assert capsys.readouterr().err.count("The database can't be asked (it went away)") == 1
    notifier._look_or_wait()
    assert len(shown) == 1


def _gone(*_: object, **__: object) -> None:
    raise OperationalError("SELECT", {}, Exception("it went away"))


def test_by_the_command_line(
    furnished: Rooms, write: Session, team: Team, ringing: Ringing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_DATABASE_URL", str(furnished.settings.database_url))
    monkeypatch.setenv("TRACKER_SECRET_KEY", "k" * 40)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    read(write, team, ringing)
    run = CliRunner()
    told = run.invoke(main, ["notify", "--user", team.alice.address, "--print", "--once"])
    assert told.exit_code == 0
    assert "probably read “Your proposal” (Through Gmail’s proxy)" in told.output
    fallen_back = run.invoke(main, ["notify", "--user", team.alice.address, "--once"])
    assert "Nothing can ring here: there is no desktop" in fallen_back.output
    assert "probably read" in fallen_back.output
    refused = run.invoke(main, ["notify", "--user", "nobody@team.example", "--print", "--once"])
    assert refused.exit_code == 1
    assert "nobody's address here" in refused.output


def test_without_the_library_it_says_so_and_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_: str) -> None:
        raise ImportError

    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    monkeypatch.setattr(notify, "Desktop", missing)
    show, _ = notify._desktop("https://tracker.example")
    show({"title": "Read", "body": "a\nb", "url": "/bell"})
    out, said = capsys.readouterr()
    assert notify.NO_LIBRARY in said
    assert out == "Read (a · b)\n"


def test_at_login(tmp_path: Path) -> None:
    assert "systemctl --user enable" in install("al%i$e@team.example", "linux", tmp_path)
    unit = (tmp_path / ".config/systemd/user/tracker-notify.service").read_text()
    assert '"notify" "--user" "al%%i$$e@team.example"' in unit
    install("a&b@team.example", "darwin", tmp_path)
    made = plistlib.loads((tmp_path / "Library/LaunchAgents/tracker.notify.plist").read_bytes())
    assert made["ProgramArguments"][1:] == ["notify", "--user", "a&b@team.example"]
    with pytest.raises(base.Refused, match="only known on Linux and macOS"):
        install("a@team.example", "win32", tmp_path)
