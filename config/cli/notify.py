"""`tracker notify`: rings on this desktop for one person, without a browser: in a terminal, or at login.

It reads the database as the other commands do, so it runs where they run; a key for other machines comes with the
API. It wakes when something changes (LISTEN) and looks now and then anyway.
"""

from __future__ import annotations

import asyncio
import html
import os
import shlex
import shutil
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from config.cli.base import Refused, rooms
from config.rooms import Rooms
from tracker import people, topics
from tracker.db import plain_url, transaction, utc_now
from tracker.people import User
from webhooks.bells import notices, wishes, words
from webhooks.hearing import Hearing

LOOK = 5.0  # seconds between two looks when nothing is heard
AT_ONCE = 5  # that ring one by one; more ring as one
NO_LIBRARY = "the library is missing (pip install 'tracker[notify]')"

Show = Callable[[dict[str, Any]], None]  #: what `words.Said.ring` gives


@click.command()
@click.option("--user", "address", required=True, help="Whose notifications: an address in the team.")
@click.option("--print", "printing", is_flag=True, help="Print lines instead of ringing.")
@click.option("--once", is_flag=True, help="Tell what is new and end.")
@click.option("--install", "install_", is_flag=True, help="Have it run at login from now on (Linux, macOS).")
def notify(address: str, printing: bool, once: bool, install_: bool) -> None:
    """Ring on this desktop for what somebody is told, until Ctrl-C.

    It needs no browser, and the library desktop-notifier (`pip install 'tracker[notify]'`); without that, or
    without a desktop, it prints lines. It runs against the database, as all commands do.

    It knows nothing of the browsers on this machine: where one of them is switched on too, both ring. Turn one of
    them off.
    """
    with rooms() as furnished:
        with transaction(furnished.sessions) as session:
            user = people.by_address(session, address)
        if user is None:
            raise Refused(f"{address} is nobody's address here; give the one that they sign in with")
        if install_:
            click.echo(install(address, sys.platform, Path.home()))
            return
        show, ends = (_print, None) if printing else _desktop(furnished.settings.url)
        try:
            Notifier(furnished, user, show, everything=once).run(once=once)
        finally:
            if ends is not None:
                ends()


@dataclass
class Notifier:
    """Looks for what is new and shows it; what was there before it began is not rung for."""

    rooms: Rooms
    user: User
    show: Show
    everything: bool = False  #: begin with what was not seen yet
    _last: int = -1
    _news: threading.Event = field(default_factory=threading.Event)
    _stopping: bool = False
    _down: bool = False  #: and it was said so

    def run(self, *, once: bool = False) -> None:
        """Until a signal says stop."""
        self.look()
        if once:
            return
        hearing = Hearing(plain_url(str(self.rooms.settings.database_url)), topics.CHANNEL, self._news.set)
        hearing.start()
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, lambda *_: self.stop())
        try:
            while not self._stopping:
                self._news.wait(LOOK)
                self._news.clear()
                self._look_or_wait()
        except KeyboardInterrupt:
            pass
        finally:
            hearing.stop()

    def _look_or_wait(self) -> None:
        """Look; is the database away, what comes meanwhile is shown once it is back."""
        try:
            self.look()
        except SQLAlchemyError as error:
            if not self._down:
                why = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
                click.echo(f"The database can't be asked ({why}); trying again until it can.", err=True)
            self._down = True
        else:
            self._down = False

    def stop(self) -> None:
        """Stop after what is under way."""
        self._stopping = True
        self._news.set()

    def look(self) -> None:
        """Show what is new; in quiet hours it waits for their end."""
        with transaction(self.rooms.sessions) as session:
            if self._last < 0:
                self._last = 0 if self.everything else notices.newest_id(session, self.user)
            wished = wishes.of_user(session, self.user)
            if wishes.is_quiet(wished, wishes.zone_of(self.user), utc_now()):
                return
            found = notices.ringing(session, self.user, self._last, limit=200)
            said = words.say(session, found, {self.user.id: self.user})
        self._last = max([self._last, *(one.id for one in found)])
        for told in [words.summary(said)] if len(said) > AT_ONCE else [one.ring() for one in said]:
            self.show(told)


