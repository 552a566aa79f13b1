"""What is to do about the open thread's boxes: tasks, and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from gmail_sync.addon import lookups
from tracker import activities, due, people, tasks
from tracker.activities import ActivityError, ActivityKind
from tracker.boxes import Box
from tracker.db import among
from tracker.due import DueError
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Card,
    Choice,
    Done,
    Input,
    Line,
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
from tracker.people import User
from tracker.tasks import Task, TaskError

LISTED = 8  # tasks
DAYS = ("today", "tomorrow", "next monday", "in 1 week", "in 2 weeks")


# -- drawn


@dataclass(frozen=True, slots=True)
class ToDo:
    """A task as the panel shows it."""

    key: str
    title: str
    when: str  #: "Due tomorrow", or empty
    who: str
    where: str = ""  #: its box, where there are several


def task_line(one: ToDo, back: str = "") -> Line:
    """A task, to be ticked off."""
    below = " · ".join(part for part in (one.when, one.who, one.where) if part)
    done = Button("Done", Action("task.finish", {"task": one.key}))
    return Line(one.title, below=below, icon="task_alt", url=back, button=done)


def section(found: Sequence[ToDo], more: str = "") -> Section:
    """What is to do. `more` is a page with the rest, if there is more."""
    lines: list[Widget] = [task_line(one) for one in found]
    if more:
        lines.append(Line("More in Tracker", url=more))
    add = [Button("Add task", Action("task.add")), Button("Add note", Action("note.add"))]
    return Section("To do", [*lines, Buttons(add)])


def _which(boxes_: Sequence[Box], chosen: str) -> list[Widget]:
    """The box that it is about, where there are several."""
    if len(boxes_) < 2:
        return []
    return [Choice("work-box", "Box", [Option(one.key, one.name, one.key == chosen) for one in boxes_])]


def _wrong(words: str) -> list[Widget]:
    return [Paragraph(words)] if words else []


def task_form(asked: Asked, boxes_: Sequence[Box], owners: Sequence[Option], wrong: str = "") -> Card:
    """A new task, with what was typed."""
    widgets: list[Widget] = [
        *_which(boxes_, asked.text("work-box")),
        Input("task-title", "What is to be done?", asked.text("task-title")),
        Input("task-due", "Due", asked.text("task-due"), "tomorrow, next monday, 24 nov", suggestions=DAYS),
        Choice("task-owner", "Who", owners),
        *_wrong(wrong),
    ]
    save = Button("Add task", Action("task.save", {"box": boxes_[0].key}), filled=True)
    subtitle = boxes_[0].name if len(boxes_) == 1 else ""
    return Card("Add a task", [Section("", widgets)], subtitle, "task", save)


def note_form(asked: Asked, boxes_: Sequence[Box], wrong: str = "") -> Card:
    """A new note, with what was typed."""
    widgets: list[Widget] = [
        *_which(boxes_, asked.text("work-box")),
        Input("note-text", "Note", asked.text("note-text"), "@name tells a teammate", lines=True),
        *_wrong(wrong),
    ]
    save = Button("Add note", Action("note.save", {"box": boxes_[0].key}), filled=True)
    subtitle = boxes_[0].name if len(boxes_) == 1 else ""
    return Card("Add a note", [Section("", widgets)], subtitle, "note", save)


# -- looked up


def sections(asked: Asked) -> Sequence[Section]:
    """The open tasks of the thread's boxes; in as many queries for one box as for ten."""
    found = lookups.boxes_of(asked)
    if not found:
        return []
    names = {one.id: one.name for one in found}
    query = (
        select(Task)
        .where(among(Task.box_id, names), Task.done_at.is_(None))
        .options(joinedload(Task.assignee))
        .order_by(Task.due_on.asc().nulls_last(), Task.id)
    )
    open_ones = asked.db().scalars(query.limit(LISTED + 1)).all()
    more = f"{asked.url}/b/{found[0].key}" if len(open_ones) > LISTED else ""
    where = names if len(found) > 1 else {}
    return [section([to_do(one, today(asked), where) for one in open_ones[:LISTED]], more)]


def today(asked: Asked) -> date:
    """The day that it is for whoever looks."""
    return due.today(asked.zone, asked.now)


