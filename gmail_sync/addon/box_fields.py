"""A box's fields in the panel: their values in words, and a card to change them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select

from gmail_sync.addon import lookups
from tracker import boxes, fields
from tracker.boxes import Box
from tracker.contacts import Contact, Organization
from tracker.db import among
from tracker.fields import Field, FieldError, FieldType
from tracker.panel import (
    Action,
    Asked,
    Button,
    Card,
    Choice,
    Choosing,
    Done,
    Input,
    Moment,
    Option,
    Outcome,
    Panel,
    Paragraph,
    Section,
    Shown,
    Widget,
)
from tracker.people import User
from tracker.web import field_inputs, filters

TOLD = 12  # fields of a box that are told; the rest stands in Tracker
EDITED = 40  # that a card is made for: Google's hold 100 widgets
LENGTH = 300  # characters of a value that are told
NONE = "-"  #: nothing chosen, in a form
YES = "yes"


@dataclass(frozen=True, slots=True)
class Entry:
    """A field in the form: its value as it may be typed, and what is wrong with what was."""

    field: Field
    value: str  #: as it is, or as it was typed
    shown: str  #: as it is
    wrong: str = ""
    options: Sequence[Option] = ()

    @property
    def name(self) -> str:
        """The input's name."""
        return f"field-{self.field.key}"


# -- drawn


def values(box: Box, columns: Sequence[Field], known: Mapping[str, str]) -> list[tuple[str, str]]:
    """The fields that hold something, in words."""
    told = [(one.name, _told(one, box.values.get(one.key), known)) for one in columns]
    return [(name, value) for name, value in told if value][:TOLD]


def _told(field: Field, value: Any, known: Mapping[str, str]) -> str:
    if value is None:
        return ""
    kind = FieldType(field.type)
    if kind == FieldType.MONEY:
        return filters.money(value)
    if kind == FieldType.DATE:
        return _day(str(value))
    if kind == FieldType.CHECKBOX:
        return "Yes" if value else ""
    if kind in (FieldType.PERSON, FieldType.CONTACT, FieldType.ORGANIZATION):
        return known.get(str(value), "")
    return (", ".join(map(str, value)) if kind == FieldType.TAGS else str(value))[:LENGTH]


def _day(value: str) -> str:
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return value[:LENGTH]
    return f"{day:%a} {day.day} {day:%b %Y}"


def form(box: Box, entries: Sequence[Entry], left_out: int = 0) -> Card:
    """The fields as inputs. Each carries a mark of what it showed, so that a teammate's change is noticed."""
    widgets = [widget for one in entries for widget in _widgets(one)]
    if left_out:
        widgets.append(
            Paragraph(f"{filters.count(left_out, 'more field')} of this box can be changed in Tracker.")
        )
    marks = {f"was-{one.field.key}": mark(one.shown) for one in entries}
    save = Button("Save", Action("box.save_fields", {"box": box.key, **marks}), filled=True)
    return Card(box.name, [Section("Fields", widgets)], subtitle=box.pipeline.name, name="fields", primary=save)


def _widgets(one: Entry) -> list[Widget]:
    wrong: list[Widget] = [Paragraph(f"{one.field.name}: {one.wrong}")] if one.wrong else []
    return [_widget(one), *wrong]


def _widget(one: Entry) -> Widget:
    kind, name = FieldType(one.field.type), one.field.name
    if kind == FieldType.DATE:
        return Moment(one.name, name, one.value)
    if kind == FieldType.CHECKBOX:
        return Choice(one.name, name, [Option(YES, name, bool(one.value))], Choosing.SWITCHES)
    if one.options:
        return Choice(one.name, name, one.options)
    hint = field_inputs.HINTS.get(kind, "")
    return Input(one.name, name, one.value, hint, lines=kind == FieldType.TEXT)


def mark(value: str) -> str:
    """A few letters that stand for a value as the form showed it."""
    return hashlib.sha256(value.replace("\r\n", "\n").strip().encode()).hexdigest()[:16]


# -- looked up


def columns_of(asked: Asked, pipeline_ids: Collection[int]) -> dict[int, list[Field]]:
    """The fields of several pipelines in one query."""
    found: dict[int, list[Field]] = defaultdict(list)
    query = select(Field).where(among(Field.pipeline_id, set(pipeline_ids)), ~Field.removed)
    for field in asked.db().scalars(query.order_by(Field.pipeline_id, Field.position)) if pipeline_ids else ():
        found[field.pipeline_id].append(field)
    return found


