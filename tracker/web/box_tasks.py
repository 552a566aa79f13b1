"""The tasks of a box: set, changed, done, taken away and brought back."""

from __future__ import annotations

import re
from datetime import date, datetime, time

from flask import Blueprint, abort, url_for

from tracker import due, tasks
from tracker.boxes import Box
from tracker.due import DueError
from tracker.people import User
from tracker.tasks import Task, TaskError
from tracker.web.box_page import changed, found, in_team, page
from tracker.web.forms import or_show, text
from tracker.web.frame import Page, db, now, user, viewer

bp = Blueprint("box_tasks", __name__)


def _task(box: Box, key: str) -> Task:
    task = tasks.by_key(db(), viewer().team_id, key)
    if task is None:
        raise TaskError("This task was deleted meanwhile")
    return task if task.box_id == box.id else abort(404)


def _due() -> date | None:
    try:
        return due.parse(text("due", 200), due.today(user().time_zone, now()))
    except DueError as error:
        raise TaskError(str(error)) from None


def _reminder(day: date | None, owner: User | None) -> datetime | None:
    """At a time on a day, in the owner's zone; without a day of its own, on the day that the task is due."""
    at, on = text("remind_time", 20), text("remind_on", 200)
    if not at and not on:
        return None
    found_time = re.fullmatch(r"([01]?\d|2[0-3])[:.]?([0-5]\d)?(?::\d\d)?", at or "9:00")
    if found_time is None:
        raise TaskError("Expected a time such as 9:00 for the reminder")
    zone = (owner or user()).time_zone
    try:
        day = due.parse(on, due.today(zone, now())) or day
    except DueError as error:
        raise TaskError(f"For the reminder: {error}") from None
    if day is None:
        raise TaskError("Say on which day to remind; the task has no due date")
    return due.instant(day, time(int(found_time[1]), int(found_time[2] or 0)), zone)


@bp.post("/b/<key>/tasks")
@or_show(page)
def create(key: str) -> Page:
    """Set a task."""
    box, owner = found(key), in_team(text("owner")) or user()
    day = _due()
    remind_at = _reminder(day, owner)
    title = text("title", tasks.TITLE_LIMIT + 1)
    tasks.create(db(), viewer(), title, box=box, due_on=day, assignee_id=owner.id, remind_at=remind_at, now=now())
    return changed(box, "tasks", "newtask", "timeline", told="Task set", anchor="box-tasks")


@bp.post("/b/<key>/tasks/<task>")
@or_show(page)
def change(key: str, task: str) -> Page:
    """Change title, due date, owner and reminder."""
    box = found(key)
    there, owner = _task(box, task), in_team(text("owner"))
    day = _due()
    title, remind_at = text("title", tasks.TITLE_LIMIT + 1), _reminder(day, owner)
    assignee_id = owner.id if owner else None
    tasks.change(db(), viewer(), there, title=title, due_on=day, assignee_id=assignee_id, remind_at=remind_at)
    return changed(box, "tasks", "timeline", told="Task changed", anchor="box-tasks")


@bp.post("/b/<key>/tasks/<task>/done")
@or_show(page)
def settle(key: str, task: str) -> Page:
    """Done (`done` = on), or not done after all."""
    box = found(key)
    there = _task(box, task)
    if text("done") == "on":
        tasks.complete(db(), viewer(), there, now())
        undo = {"url": url_for("box_tasks.settle", key=box.key, task=task), "fields": {}}
        return changed(box, "tasks", "timeline", told=f"Done: {there.title}", undo=undo, anchor="box-tasks")
    tasks.reopen(db(), viewer(), there)
    return changed(box, "tasks", "timeline", told=f"To be done again: {there.title}", anchor="box-tasks")


@bp.post("/b/<key>/tasks/<task>/remove")
@or_show(page)
def remove(key: str, task: str) -> Page:
    """Delete it; the notice brings it back."""
    box = found(key)
    there = _task(box, task)
    tasks.remove(db(), viewer(), there)
    undo = {"url": url_for("box_tasks.restore", key=box.key, task=task), "fields": {}}
    return changed(box, "tasks", "timeline", told=f"Deleted: {there.title}", undo=undo, anchor="box-tasks")


@bp.post("/b/<key>/tasks/<task>/restore")
@or_show(page)
def restore(key: str, task: str) -> Page:
    """Bring a deleted task back."""
    box = found(key)
    there = tasks.restore(db(), viewer(), task, box)
    return changed(box, "tasks", "timeline", told=f"It is back: {there.title}", anchor="box-tasks")
