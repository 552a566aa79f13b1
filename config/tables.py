"""Every table of every slice: importing this makes the metadata whole."""

from __future__ import annotations

from gmail_sync import budget, wanted
from tracker import (
    boxes,
    contacts,
    conversations,
    events,
    fields,
    filing,
    mailboxes,
    messages,
    people,
    pipelines,
)
from tracker.db import Base

SLICES = (
    people, mailboxes, messages, conversations, contacts, pipelines, fields, boxes, filing, events,
    budget, wanted,
)  # fmt: skip
metadata = Base.metadata