def _print(told: dict[str, Any]) -> None:
    body = " · ".join(str(told["body"]).splitlines())
    click.echo(f"{told['title']}" + (f" ({body})" if body else ""))


def _desktop(url: str) -> tuple[Show, Callable[[], None] | None]:
    """What rings on this desktop; prints where there is none, and says so."""
    why = _no_desktop(sys.platform, os.environ)
    if why is None:
        try:
            desktop = Desktop(url)
        except ImportError:
            why = NO_LIBRARY
        except Exception as error:  # whatever a desktop's own notifier raises
            why = f"the desktop can't be asked ({error})"
        else:
            click.echo("Rings on this desktop until Ctrl-C.", err=True)
            return desktop.show, desktop.close
    click.echo(f"Nothing can ring here: {why}. Printing instead.", err=True)
    return _print, None


def _no_desktop(platform: str, environment: Any) -> str | None:
    """Why nothing can ring: on Linux a desktop speaks D-Bus."""
    if platform.startswith("linux") and not environment.get("DBUS_SESSION_BUS_ADDRESS"):
        return "there is no desktop (no D-Bus session)"
    return None


class Desktop:
    """The desktop's own notifications: D-Bus on Linux, native on macOS and Windows. A click opens the page."""

    def __init__(self, url: str) -> None:
        from desktop_notifier import DesktopNotifier

        self._url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._notifier = DesktopNotifier(app_name="Tracker")
        self._do(self._notifier.request_authorisation())

    def show(self, told: dict[str, Any]) -> None:
        """Ring."""
        path = self._url + str(told["url"])
        try:
            # Desktops on Linux read the body as markup.
            body = (
                html.escape(str(told["body"]), quote=False) if sys.platform.startswith("linux") else told["body"]
            )
            self._do(
                self._notifier.send(
                    title=str(told["title"]), message=str(body), on_clicked=lambda: webbrowser.open(path)
                )
            )
        except Exception as error:
            click.echo(f"The desktop can't be asked ({error}). Printing instead.", err=True)
            _print(told)

    def close(self) -> None:
        """Ring no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)


# -- at login

_UNIT = """[Unit]
Description=Tracker rings on the desktop
After=graphical-session.target
PartOf=graphical-session.target

[Service]
ExecStart={command}
WorkingDirectory={folder}
Restart=on-failure
RestartSec=30

[Install]
WantedBy=graphical-session.target
"""
_PLIST = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
  <key>Label</key><string>tracker.notify</string>
  <key>ProgramArguments</key><array>{arguments}</array>
  <key>WorkingDirectory</key><string>{folder}</string>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
</dict></plist>
"""


def install(address: str, platform: str, home: Path) -> str:
    """Write what starts it at login; returns what to do next, in words. Raises `Refused`."""
    command = [shutil.which("tracker") or f"{Path(sys.executable).parent}/tracker", "notify", "--user", address]
    folder = str(Path.cwd())
    if platform == "darwin":
        path = home / "Library" / "LaunchAgents" / "tracker.notify.plist"
        arguments = "".join(f"<string>{html.escape(one)}</string>" for one in command)
        _write(path, _PLIST.format(arguments=arguments, folder=html.escape(folder)))
        return f"Wrote {path}. It starts at the next login; now: launchctl load {shlex.quote(str(path))}"
    if platform.startswith("linux"):
        path = home / ".config" / "systemd" / "user" / "tracker-notify.service"
        quoted = " ".join(_for_systemd(one) for one in command)
        _write(path, _UNIT.format(command=quoted, folder=folder.replace("%", "%%")))
        return f"Wrote {path}. Switch it on: systemctl --user enable --now tracker-notify"
    raise Refused(f"At login is only known on Linux and macOS; here, start this yourself: {shlex.join(command)}")


def _for_systemd(argument: str) -> str:
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
