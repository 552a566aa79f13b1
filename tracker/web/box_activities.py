"""What people write down about a box: notes, calls and meetings."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from flask import Blueprint, abort, request

from tracker import access, activities, due, people
from tracker.activities import Activity, ActivityError, ActivityKind
from tracker.boxes import Box
from tracker.people import User
from tracker.web.box_page import changed, found, page
from tracker.web.forms import or_show, text
from tracker.web.frame import Page, db, now, user, viewer

bp = Blueprint("box_activities", __name__)
ADDED = {ActivityKind.NOTE: "Note added", ActivityKind.CALL: "Call logged", ActivityKind.MEETING: "Meeting logged"}


def _kind(given: str) -> ActivityKind:
    try:
        return ActivityKind(given)
    except ValueError:
        abort(404)


def _at() -> datetime | None:
    """When it took place: wall time of whoever writes."""
    given = text("at", 40)
    if not given:
        return None
    try:
        wall = datetime.fromisoformat(given)
    except ValueError:
        raise ActivityError("Expected a day and a time such as 2026-11-24 14:30") from None
    if not 1970 <= wall.year <= 2200:
        raise ActivityError("Expected a year from 1970 to 2200")
    return due.instant(wall.date(), wall.time().replace(tzinfo=None), user().time_zone)


def _minutes() -> int | None:
    given = text("minutes", 10)
    if not given:
        return None
    if not given.isdecimal():
        raise ActivityError("Expected its length in whole minutes, such as 30")
    return int(given)


def _mentionable(box: Box, already: Collection[str] = ()) -> list[User]:
    """Those who see the box; and, in what is corrected, those whom it mentions already."""
    team = people.of_team(db(), viewer().team_id)
    there = access.seers(db(), box, team)
    return there + [one for one in team if one.key in already and one not in there]


def _activity(box: Box, key: str) -> Activity:
    activity = activities.by_key(db(), viewer().team_id, key)
    if activity is None:
        raise ActivityError("This was removed meanwhile")
    return activity if activity.box_id == box.id else abort(404)


@bp.post("/b/<key>/activities/<kind>")
@or_show(page)
def add(key: str, kind: str) -> Page:
    """Write it down."""
    box, what = found(key), _kind(kind)
    activities.add(
        db(),
        viewer(),
        box,
        what,
        text("text", activities.TEXT_LIMIT + 1),
        at=_at(),
        minutes=_minutes(),
        contact_keys=request.form.getlist("with"),
        people=_mentionable(box),
        now=now(),
    )
    return changed(box, "compose", "timeline", told=ADDED[what], anchor="box-timeline")


@bp.post("/b/<key>/activity/<activity>")
@or_show(page)
def change(key: str, activity: str) -> Page:
    """Correct one's own."""
    box = found(key)
    activities.change(
        db(),
        viewer(),
        _activity(box, activity),
        text("text", activities.TEXT_LIMIT + 1),
        at=_at(),
        minutes=_minutes(),
        contact_keys=request.form.getlist("with"),
        people=_mentionable(box, _activity(box, activity).mentions),
        now=now(),
    )
    return changed(box, "timeline", told="Changed", anchor=f"a-{activity}")


@bp.post("/b/<key>/activity/<activity>/remove")
@or_show(page)
def remove(key: str, activity: str) -> Page:
    """Remove one's own."""
    box = found(key)
    activities.remove(db(), viewer(), _activity(box, activity), now())
    return changed(box, "timeline", told="Removed", anchor="box-timeline")
