"""`tracker status` and `tracker mailbox list`: how things are, without a word to Gmail."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import click
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.cli.base import rooms
from config.rooms import Rooms
from gmail_sync import backfill, budget
from tracker import boxes, conversations, jobs, mailboxes, messages
from tracker.boxes import Box
from tracker.db import transaction, utc_now
from tracker.mailboxes import Backfill, Mailbox


@click.command()
@click.option("--json", "as_json", is_flag=True)
def status(as_json: bool) -> None:
    """How everything is."""
    with rooms() as furnished, transaction(furnished.sessions) as session:
        found: dict[str, Any] = {
            "mailboxes": [told(furnished, session, box) for box in mailboxes.everywhere(session)],
            "boxes": session.scalar(select(func.count()).select_from(Box).where(boxes.is_listed())),
            "workers": jobs.workers(session, furnished.settings.worker_stalled_seconds),
            "queue": jobs.queue_length(session),
        }
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for row in found["mailboxes"]:
        click.echo(
            f"{row['address']}  {row['health']}: {row['health_text']}; {row['messages']} messages in "
            f"{row['conversations']} conversations, {row['units_total']} quota units"
        )
    click.echo(f"{found['boxes']} boxes, {found['workers']} workers, {found['queue']} jobs queued")


@click.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_mailboxes(as_json: bool) -> None:
    """The mailboxes and how they are."""
    with rooms() as furnished, transaction(furnished.sessions) as session:
        rows = [told(furnished, session, box) for box in mailboxes.everywhere(session)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    for row in [] if as_json else rows:
        progress = row["backfill"]
        how_far = f", {progress['done']} of {progress['total']}" if progress["state"] != Backfill.DONE else ""
        left = f", about {progress['seconds_left']:.0f} s left" if progress["seconds_left"] else ""
        click.echo(f"{row['address']}  {row['health']}: {row['health_text']}{how_far}{left}")


def told(furnished: Rooms, session: Session, box: Mailbox) -> dict[str, Any]:
    """A mailbox and how it is, as JSON takes it."""
    silence = timedelta(seconds=furnished.settings.poll_seconds)
    health = mailboxes.health(box, utc_now(), silence)
    progress = backfill.progress(session, box, furnished.settings.gmail_units_per_minute)
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
