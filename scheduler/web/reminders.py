"""Reminders on the pages: told on the next that somebody opens; set on the box, by one's own clock or theirs."""

from __future__ import annotations

import re
from datetime import time

from flask import Blueprint, Flask, abort, flash, render_template, request

from scheduler import reminders
from tracker import boxes, due
from tracker.boxes import Box, BoxError
from tracker.due import DueError
from tracker.people import Role, Viewer
from tracker.web import box_page, frame, words
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import BoxPanel, Page, db, now, user, viewer

bp = Blueprint("reminders", __name__, template_folder="templates")
_TIME = re.compile(r"([01]?\d|2[0-3])(?:[:.]([0-5]\d))?")


def _tell() -> None:
    """Before a page is shown: what its reader is to be reminded of."""
    asks_for_page = request.method == "GET" and request.accept_mimetypes.best == "text/html"
    if not asks_for_page or request.headers.get("HX-Request") or request.endpoint in (None, "static"):
        return
    if frame.is_public():  # nobody's in particular: it may be of another team, or sign another person in
        return
    reader = frame.user_or_none()
    if reader is None:
        return
    for task in reminders.unseen(db(), reader, now()):
        about = f", about {task.box.name}" if task.box else ""
        flash(f"Reminder: {task.title}{about}", "reminder")


def panel(who: Viewer, box: Box) -> str | None:
    """Set a reminder on the box."""
    if who.role == Role.GUEST:
        return None
    return render_template("scheduler/_remind.html", box=box)


def _box(key: str) -> Box:
    found = boxes.by_key(db(), viewer().team_id, key)
    return found if found is not None and found.deleted_at is None else abort(404)


@bp.post("/b/<key>/remind")
@or_show(box_page.page)
def remind(key: str) -> Page:
    """Set it."""
    box = _box(key)
    if viewer().role == Role.GUEST:
        abort(403)
    at = _TIME.fullmatch(text("at", 10) or "9:00")
    whose = text("whose", 100)
    contact = next((one for one in box.contacts if one.key == whose), None)
    try:
        day = due.parse(text("day", 200), due.today(user().time_zone, now()))
        if at is None or day is None:
            raise Refused({"remind": "Say when: a day such as tomorrow, and a time such as 9:00"})
        clock = time(int(at[1]), int(at[2] or 0))
        title = text("title", 400) or f"Look at {box.name}"
        task = reminders.remind(db(), viewer(), user(), box, title, day, clock, contact, now=now())
    except (DueError, BoxError) as error:
        raise Refused({"remind": str(error)}) from None
    assert task.remind_at is not None
    mine = task.remind_at.astimezone(due.zone(user().time_zone))
    return done(f"You are reminded on {mine:%a} {mine.day} {mine:%b} at {mine:%H:%M}", "box.show", key=box.key)


def init_app(app: Flask) -> None:
    """Add them to an application that has the frame."""
    app.register_blueprint(bp)
    app.before_request(_tell)
    frame.register_box_panel(app, BoxPanel("Remind me", panel, order=60))
    words.register("task.reminded", "reminded of “{title}”")
