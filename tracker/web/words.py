"""Events in words, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracker import events
from tracker.events import Event
from tracker.filing import PERSON, Filing
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
    "box.deleted": "deleted it",
    "box.undeleted": "brought it back after it was deleted",
    "box.merged": "merged {name} into it",
    "box.merged_away": "merged it into {name}",
    "box.access": "changed who sees it",
    "pipeline.access": "changed who sees a pipeline",
    "box.snoozed": "put it off",
    "box.unsnoozed": "took it back into the lists",
    "boxes.changed": "changed several boxes at once",
    "note.added": "wrote a note",
    "note.changed": "changed a note",
    "call.added": "logged a call",
    "call.changed": "changed a call",
    "meeting.added": "logged a meeting",
    "meeting.changed": "changed a meeting",
    "box.linked": "linked it with {name}",
    "box.unlinked": "took the link with {name} away",
    "note.removed": "removed a note",
    "call.removed": "removed a call",
    "meeting.removed": "removed a meeting",
    "task.completed": "did “{title}”",
    "task.reopened": "opened “{title}” again",
    "task.removed": "deleted the task “{title}”",
    "task.restored": "brought the task “{title}” back",
    "conversation.filed": "put a conversation in",
    "conversation.suggested": "suggested a conversation",
    "conversation.removed": "took a conversation out",
    "conversation.dismissed": "declined a suggestion",
    "conversation.snoozed": "put a conversation off",
    "conversation.unsnoozed": "took a conversation back into the inbox",
    "message.received": "found a mail that came in",
    "message.sent": "found a mail that was sent",
    "contact.created": "noted the contact {name}",
    "contact.changed": "changed the contact {name}",
    "contact.merged": "merged the contact {merged_name} into {name}",
    "contact.address_added": "added the address {address} to a contact",
    "contact.address_removed": "took the address {address} off a contact",
    "contact.main_address": "made {address} a contact’s main address",
    "contacts.distinct": "said that two contacts are not the same",
    "organization.created": "noted the organization {name}",
    "organization.changed": "changed the organization {name}",
    "organization.merged": "merged the organization {merged_name} into {name}",
    "organization.domain_added": "added the domain {domain} to an organization",
    "organization.domain_removed": "took the domain {domain} off an organization",
    "organizations.distinct": "said that two organizations are not the same",
    "pipeline.added": "added the pipeline {name}",
    "pipeline.changed": "changed the pipeline",
    "pipeline.archived": "put the pipeline {name} away",
    "pipeline.restored": "brought the pipeline {name} back",
    "pipelines.reordered": "put the pipelines in another order",
    "stage.added": "added the stage {name}",
    "stage.changed": "changed a stage",
    "stage.removed": "removed the stage {name}",
    "stages.reordered": "put the stages in another order",
    "field.added": "added the field {name}",
    "field.renamed": "renamed a field to {name}",
    "field.changed": "changed the field {name}",
    "field.removed": "removed the field {name}",
    "field.restored": "brought the field {name} back",
    "fields.reordered": "put the fields in another order",
    "view.saved": "saved the view {name}",
    "view.changed": "changed the view {name}",
    "view.deleted": "deleted the view {name}",
    "import.done": "imported {filename}",
    "mailbox.connected": "connected a mailbox",
    "mailbox.attention": "lost a mailbox: its owner has to do something",
    "mailbox.disconnected": "disconnected a mailbox",
    "mailbox.gap": "found mail that had been missed, and fetched it",
    "mailbox.recovered": "read a mailbox again from where it stood",
    "team.created": "founded the team {name}",
    "user.added": "joined the team",
    "user.changed": "changed their profile",
    "user.invited": "invited {address}",
    "user.uninvited": "took back the invitation of {address}",
    "user.joined": "joined the team by invitation",
    "user.removed": "removed {name} from the team",
    "user.role": "changed what a teammate may do",
    "user.address": "signs in with another address",
    "user.google": "changed the Google account of a teammate",
    "team.domain_allowed": "opened the team to {domain}",
    "team.domain_disallowed": "closed the team to {domain}",
    "user.mentioned": "mentioned a teammate",
    "sharing.rule": "changed how they share their mail",
    "sharing.grant": "let a teammate read some of their mail",
    "sharing.withdrawn": "took back what a teammate could read",
    "sharing.private": "changed their private list",
    "answer.asked": "asked a teammate to answer a mail",
    "sharing.kept": "kept what somebody who left had shared",
}


#: Event kinds of other rooms, in words; see `register`.
OTHERS: dict[str, str] = {}


def register(kind: str, told: str) -> None:
    """Say how another room's events are told: "opened {subject}", with names of the event's data in braces."""
    OTHERS[kind] = told


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
    if event.kind in ("task.created", "task.changed"):
        return _task(event, known)
    template = WORDS.get(event.kind) or OTHERS.get(event.kind)
    return template.format_map(_Forgiving(data)) if template else event.kind.replace(".", " ").replace("_", " ")


def _task(event: Event, known: Mapping[str, str]) -> str:
    data = event.data
    if event.kind == "task.created":
        due = data.get("due_on")
        return f"set the task “{data.get('title')}”" + (f", due {day(str(due))}" if due else "")
    before, after = data.get("before") or {}, data.get("after") or {}
    told = []
    if "title" in after:
        told.append(f"it was “{before.get('title')}”")
    if "due_on" in after:
        told.append(f"due {day(str(after['due_on']))}" if after["due_on"] else "no due date any more")
    if "assignee_id" in after:
        told.append(f"given to {known.get(str(data.get('assignee')), 'nobody')}")
    if "remind_at" in after:
        told.append("with a reminder" if after["remind_at"] else "no reminder any more")
    return f"changed the task “{data.get('title')}”: {', '.join(told)}"


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


def why(filing: Filing, names: Mapping[int, str]) -> str:
    """Why a conversation is in a box: who decided, and the reason."""
    reason = filing.reason.strip()
    if filing.origin != PERSON:
        return f"{reason[:1].upper()}{reason[1:]}."
    who = names.get(filing.user_id or 0, "Somebody")
    if reason.endswith("; you agreed"):
        return f"{who} agreed with the suggestion: {reason.removesuffix('; you agreed')}."
    if reason in ("", "because you put it here"):
        return f"{who} put it here."
    return f"{who} put it here, {reason}."


class _Forgiving(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "…"
