"""Events in words, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracker import events
from tracker.events import Event
from tracker.web.filters import day, money

WHO = {events.RULE: "Tracker", events.SYNC: "Tracker", events.SYSTEM: "Tracker"}

WORDS = {
    "box.created": "made this box in {stage}",
    "box.renamed": "renamed it from “{before}” to “{after}”",
    "box.moved": "moved it from {from} to {to}",
    "box.contact_added": "added the contact {name}",
    "box.contact_removed": "took the contact {name} off",
    "box.archived": "archived it",
    "box.restored": "brought it back",
    "conversation.filed": "put a conversation in",
    "conversation.suggested": "suggested a conversation",
    "conversation.removed": "took a conversation out",
    "conversation.dismissed": "declined a suggestion",
}


def sentence(event: Event, names: Mapping[int, str], known: Mapping[str, str], types: Mapping[str, str]) -> str:
    """What happened, with who did it, and why where that is known.

    `names` are the team's people by id, `known` the names of people, contacts and organizations by key, `types`
    the types of the pipeline's fields by key.
    """
    who = names.get(event.user_id or 0, "") if event.actor == events.PERSON else WHO.get(event.actor, "")
    why = str(event.data.get("why") or event.data.get("reason") or "")
    told = f"{who or 'Somebody'} {_what(event, known, types)}"
    return f"{told}, {why}" if why else told


def _what(event: Event, known: Mapping[str, str], types: Mapping[str, str]) -> str:
    data = {key: str(value) for key, value in event.data.items()}
    if event.kind == "box.field":
        return _field(event.data, known, types)
    if event.kind == "box.assigned":
        owner = known.get(data.get("owner", ""))
        return f"gave it to {owner}" if owner else "left it without an owner"
    if event.kind == "box.organization":
        return f"set the organization to {data['name']}" if event.data.get("name") else "removed the organization"
    if event.kind == "box.autobox":
        state = "on" if event.data.get("domain") else "off"
        return f"switched filing by the organization’s domain {state}"
    template = WORDS.get(event.kind)
    return template.format_map(_Forgiving(data)) if template else event.kind.replace(".", " ").replace("_", " ")


def _field(data: Mapping[str, Any], known: Mapping[str, str], types: Mapping[str, str]) -> str:
    name, after = data.get("name"), data.get("after")
    if after is None:
        return f"emptied {name}"
    if types.get(str(data.get("field"))) in ("person", "contact", "organization"):
        return f"set {name} to {known[after]}" if after in known else f"changed {name}"
    return f"set {name} to {shown(after)}"


def shown(value: Any) -> str:
    """A field's value in short, where its field is not at hand."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return money(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return day(str(value)) if len(str(value)) == 10 else str(value)


class _Forgiving(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "…"
