"""`tracker`: the command line."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from sqlalchemy.exc import OperationalError

from config import ports, postgres, settings, teams, up, worker
from config.parent import end_with_parent
from config.rooms import Rooms, furnish
from config.settings import Settings, SettingsError
from gmail_sync import backfill, budget, oauth, sync
from gmail_sync import session as gmail_session
from gmail_sync.errors import GmailError
from tracker import conversations, jobs, mailboxes, messages, migrations, people
from tracker.addresses import normalize
from tracker.db import transaction
from tracker.jobs import Again
from tracker.mailboxes import Backfill, Mailbox


class Refused(click.ClickException):
    """Something the operator can mend; printed without a traceback."""

    def show(self, file: Any = None) -> None:
        """Print what is wrong."""
        click.echo(f"tracker: {self.message}", file=file or sys.stderr, err=True)


def _settings() -> Settings:
    try:
        return settings.load()
    except SettingsError as error:
        raise Refused(str(error)) from None


@contextmanager
def _rooms(*, migrate: bool = True) -> Iterator[Rooms]:
    """What commands work with; the embedded server runs at least as long as the command."""
    read = _settings()
    try:
        if read.database_url:
            yield from _furnished(read, migrate)
        else:
            with postgres.embedded(read.data_dir) as cluster:
                yield from _furnished(read.model_copy(update={"database_url": cluster.url}), migrate)
    except postgres.PostgresError as error:
        raise Refused(str(error)) from None
    except OperationalError as error:
        raise Refused(f"The database can't be reached: {str(error.orig).strip()}") from None


def _furnished(read: Settings, migrate: bool) -> Iterator[Rooms]:
    rooms = furnish(read)
    try:
        if migrate:
            migrations.upgrade(rooms.engine)
        yield rooms
    finally:
        rooms.close()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tracker")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def main(verbose: bool) -> None:
    """Tracker: a Gmail pipeline tracker that a sales team hosts itself."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )


@main.command("up")
@click.option("--demo", "with_demo", is_flag=True, help="With a sandbox that plays Gmail, and a demo team.")
def up_command(with_demo: bool) -> None:
    """Run everything on this machine until Ctrl-C."""
    try:
        up.Up(_settings(), with_demo, click.echo).run()
    except (up.UpError, postgres.PostgresError, ports.PortTaken) as error:
        raise Refused(str(error)) from None


