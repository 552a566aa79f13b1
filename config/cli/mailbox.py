"""`tracker mailbox`: the connected Gmail accounts."""

from __future__ import annotations

import click

from config.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "check": (
            "config.cli.syncing:check",
            "Compare ADDRESS (or all) with Gmail, message by message, and repair.",
        ),
        "connect": ("config.cli.connecting:connect", "Connect ADDRESS without a browser."),
        "list": ("config.cli.status:list_mailboxes", "The mailboxes and how they are."),
        "sync": ("config.cli.syncing:sync", "Bring ADDRESS (or all) up to date, here and now."),
    },
)
def mailbox() -> None:
    """Connected Gmail accounts."""
