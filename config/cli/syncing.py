"""`tracker mailbox sync` and `check`: what workers do, here and now."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import click
from sqlalchemy.orm import Session

from config.cli.base import Refused, rooms
from config.cli.status import told
from config.rooms import Rooms
from gmail_sync.sync import check_mailbox, sync_mailbox
from tracker import mailboxes
from tracker.db import transaction
from tracker.jobs import Again
from tracker.mailboxes import Mailbox


@click.command()
@click.argument("address", required=False)
@click.option("--json", "as_json", is_flag=True)
def sync(address: str | None, as_json: bool) -> None:
    """Bring ADDRESS (or all) up to date, here and now."""

    def work(furnished: Rooms, box: Mailbox) -> dict[str, Any]:
        _patiently(lambda: sync_mailbox(furnished.gmail, box.id))
        with transaction(furnished.sessions) as session:
            return told(furnished, session, session.get_one(Mailbox, box.id))

    _each(
        address, as_json, work, lambda row: f"{row['address']}  {row['messages']} messages, {row['health_text']}"
    )


@click.command()
@click.argument("address", required=False)
@click.option("--json", "as_json", is_flag=True)
def check(address: str | None, as_json: bool) -> None:
    """Compare ADDRESS (or all) with Gmail, message by message, and repair."""

    def work(furnished: Rooms, box: Mailbox) -> dict[str, Any]:
        report = _patiently(lambda: check_mailbox(furnished.gmail, box.id))
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
    with rooms() as furnished:
        with transaction(furnished.sessions) as session:
            chosen = _chosen(session, address)
        rows = [work(furnished, box) for box in chosen]
    if as_json:
        click.echo(json.dumps(rows[0] if address else rows, indent=2))
    for row in [] if as_json else rows:
        click.echo(say(row))


def _chosen(session: Session, address: str | None) -> list[Mailbox]:
    if address is None:
        return list(mailboxes.everywhere(session))
    found = mailboxes.by_address(session, address)
    if found is None:
        raise Refused(f"{address} is not connected; `tracker mailbox list` shows those that are")
    return [found]


def _patiently(work: Callable[[], Any]) -> Any:
    """Do what a job would, waiting here when Gmail (or a worker on the same mailbox) asks to."""
    while True:
        try:
            return work()
        except Again as again:
            click.echo(f"Waiting {max(1, again.seconds):.0f} s: {again}", err=True)
            time.sleep(max(1.0, again.seconds))
