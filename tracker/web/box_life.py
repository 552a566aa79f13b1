"""A box put away, deleted, and brought back."""

from __future__ import annotations

from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy import select

from tracker import boxes, pipelines
from tracker.boxes import Box
from tracker.web import cursor
from tracker.web.box_page import anyhow, changed, found, page
from tracker.web.cursor import Cursor
from tracker.web.forms import done, or_show
from tracker.web.frame import Page, db, now, viewer
from tracker.web.notices import undoable

bp = Blueprint("box_life", __name__)
PAGE = 50


@bp.post("/b/<key>/archive")
@or_show(page)
def archive(key: str) -> Page:
    """Put it away, or bring it back."""
    box = found(key)
    undo = {"url": url_for("box_life.archive", key=box.key), "fields": {}}
    if box.archived_at is None:
        boxes.archive(db(), viewer(), box, now())
        return changed(box, "head", "timeline", told="Archived; everything in it is kept", undo=undo)
    boxes.restore(db(), viewer(), box)
    return changed(box, "head", "timeline", told="It is back on the board")


@bp.post("/b/<key>/delete")
@or_show(page)
def delete(key: str) -> Page:
    """Delete it: it is gone from every list. The notice brings it back, and so does the list of deleted boxes."""
    box = found(key)
    boxes.delete(db(), viewer(), box, now())
    undoable(f"Deleted {box.name}", "box_life.undelete", key=box.key)
    return redirect(url_for("board.show", key=box.pipeline.key), 303)


@bp.post("/b/<key>/undelete")
@or_show(page)
def undelete(key: str) -> Page:
    """Bring it back."""
    box = anyhow(key)
    boxes.undelete(db(), viewer(), box)
    return done(f"{box.name} is back, with all that is in it", "box.show", key=box.key)


@bp.get("/p/<key>/deleted")
def deleted(key: str) -> Page:
    """A pipeline's deleted boxes, the last first, to be brought back."""
    pipeline = pipelines.by_key(db(), viewer().team_id, key) or abort(404)
    after = cursor.parse(request.args.get("after"))
    before = None
    if after is not None:
        last = select(Box.id).where(Box.team_id == viewer().team_id, Box.key == after.key)
        before = (after.at, db().scalar(last) or 0)
    there = boxes.deleted(db(), pipeline.id, before=before, limit=PAGE + 1)
    more = None
    if len(there) > PAGE:
        end = there[PAGE - 1]
        assert end.deleted_at is not None
        more = Cursor(end.deleted_at, end.key)
    return render_template("box_bin.html", pipeline=pipeline, boxes=there[:PAGE], more=more)
