"""What this room puts into the panel: boxes, tagging, work, sharing, the home."""

from __future__ import annotations

from flask import Flask

from gmail_sync.addon import box, home, sharing, tagging, work
from tracker.web import frame


def init_app(app: Flask) -> None:
    """Put it there."""
    panel = frame.of(app).panel
    for room in (box, tagging, work, sharing, home):
        room.register(panel)
