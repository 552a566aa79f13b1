"""users.labels.*"""

from __future__ import annotations

from typing import Any

from gmail_sync.sandbox.routes.call import Call


def listed(call: Call) -> dict[str, Any]:
    """labels.list: all of them, without counts."""
    return {"labels": call.mailbox.labels.all()}


def get(call: Call) -> dict[str, Any]:
    """labels.get: with counts."""
    return call.mailbox.labels.get(call.id)


def create(call: Call) -> dict[str, Any]:
    """labels.create"""
    return call.mailbox.labels.create(call.body)


def update(call: Call) -> dict[str, Any]:
    """labels.update"""
    return call.mailbox.labels.update(call.id, call.body)


def patch(call: Call) -> dict[str, Any]:
    """labels.patch"""
    return call.mailbox.labels.update(call.id, call.body, patch=True)


def delete(call: Call) -> None:
    """labels.delete: also takes it off the messages that have it."""
    call.mailbox.labels.delete(call.id)
    call.mailbox.messages.drop_label(call.id)
