"""Templates put into the mail that is being written in Gmail, filled in for its recipient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select

from scheduler import panel_drafts, placeholders, rich_text, snippets
from scheduler.placeholders import Filled
from scheduler.snippets import MailTemplate
from tracker.addresses import Address
from tracker.boxes import Box, BoxContact
from tracker.contacts import ContactAddress
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Card,
    Choice,
    Input,
    Inserted,
    Option,
    Outcome,
    Panel,
    Paragraph,
    Place,
    Refused,
    Section,
    Shown,
    Widget,
)

INSERT, TYPED = "templates.insert", "templates.insert_typed"
TITLE = "Insert template"
SHOWN = 100  #: templates of a dropdown
INPUTS = 10  #: fields that can be typed in
KEY = 100  # characters that are read of a key
TYPED_LIMIT = 500  # characters of a field that is typed in
PREVIEW = 600  # characters


def section(asked: Asked) -> Sequence[Section]:
    """The viewer's templates to choose from."""
    found = snippets.of_team(asked.db(), asked.viewer)[:SHOWN]
    if not found:
        return []
    options = [Option(one.key, one.name, number == 0) for number, one in enumerate(found)]
    told = "Its text goes where the cursor is. The subject stays as it is."
    buttons = Buttons([Button("Insert", Action(INSERT))])
    return [Section(TITLE, [Choice("template", "Template", options), Paragraph(told), buttons])]


def insert(asked: Asked) -> Outcome:
    """Put a template in; if something is not known for its recipient, that is said first. Raises `Refused`."""
    template = _template(asked, asked.text("template"))
    filled = placeholders.fill("", template.html, _values(asked))
    return Shown(_lacking(asked, template, filled), push=True) if filled.missing else Inserted(filled.html)


def insert_typed(asked: Asked) -> Outcome:
    """Put a template in with what was typed for its fields; what nobody filled in stays as it is written."""
    template = _template(asked, asked.params.get("template", ""))
    values = _values(asked)
    missing = placeholders.fill("", template.html, values).missing
    typed = {name: _typed(asked, number) for number, name in enumerate(missing[:INPUTS])}
    return Inserted(placeholders.fill("", template.html, {**values, **typed}).html)


def _typed(asked: Asked, number: int) -> str:
    return " ".join(rich_text.plain(asked.text(_input(number))[:TYPED_LIMIT]).split())


def _input(number: int) -> str:
    return f"field-{number}"


def _lacking(asked: Asked, template: MailTemplate, filled: Filled) -> Card:
    """What is missing, with room to say it."""
    first = next(iter(panel_drafts.people(asked.writing).everybody), None)
    of = f" of {first.name or first.address}" if first is not None else ": say whom it goes to, or type it in"
    names = ", ".join(f"{{{{{one}}}}}" for one in filled.missing)
    told = f"Nothing is known for {names}{of}. What you leave empty stays as written."
    widgets: list[Widget] = [Paragraph(told)]
    widgets += [Input(_input(number), _label(name)) for number, name in enumerate(filled.missing[:INPUTS])]
    widgets.append(Buttons([Button("Insert", Action(TYPED, {"template": template.key}), filled=True)]))
    text = rich_text.to_plain(filled.html)
    preview = Section("As it stands", [Paragraph(text[:PREVIEW] + ("…" if len(text) > PREVIEW else ""))])
    return Card("Before it is inserted", [Section("", widgets), preview], template.name, name="template")


def _label(name: str) -> str:
    known = placeholders.KNOWN.get(name, "")
    return f"{name} ({known})" if known else name


def _template(asked: Asked, key: str) -> MailTemplate:
    found = snippets.by_key(asked.db(), asked.viewer, key[:KEY])
    if found is None:
        raise Refused("Choose a template; this one is gone")
    return found


# -- what is known


def _values(asked: Asked) -> Mapping[str, str]:
    """What can be filled in for the mail's main recipient, or for nobody yet."""
    first = next(iter(panel_drafts.people(asked.writing).everybody), None)
    someone = first if first is not None else Address("", "", "")
    values = snippets.values(asked.db(), asked.user, [someone], _box(asked, first) if first is not None else None)
    return values[someone.normalized]


def _box(asked: Asked, first: Address) -> Box | None:
    """The box that the mail belongs to: the recipient's, if they are in a single one."""
    theirs = (
        select(Box)
        .join(BoxContact, BoxContact.box_id == Box.id)
        .join(ContactAddress, ContactAddress.contact_id == BoxContact.contact_id)
        .where(ContactAddress.team_id == asked.viewer.team_id, ContactAddress.normalized == first.normalized)
        .where(Box.deleted_at.is_(None), Box.archived_at.is_(None))
        .distinct()
    )
    boxes = asked.db().scalars(theirs.limit(2)).all()
    return boxes[0] if len(boxes) == 1 else None


def register(panel: Panel, order: int) -> None:
    """Add all of this to a panel."""
    panel.register_section(Place.COMPOSE, section, order=order)
    panel.register_action(INSERT, insert)
    panel.register_action(TYPED, insert_typed)