@main.command()
def serve() -> None:
    """Run the web server."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    end_with_parent()
    with _rooms() as rooms:
        read = rooms.settings
        try:
            ports.check(read.host, read.port, "TRACKER_PORT")
        except ports.PortTaken as error:
            raise Refused(str(error)) from None
        os.environ.update(read.environment())  # for the processes that granian starts
        Granian(
            "config.wsgi:app",
            address=read.host,
            port=read.port,
            interface=Interfaces.WSGI,
            workers=1,
            blocking_threads=4,
            log_level=LogLevels.error,
            log_access=False,
            respawn_failed_workers=True,
        ).serve()


@main.command("worker")
def worker_command() -> None:
    """Run a worker: it syncs mailboxes."""
    end_with_parent()
    with _rooms() as rooms:
        worker.run(rooms)


@main.group()
def db() -> None:
    """The database."""


@db.command()
def upgrade() -> None:
    """Bring the tables to this version."""
    with _rooms(migrate=False) as rooms:
        migrations.upgrade(rooms.engine)
    click.echo("The database is up to date")


@db.command(hidden=True)
@click.argument("message")
def revision(message: str) -> None:
    """Write a migration from the difference between tables and models (for developers)."""
    import config.tables  # noqa: F401 - makes the metadata whole

    with _rooms() as rooms:
        migrations.revision(rooms.engine, message)


@main.group()
def sandbox() -> None:
    """A local Gmail for trying and testing."""


@sandbox.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8081, show_default=True)
@click.option(
    "--mbox", "mboxes", multiple=True, type=click.Path(exists=True, path_type=Path), help="Mail to load."
)
@click.option("--owner", "owners", multiple=True, help="Whose mail it is; one for each --mbox.")
@click.option("--data", type=click.Path(path_type=Path), help="A file that keeps everything; else memory.")
@click.option("--units-per-minute", default=6000, show_default=True, help="Quota of each user; 0 lifts it.")
@click.option("--push", help="Where to push notifications to.")
@click.option("--demo", "with_demo", is_flag=True, help="With a team, its mail, and correspondents who answer.")
def sandbox_serve(
    host: str,
    port: int,
    mboxes: tuple[Path, ...],
    owners: tuple[str, ...],
    data: Path | None,
    units_per_minute: int,
    push: str | None,
    with_demo: bool,
) -> None:
    """Serve the sandbox until Ctrl-C."""
    from gmail_sync.sandbox import serve as serve_sandbox

    end_with_parent()
    if len(mboxes) != len(owners):
        raise Refused("Give one --owner for each --mbox")
    try:
        serve_sandbox(
            host,
            port,
            list(zip(mboxes, owners, strict=True)),
            data,
            units_per_minute,
            push,
            ready=_play if with_demo else _say_ready,
        )
    except (OSError, SystemExit):  # werkzeug's server leaves when its port is taken
        raise Refused(f"{host}:{port} can't be listened on; is something else there?") from None


def _say_ready(_: Any, server: Any) -> None:
    click.echo(f"The sandbox is at {server.url}")


def _play(box: Any, server: Any) -> None:
    from gmail_sync.sandbox.demo.correspondents import Correspondents
    from gmail_sync.sandbox.demo.play import load_story
    from gmail_sync.sandbox.demo.story import load
    from tracker.db import utc_now

    story = load()
    load_story(box, utc_now(), story)
    Correspondents(box, story).start()
    _say_ready(box, server)


@sandbox.command()
@click.argument("address")
@click.option("--url", help="The sandbox's address; default: the one on this machine.")
def credentials(address: str, url: str | None) -> None:
    """Print the authorized-user JSON with which a client reaches ADDRESS in the sandbox."""
    import requests

    base = url or f"http://127.0.0.1:{_settings().sandbox_port}"
    try:
        answer = requests.get(f"{base}/sandbox/credentials/{address}", timeout=10)
    except requests.RequestException:
        raise Refused(f"No sandbox answers at {base}; `tracker sandbox serve` starts one") from None
    if answer.status_code == 404:
        raise Refused(f"The sandbox at {base} has no user {address}")
    click.echo(json.dumps(answer.json(), indent=2))


@main.group()
def mailbox() -> None:
    """Connected Gmail accounts."""


@mailbox.command()
@click.argument("address")
@click.option(
    "--credentials", "file", required=True, type=click.File("r"),
    help="A google-auth authorized-user JSON; - for standard input.",
)  # fmt: skip
def connect(address: str, file: Any) -> None:
    """Connect ADDRESS without a browser."""
    try:
        kept = oauth.authorized_user(json.load(file))
    except ValueError as error:
        raise Refused(f"These are no authorized-user credentials: {error}") from None
    with _rooms() as rooms:
        _check_credentials(rooms, address, kept)
        with transaction(rooms.sessions) as session:
            user = people.by_address(session, address) or _user_for(rooms, session, address)
            sealed = rooms.gmail.vault.seal(kept)
            try:
                connected = mailboxes.connect(session, user, address, sealed, rooms.gmail.now())
            except PermissionError as error:
                raise Refused(str(error)) from None
        sync.wake(rooms.jobs, connected.id)
    click.echo(f"{address} is connected; a worker reads it now (`tracker mailbox list` tells how far it is)")


def _user_for(rooms: Rooms, session: Any, address: str) -> people.User:
    team = people.first_team(session)
    if team is None:
        return teams.found(session, rooms.settings.team_name, address, "")
    return people.add_user(session, team.id, address)


def _check_credentials(rooms: Rooms, address: str, kept: dict[str, Any]) -> None:
    try:
        found = gmail_session.profile_address(kept, rooms.settings.gmail_api_url)
    except GmailError as error:
        raise Refused(f"Gmail does not accept these credentials: {error}") from None
    if normalize(found) != normalize(address):
        raise Refused(f"These credentials are {found}'s, not {address}'s")


def _chosen(session: Any, address: str | None) -> list[Mailbox]:
    if address is None:
        return list(mailboxes.everywhere(session))
    found = mailboxes.by_address(session, address)
    if found is None:
        raise Refused(f"{address} is not connected; `tracker mailbox list` shows those that are")
    return [found]


@mailbox.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_command(as_json: bool) -> None:
    """The mailboxes and how they are."""
    with _rooms() as rooms, transaction(rooms.sessions) as session:
        rows = [_told(rooms, session, box) for box in mailboxes.everywhere(session)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    for row in [] if as_json else rows:
        progress = row["backfill"]
        how_far = f", {progress['done']} of {progress['total']}" if progress["state"] != Backfill.DONE else ""
        left = f", about {progress['seconds_left']:.0f} s left" if progress["seconds_left"] else ""
        click.echo(f"{row['address']}  {row['health']}: {row['health_text']}{how_far}{left}")


@mailbox.command("sync")
@click.argument("address", required=False)
@click.option("--json", "as_json", is_flag=True)
def sync_command(address: str | None, as_json: bool) -> None:
    """Bring ADDRESS (or all) up to date, here and now."""

    def work(rooms: Rooms, box: Mailbox) -> dict[str, Any]:
        _patiently(rooms, lambda: sync.sync_mailbox(rooms.gmail, box.id))
        with transaction(rooms.sessions) as session:
            return _told(rooms, session, session.get_one(Mailbox, box.id))

    _each(
        address, as_json, work, lambda row: f"{row['address']}  {row['messages']} messages, {row['health_text']}"
    )


@mailbox.command()
@click.argument("address", required=False)
@click.option("--json", "as_json", is_flag=True)
def check(address: str | None, as_json: bool) -> None:
    """Compare ADDRESS (or all) with Gmail, message by message, and repair."""

    def work(rooms: Rooms, box: Mailbox) -> dict[str, Any]:
        report = _patiently(rooms, lambda: sync.check_mailbox(rooms.gmail, box.id))
        if report is None:
            raise Refused(f"{box.address} can't be checked yet: it is still being read, or needs attention")
        names = ("gmail", "stored", "missing", "extra", "relabelled", "repaired", "missing_ids", "extra_ids")
        return {"address": box.address, **{name: getattr(report, name) for name in names}}

    def say(row: dict[str, Any]) -> str:
        clean = not (row["missing"] or row["extra"])
        words = "complete" if clean else f"{row['missing']} were missing, {row['extra']} too many; repaired"
        return f"{row['address']}  Gmail {row['gmail']}, stored {row['stored']}: {words}"

    _each(address, as_json, work, say)


def _each(
    address: str | None,
    as_json: bool,
    work: Callable[[Rooms, Mailbox], dict[str, Any]],
    say: Callable[[dict[str, Any]], str],
) -> None:
    with _rooms() as rooms:
        with transaction(rooms.sessions) as session:
            chosen = _chosen(session, address)
        rows = [work(rooms, box) for box in chosen]
    if as_json:
        click.echo(json.dumps(rows[0] if address else rows, indent=2))
    for row in [] if as_json else rows:
        click.echo(say(row))


def _patiently(rooms: Rooms, work: Callable[[], Any]) -> Any:
    """Do what a job would, waiting here when Gmail (or a worker on the same mailbox) asks to."""
    import time

    while True:
        try:
            return work()
        except Again as again:
            click.echo(f"Waiting {max(1, again.seconds):.0f} s: {again}", err=True)
            time.sleep(max(1.0, again.seconds))


@main.command()
@click.option("--json", "as_json", is_flag=True)
def status(as_json: bool) -> None:
    """How everything is."""
    with _rooms() as rooms, transaction(rooms.sessions) as session:
        told: dict[str, Any] = {
            "mailboxes": [_told(rooms, session, box) for box in mailboxes.everywhere(session)],
            "boxes": _box_count(session),
            "workers": jobs.workers(session, rooms.settings.worker_stalled_seconds),
            "queue": jobs.queue_length(session),
        }
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    for row in told["mailboxes"]:
        click.echo(
            f"{row['address']}  {row['health']}: {row['health_text']}; {row['messages']} messages in "
            f"{row['conversations']} conversations, {row['units_total']} quota units"
        )
    click.echo(f"{told['boxes']} boxes, {told['workers']} workers, {told['queue']} jobs queued")


def _box_count(session: Any) -> int:
    from sqlalchemy import func, select

    from tracker.boxes import Box

    return int(session.scalar(select(func.count()).select_from(Box).where(Box.archived_at.is_(None))) or 0)


def _told(rooms: Rooms, session: Any, box: Mailbox) -> dict[str, Any]:
    health = mailboxes.health(box, rooms.gmail.now(), rooms.gmail.silence)
    progress = backfill.progress(session, box, rooms.gmail.units_per_minute)
    units = budget.spent_by(session, box)
    return {
        "address": box.address,
        "messages": messages.count_in(session, box.id),
        "conversations": conversations.count_of(session, box.id),
        "health": health.level,
        "health_text": health.text,
        "history_id": str(box.history_id) if box.history_id is not None else None,
        "units": units,
        "units_total": sum(units.values()),
        "backfill": {
            "state": progress.state,
            "done": progress.done,
            "total": progress.total,
            "seconds_left": progress.left.total_seconds() if progress.left is not None else None,
        },
    }


if __name__ == "__main__":
    main()