def to_do(task: Task, day: date, where: Mapping[int, str]) -> ToDo:
    """A task in words."""
    when = f"Due {due.words(task.due_on, day)}" if task.due_on is not None else ""
    who = task.assignee.name if task.assignee is not None else ""
    return ToDo(task.key, task.title, when, who, where.get(task.box_id or 0, ""))


def _boxes(asked: Asked) -> list[Box]:
    found = lookups.boxes_of(asked)
    if not found:
        raise Refused("This thread is in no box; put it into one first")
    return found


def _box(asked: Asked) -> Box:
    """The box that the form is about: one of the thread's."""
    box = lookups.box(asked, (asked.text("work-box") or asked.params.get("box", ""))[: lookups.KEY])
    if box.id not in {one.id for one in _boxes(asked)}:
        raise Refused(f"This thread is in {box.name} no more; open it again")
    return box


def _owners(asked: Asked, boxes_: Sequence[Box]) -> list[Option]:
    """Those who see one of the boxes, whoever asks first."""
    there = lookups.seers(asked, boxes_)
    users: dict[int, User] = {user.id: user for seen in there.values() for user in seen}
    chosen = asked.text("task-owner") or asked.user.key
    shown = sorted(users.values(), key=lambda one: (one.id != asked.viewer.user_id, one.name.casefold()))
    return [Option(one.key, one.name, one.key == chosen) for one in shown[: lookups.CHOICES]]


# -- done


def add_task(asked: Asked) -> Outcome:
    """The card for a task."""
    found = _boxes(asked)
    return Shown(task_form(asked, found, _owners(asked, found)), push=True)


def save_task(asked: Asked) -> Outcome:
    """Set a task; if something is wrong the card says so and keeps what was typed."""
    box = _box(asked)
    try:
        day = due.parse(asked.text("task-due"), today(asked))
        owner = _owner(asked)
        title = asked.text("task-title")
        tasks.create(asked.db(), asked.viewer, title, box=box, due_on=day, assignee_id=owner.id, now=asked.now)
    except (TaskError, DueError) as error:
        found = _boxes(asked)
        return Shown(task_form(asked, found, _owners(asked, found), str(error)))
    return Done(f"Task set, due {due.words(day, today(asked))}" if day else "Task set")


def _owner(asked: Asked) -> User:
    """Whoever was chosen, else whoever asks; that they see the box is asked where the task is made."""
    key = asked.text("task-owner")[: lookups.KEY]
    if not key or key == asked.user.key:
        return asked.user
    found = people.by_key(asked.db(), key)
    if found is None or found.team_id != asked.viewer.team_id:
        raise TaskError("Choose somebody of the team")
    return found


def finish_task(asked: Asked) -> Outcome:
    """Tick a task off: of a box that the viewer sees, or one of their own."""
    key = lookups.key_of(asked, "task")
    task = tasks.by_key(asked.db(), asked.viewer.team_id, key)
    if task is None or not (task.box_id or asked.viewer.user_id in (task.assignee_id, task.created_by_id)):
        raise Refused("This task was deleted meanwhile")
    tasks.complete(asked.db(), asked.viewer, task, asked.now)
    return Done(f"Done: {task.title}")


def add_note(asked: Asked) -> Outcome:
    """The card for a note."""
    return Shown(note_form(asked, _boxes(asked)), push=True)


def save_note(asked: Asked) -> Outcome:
    """Write a note down; those who are mentioned are told."""
    box = _box(asked)
    who = lookups.seers(asked, [box])[box.id]
    words = "\n".join(asked.given.get("note-text", ())[:1])
    try:
        activities.add(asked.db(), asked.viewer, box, ActivityKind.NOTE, words, people=who, now=asked.now)
    except ActivityError as error:
        return Shown(note_form(asked, _boxes(asked), str(error)))
    return Done("Note added")


def register(panel: Panel) -> None:
    """Put it into the panel."""
    panel.register_section(Place.THREAD, sections, order=40)
    for name, do in lookups.actions(
        ("task.add", add_task), ("task.save", save_task), ("task.finish", finish_task),
        ("note.add", add_note), ("note.save", save_note),
    ):  # fmt: skip
        panel.register_action(name, do)
