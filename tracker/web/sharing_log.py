"""Opened by others: who was handed mail that is in none of their own mailboxes. For admins."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request

from tracker import reading_log
from tracker.people import Role
from tracker.web import cursor
from tracker.web.cursor import Cursor
from tracker.web.frame import Page, db, viewer
from tracker.web.sharing_settings import tabs

bp = Blueprint("sharing_log", __name__)
PAGE = 50
DOORS = {"file": "opened a file of", "web": "read", "reply": "quoted, to answer,"}


@bp.get("/sharing/opened")
def show() -> Page:
    """The team's log of ninety days; what the mail is, only if the admin may read it themselves."""
    if viewer().role != Role.ADMIN:
        abort(403)
    after = cursor.parse(request.args.get("after"))
    number = int(after.key) if after is not None and after.key.isdecimal() and len(after.key) < 19 else 0
    found = reading_log.of_team(db(), viewer(), before=(after.at, number) if after else None, limit=PAGE + 1)
    last = found[PAGE - 1] if len(found) > PAGE else None
    more = Cursor(last.at, str(last.id)) if last is not None else None
    return render_template("sharing/log.html", found=found[:PAGE], more=more, doors=DOORS, tabs=tabs("log"))
