"""A room of the tests': a section at each place of the panel, actions of each kind, and what they were asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.gmail_sync.addon.house import House
from tracker import contacts
from tracker.addresses import Address
from tracker.contacts import Contact
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Card,
    Done,
    Input,
    Inserted,
    Opened,
    Outcome,
    Paragraph,
    Place,
    Refused,
    Section,
    Shown,
)
from tracker.web import frame


def furnish(house: House) -> list[Asked]:
    """Register it; what it is asked from now on, in order."""
    found: list[Asked] = []

    def show(asked: Asked) -> list[Section]:
        found.append(asked)
        names = ", ".join(asked.db().scalars(select(Contact.name).order_by(Contact.id)))
        buttons = [Button(name, Action(f"test.{name}", {"key": "k1"})) for name in ACTIONS]
        note = Input("note", "Note")
        return [Section("Test", [Paragraph(f"Known: {names}"), note, Buttons(buttons)])]

    for place in Place:
        frame.of(house.app).panel.register_section(place, show, order=1)
    for name, do in ACTIONS.items():
        frame.of(house.app).panel.register_action(f"test.{name}", _noting(found, do))
    return found


def _noting(found: list[Asked], do: Callable[[Asked], Outcome]) -> Callable[[Asked], Outcome]:
    def noted(asked: Asked) -> Outcome:
        found.append(asked)
        return do(asked)

    return noted


def _add(asked: Asked) -> Outcome:
    _contact(asked)
    return Done("Added")


def _contact(asked: Asked) -> None:
    name = asked.text("note")
    contacts.ensure(asked.db(), asked.viewer, Address(name, f"{name}@acme.test", f"{name}@acme.test"))


def _refuse(asked: Asked) -> Outcome:
    _contact(asked)
    asked.after_commit(lambda: pytest.fail("nothing was committed"))
    raise Refused("That can't be done: try another one")


def _break(asked: Asked) -> Outcome:
    _contact(asked)
    raise ZeroDivisionError("secret words")


ACTIONS: dict[str, Callable[[Asked], Outcome]] = {
    "add": _add,
    "refuse": _refuse,
    "break": _break,
    "push": lambda _: Shown(Card("Two", [Section("", [Paragraph("Another card")])]), push=True),
    "swap": lambda _: Shown(Card("Three", [Section("", [Paragraph("In its place")])]), says="Look"),
    "leave": lambda asked: Opened(f"{asked.url}/boxes"),
    "insert": lambda _: Inserted("<p>Hello</p>"),
    "pixel": lambda _: Inserted("<img>", keep=True),
}


def names(house: House) -> set[str]:
    """The contacts that were kept."""
    with house.sessions() as session:
        return set(session.scalars(select(Contact.name)))
