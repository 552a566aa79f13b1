"""When a scheduled email goes, and why then, in words; for pages and for the panel in Gmail."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from scheduler import local_time
from scheduler.emails import ScheduledEmail, Zone


def when(email: ScheduledEmail, own_zone: ZoneInfo, now: datetime) -> str:
    """When it goes, there and here: "Tue 24 Nov, 09:00 in Tokyo (your Mon 23 Nov, 18:00)"."""
    if email.at_once:
        return "at once"
    return local_time.in_words(email.due_at, ZoneInfo(email.zone), "", own_zone, now)


def why(email: ScheduledEmail, whose: str) -> str:
    """Why it goes then, in short; `whose` is its sender, as "your" or "Bob’s"."""
    if email.moved_why:
        return email.moved_why
    said = {
        Zone.RECIPIENT: f"{email.wall_time:%H:%M} by their clock ({email.zone.replace('_', ' ')})",
        Zone.SENDER: f"{email.wall_time:%H:%M} by {whose} clock",
        Zone.FIXED: "within everybody’s working hours",
        Zone.NOW: "as soon as Gmail’s quota allows",
    }
    return said[Zone(email.zone_rule)]