def names(asked: Asked, found: Iterable[Box], columns: Mapping[int, Sequence[Field]]) -> dict[str, str]:
    """Names of the people, contacts and organizations that boxes' values speak of, by key; in two queries."""
    known = {user.key: user.name for user in lookups.everybody(asked)}
    spoken: dict[FieldType, set[str]] = defaultdict(set)
    for box in found:
        for field in columns.get(box.pipeline_id, ()):
            if field.key in box.values:
                spoken[FieldType(field.type)].add(str(box.values[field.key]))
    for kind, table in ((FieldType.CONTACT, Contact), (FieldType.ORGANIZATION, Organization)):
        if keys := spoken[kind]:
            query = select(table.key, table.name).where(
                table.team_id == asked.viewer.team_id, among(table.key, keys)
            )
            known |= dict(asked.db().execute(query).all())
    return known


@dataclass(frozen=True, slots=True)
class _Room:
    """A box with what its form needs."""

    asked: Asked
    box: Box
    team: Sequence[User]
    columns: Sequence[Field]
    known: Mapping[str, str]

    @classmethod
    def of(cls, asked: Asked) -> _Room:
        """The box that a button carries. Raises `Refused`."""
        box = lookups.box(asked, lookups.key_of(asked, "box"))
        columns = columns_of(asked, [box.pipeline_id])
        known = names(asked, [box], columns)
        return cls(asked, box, lookups.everybody(asked), columns.get(box.pipeline_id, ()), known)

    def entry(self, field: Field, value: str | None = None, wrong: str = "") -> Entry:
        """A field as it is, or as it was typed."""
        there = self.typeable(field)
        typed = there if value is None else value
        return Entry(field, typed, there, wrong, self._options(field, typed))

    def typeable(self, field: Field) -> str:
        """The field's value as the form shows it."""
        return field_inputs.shown(field, self.box.values.get(field.key), self.known).value

    def _options(self, field: Field, value: str) -> list[Option]:
        if field.type == FieldType.DROPDOWN:
            choices = [(str(one), str(one)) for one in field.options]
        elif field.type == FieldType.PERSON:
            choices = [(one.key, one.name) for one in self.team if one.removed_at is None or one.key == value]
        else:
            return []
        if value and value not in dict(choices):  # a choice that was removed stays until it is changed
            choices = [(value, self.known.get(value, value)), *choices]
        some = [Option(key, words, key == value) for key, words in choices[: lookups.CHOICES - 1]]
        return [Option(NONE, "–", not value), *some]

    def sent(self, field: Field) -> str:
        """What the form says; an input that is empty is not sent at all."""
        lines = "\n".join(self.asked.given.get(f"field-{field.key}", ())[:1])
        text = lines.replace("\r\n", "\n").strip()
        if field.type == FieldType.CHECKBOX:
            return "on" if text == YES else ""
        if field.type != FieldType.TEXT:
            text = " ".join(text.split("\n"))
        return "" if text == NONE and field.type in (FieldType.DROPDOWN, FieldType.PERSON) else text


def edit(asked: Asked) -> Outcome:
    """The card to change fields on."""
    room = _Room.of(asked)
    entries = [room.entry(one) for one in room.columns[:EDITED]]
    return Shown(form(room.box, entries, len(room.columns[EDITED:])), push=True)


def save(asked: Asked) -> Outcome:
    """Set the fields that the person changed; if one is wrong none is set, and each word stands by its field.

    A field that somebody else changed since the card was shown is wrong too: the person sees both and chooses.
    """
    room = _Room.of(asked)
    boxes.lock_values(asked.db(), room.box)
    changed: dict[Field, str] = {}
    wrong: dict[str, str] = {}
    for field in room.columns[:EDITED]:
        sent, was, now = room.sent(field), asked.params.get(f"was-{field.key}"), room.typeable(field)
        if was is None or mark(sent) == was or sent == now:
            continue  # not on the card, left alone, or what it is anyway
        changed[field] = sent
        wrong |= _why_not(room, field, sent, stale=mark(now) != was)
    if wrong:
        return Shown(_again(room, changed, wrong), says="Not saved: look at the words below the fields")
    for field, sent in changed.items():
        boxes.set_value(asked.db(), asked.viewer, room.box, field, sent or None)
    return Done("Saved" if changed else "Nothing was changed")


def _why_not(room: _Room, field: Field, sent: str, *, stale: bool) -> dict[str, str]:
    if stale:
        there = field_inputs.shown(field, room.box.values.get(field.key), room.known)
        return {field.key: there.meanwhile(room.known).replace("you opened the page", "this card was shown")}
    try:
        fields.parse(room.asked.db(), field, sent or None)
    except FieldError as error:
        return {field.key: str(error)}
    return {}


def _again(room: _Room, changed: Mapping[Field, str], wrong: Mapping[str, str]) -> Card:
    """The card with what was typed. What it marks as shown is what there is now: saving again replaces that."""
    entries = [room.entry(one, changed.get(one), wrong.get(one.key, "")) for one in room.columns[:EDITED]]
    return form(room.box, entries, len(room.columns[EDITED:]))


def register(panel: Panel) -> None:
    """Put it into the panel."""
    for name, do in lookups.actions(("box.fields", edit), ("box.save_fields", save)):
        panel.register_action(name, do)
