"""`tracker outbox`: mail that waits for its time."""

from __future__ import annotations

import click

from config.cli.lazy import LazyGroup

MODULE = "config.cli.outbox_verbs"


@click.group(
    cls=LazyGroup,
    lazy={
        "cancel": (f"{MODULE}:cancel", "Take a mail back."),
        "hold": (f"{MODULE}:hold", "Keep a mail back until it is released."),
        "list": (f"{MODULE}:list_emails", "What waits, and why it goes when it goes."),
        "queue": (f"{MODULE}:queue", "Queue a mail for nine o'clock where its recipient is."),
        "release": (f"{MODULE}:release", "Let a held mail go at its time."),
        "send-now": (f"{MODULE}:send_now", "Let a mail go at once."),
    },
)
def outbox() -> None:
    """Mail that waits for its time."""
