"""Events in words: whatever is ever recorded has a sentence."""

from __future__ import annotations

import re
from pathlib import Path

from flask import Flask

import tracker
from tracker.activities import ActivityKind
from tracker.events import Event
from tracker.mailboxes import State
from tracker.web import words

ROOT = Path(tracker.__file__).parents[1]
#: What an event can be about. Names of templates, endpoints and columns look alike, but for what follows the dot.
KIND = re.compile(
    r"[\"'](?P<kind>(?:box|boxes|stages?|fields?|pipelines?|contacts?|organizations?|conversation|message|task|note|call"
    r"|meeting|user|team|view|mailbox|import)\.(?:[a-z]+_)?(?:[a-z]+ed|merged_away|created|sent|done|field|organization"
    r"|autobox|main_address|distinct|gap))[\"']"
)
#: Those whose names are put together where they are recorded.
PUT_TOGETHER = {
    *(f"{kind}.{what}" for kind in ActivityKind for what in ("added", "changed", "removed")),
    *(f"mailbox.{state}" for state in State),
    *(f"conversation.{state}" for state in ("filed", "suggested", "removed", "dismissed", "unsnoozed")),
    "box.unsnoozed",
}


def recorded() -> set[str]:
    """Every kind of event that the code names."""
    rooms = ("tracker", "gmail_sync", "webhooks", "scheduler")
    sources = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    own = ROOT / "tracker" / "web" / "words.py"
    named = {match["kind"] for path in sources if path != own for match in KIND.finditer(path.read_text("utf-8"))}
    return named | PUT_TOGETHER


def test_each_kind_of_event_has_words(app: Flask) -> None:
    kinds = recorded()
    assert len(kinds) > 70
    assert {"contact.merged", "pipeline.archived", "box.merged_away", "contacts.distinct", "mailbox.gap"} <= kinds
    without = []
    for kind in sorted(kinds):
        told = words.sentence(Event(kind=kind, actor="person", data={}), {}, {}, {})
        if told == f"Somebody {kind.replace('.', ' ').replace('_', ' ')}":
            without.append(kind)
    assert not without
