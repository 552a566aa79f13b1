"""What a change costs in quota units: the table of docs/labels.md, measured at the sandbox's meter."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.gmail_sync.labels.world import Phone
from tests.tracker.domain import pipeline, stage
from tracker import boxes, merging, pipelines
from tracker.boxes import Box

DOCS = Path(__file__).parents[3] / "docs" / "labels.md"


@dataclass
class Case:
    """A box with one thread, `inside`; `outside` are threads in no box."""

    phone: Phone
    name: str
    box: int
    inside: str
    outside: list[str]

    @property
    def path(self) -> str:
        """The box's label."""
        return f"Boxes/Sales/{self.name}"


def _move(case: Case) -> None:
    with case.phone.tracker() as (session, viewer):
        found = session.get_one(Box, case.box)
        boxes.move(session, viewer, found, stage(session, found.pipeline, "Won"), now=datetime.now(UTC))


def _rename(case: Case) -> None:
    with case.phone.tracker() as (session, viewer):
        boxes.rename(session, viewer, session.get_one(Box, case.box), f"{case.name} Inc")


def _rename_pipeline(case: Case) -> None:
    with case.phone.tracker() as (session, viewer):
        pipelines.change(session, viewer, pipeline(session, viewer.team_id, "Connections"), name="Contacts")


def _delete(case: Case) -> None:
    with case.phone.tracker() as (session, viewer):
        boxes.delete(session, viewer, session.get_one(Box, case.box), datetime.now(UTC))


def _merge(case: Case) -> None:
    other = case.phone.a_box("Other", case.outside[0])
    assert case.phone.is_quiet() or case.phone.is_quiet()
    case.phone.team.sandbox.stats.reset()
    with case.phone.tracker() as (session, viewer):
        kept, gone = session.get_one(Box, case.box), session.get_one(Box, other)
        merging.merge(session, viewer, kept, gone, now=datetime.now(UTC))


def _file_all(case: Case) -> None:
    for thread in case.outside:
        case.phone.file(thread, case.box)


CHANGES: dict[str, Callable[[Case], None]] = {
    "Nothing": lambda case: None,
    "A thread is labelled with a box’s label": lambda case: case.phone.label(case.outside[0], case.path),
    "A label is taken off a thread": lambda case: case.phone.unlabel(case.inside, case.path),
    "A new label `Boxes/Sales/New`, on a thread": lambda case: case.phone.label(
        case.outside[0], "Boxes/Sales/New"
    ),
    "`Boxes/Sales` on a thread": lambda case: case.phone.label(case.outside[0], "Boxes/Sales"),
    "A thread of one mail is put into a box": _file_all,
    "A thread of several mails is put into a box": _file_all,
    "Twenty threads are put into a box": _file_all,
    "A thread is taken out of a box": lambda case: case.phone.take_out(case.inside, case.box),
    "A box moves to another stage": _move,
    "A box is renamed": _rename,
    "A box is deleted": _delete,
    "A pipeline is renamed, with one box": _rename_pipeline,
    "A box’s label is renamed in Gmail": lambda case: case.phone.rename(case.path, f"{case.path}!"),
    "A box’s label is deleted in Gmail": lambda case: case.phone.delete(case.path),
    "Two boxes are merged": _merge,
}
UNHEARD = "A box’s label is renamed in Gmail"  # by history: it is seen in the hourly list


def measured(phone: Phone, number: int, words: str) -> int:
    """What a change costs until all is quiet; without `history.list`, the two units of any sync."""
    outside = [
        phone.thread(messages=3 if "several" in words else 1) for _ in range(20 if "Twenty" in words else 1)
    ]
    inside = phone.thread(messages=3)
    phone.sync()
    name = f"Acme {number}"
    box = phone.a_box(name, inside, into="Connections" if "pipeline" in words else "Sales")
    phone.sync()
    if words == UNHEARD:
        phone.forget_list()
    phone.team.sandbox.stats.reset()
    CHANGES[words](Case(phone, name, box, inside, outside))
    phone.sync()
    phone.sync()
    spent = phone.team.sandbox.stats.units(phone.address)
    assert phone.is_quiet()
    return sum(units for method, units in spent.items() if method != "history.list")


def test_changes_cost_what_the_documentation_says(phone: Phone) -> None:
    phone.on()
    told = DOCS.read_text("utf-8").splitlines()
    for number, words in enumerate(CHANGES):
        line = f"| {words} | {measured(phone, number, words)} |"
        assert line in told, line
    assert sum(bool(re.fullmatch(r"\| [^|]+ \| \d+ \|", line)) for line in told) == len(CHANGES)
