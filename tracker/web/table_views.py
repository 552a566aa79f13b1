"""What is done to a table as a whole: views kept and changed, several boxes moved, given or put away at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, abort, redirect, request, url_for
from sqlalchemy import func, literal, select
from sqlalchemy import text as sql
from sqlalchemy.orm import joinedload

from tracker import boxes, events, people, pipelines, views
from tracker.boxes import Box, BoxConflict
from tracker.db import among
from tracker.events import Event
from tracker.listing import Look
from tracker.people import User
from tracker.pipelines import Pipeline, Stage
from tracker.views import SavedView
from tracker.web import board, notices, table
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("table_views", __name__)
MOST = 500  # boxes at once
UNDO = timedelta(minutes=10)  #: the page offers it for ten seconds; somebody may be slow
BULK = "boxes.changed"


def _look(pipeline: Pipeline) -> Look:
    return table.look_at(pipeline, pipelines.of_pipeline(db(), pipeline.id))


def _view(pipeline: Pipeline, key: str) -> SavedView:
    found = views.by_key(db(), viewer(), key)
    return found if found is not None and found.pipeline_id == pipeline.id else abort(404)


@bp.get("/p/<key>/views/<view>")
def open_view(key: str, view: str) -> Page:
    """A view's address: the table as it says."""
    found = _view(board.found(key), view)
    return redirect(url_for("table.show", key=key, view=found.key, **found.query))


@bp.post("/p/<key>/views")
@or_show(table.page)
def save(key: str) -> Page:
    """Keep what the table shows now under a name."""
    pipeline = board.found(key)
    query = _look(pipeline).params()
    made = views.save(db(), viewer(), pipeline, text("name"), query, shared=text("shared") == "on")
    return done(f"{made.name} is kept", "table_views.open_view", key=key, view=made.key)


@bp.post("/p/<key>/views/<view>")
@or_show(table.page)
def change(key: str, view: str) -> Page:
    """Rename or share a view, or (`what` = look) make it show what the table shows now."""
    pipeline = board.found(key)
    found = _view(pipeline, view)
    if text("what") == "look":
        views.change(db(), viewer(), found, query=_look(pipeline).params())
        return done(f"{found.name} shows this now", "table_views.open_view", key=key, view=view)
    views.change(db(), viewer(), found, name=text("name"), shared=text("shared") == "on")
    return done(f"{found.name} is saved", "table_views.open_view", key=key, view=view)


@bp.post("/p/<key>/views/<view>/delete")
@or_show(table.page)
def delete(key: str, view: str) -> Page:
    """Delete a view; the boxes stay as they are."""
    pipeline = board.found(key)
    found = _view(pipeline, view)
    views.delete(db(), viewer(), found)
    return done(
        f"The view {found.name} is deleted; its boxes stay", "table.show", key=key, **_look(pipeline).params()
    )


# -- several boxes at once


@bp.post("/p/<key>/table/boxes")
@or_show(table.page)
def change_boxes(key: str) -> Page:
    """Move, assign or archive the ticked boxes. A tick says which version of its box the person saw."""
    pipeline = board.found(key)
    seen = _ticked()
    action = text("action")
    actions: dict[str, Callable[[Pipeline, Sequence[Box], dict[str, str]], tuple[str, dict[str, Any], list[Box]]]]
    actions = {"move": _move, "assign": _assign, "archive": _archive}
    if action not in actions:
        abort(400)
    found = _listed(pipeline, seen)
    words, before, left = actions[action](pipeline, found, seen)
    if left:
        words += f"; {_called(left)} changed meanwhile and stayed. Look again"
    back = {"key": key, **_look(pipeline).params(), "view": request.args.get("view")}
    if not before:
        return done(words, "table.show", **back)
    token = _remember(pipeline, action, before)
    notices.undoable(words, "table_views.undo", {"token": token}, **back)
    return redirect(url_for("table.show", **back), 303)


def _ticked() -> dict[str, str]:
    """The ticked boxes' keys with the versions that the person saw."""
    given = request.form.getlist("box")[: MOST + 1]
    if not given:
        raise Refused({"boxes": "Tick the boxes first"})
    if len(given) > MOST:
        raise Refused({"boxes": f"At most {MOST} boxes at once; untick some"})
    return {key[:100].replace("\x00", ""): version for key, _, version in (one.partition(":") for one in given)}


def _listed(pipeline: Pipeline, keys: Any) -> Sequence[Box]:
    query = (
        select(Box)
        .where(Box.pipeline_id == pipeline.id, boxes.is_listed(), among(Box.key, keys))
        .options(joinedload(Box.stage), joinedload(Box.owner))
        .order_by(Box.id)
        .with_for_update(key_share=True, of=Box)
    )
    return db().scalars(query).all()


def _called(found: Sequence[Box]) -> str:
    names = ", ".join(one.name for one in found[:3])
    return names if len(found) <= 3 else f"{names} and {len(found) - 3} more"


def _many(number: int) -> str:
    return f"{number:,} box" if number == 1 else f"{number:,} boxes"


def _move(pipeline: Pipeline, found: Sequence[Box], seen: dict[str, str]) -> tuple[str, dict[str, Any], list[Box]]:
    stage = _stage(pipeline, text("stage"))
    left = [one for one in found if str(one.version) != seen[one.key] and one.stage_id != stage.id]
    before: dict[str, Any] = {}
    for box in found:
        if box in left or box.stage_id == stage.id:
            continue
        was = [box.stage.key, box.stage_entered_at.isoformat()]
        boxes.move(db(), viewer(), box, stage, now=now())
        before[box.key] = [*was, box.version]
    return f"{_many(len(before))} moved to {stage.name}", before, left


def _stage(pipeline: Pipeline, key: str) -> Stage:
    found = pipelines.stage_by_key(db(), pipeline.team_id, key)
    if found is None or found.pipeline_id != pipeline.id:
        raise Refused({"boxes": "Choose the stage that they go to"})
    return found


def _assign(_: Pipeline, found: Sequence[Box], __: dict[str, str]) -> tuple[str, dict[str, Any], list[Box]]:
    owner = _member(text("owner"))
    before: dict[str, Any] = {}
    for box in found:
        if box.owner_id != (owner.id if owner else None):
            before[box.key] = [box.owner.key if box.owner else "", owner.key if owner else ""]
            boxes.assign(db(), viewer(), box, owner)
    return f"{owner.name if owner else 'Nobody'} has {_many(len(before))} now", before, []


def _member(key: str) -> User | None:
    user = people.by_key(db(), key) if key else None
    if key and (user is None or user.team_id != viewer().team_id):
        abort(404)
    return user


def _archive(_: Pipeline, found: Sequence[Box], __: dict[str, str]) -> tuple[str, dict[str, Any], list[Box]]:
    for box in found:
        boxes.archive(db(), viewer(), box, now())
    return f"{_many(len(found))} archived; everything in them is kept", {box.key: [] for box in found}, []


def _remember(pipeline: Pipeline, action: str, before: dict[str, Any]) -> str:
    """Write down how the boxes were; the token is the transaction's number, by which the log finds it."""
    who = viewer()
    data = {"pipeline": pipeline.key, "action": action, "before": before}
    events.record(db(), who.team_id, BULK, actor=who.actor, user_id=who.user_id, data=data)
    return str(db().scalar(sql("SELECT pg_current_xact_id()::text")))


@bp.post("/p/<key>/table/undo")
@or_show(table.page)
def undo(key: str) -> Page:
    """Take back what was done to several boxes; one that somebody changed since stays."""
    pipeline = board.found(key)
    told = _told(pipeline, text("token", 30))
    if told is None:
        raise Refused({"boxes": "It is too late to take this back; do it by hand"})
    before: dict[str, Any] = told["before"]
    steps: dict[str, Callable[[Box, list[Any]], bool]]
    steps = {"move": _move_back, "assign": _assign_back, "archive": _bring_back}
    query = select(Box).where(Box.pipeline_id == pipeline.id, Box.deleted_at.is_(None), among(Box.key, before))
    query = query.options(joinedload(Box.stage)).order_by(Box.id).with_for_update(key_share=True, of=Box)
    changed = [box for box in db().scalars(query).all() if steps[told["action"]](box, before[box.key])]
    stayed = len(before) - len(changed)
    words = f"{_many(len(changed))} as before"
    words += f"; {_many(stayed)} changed since and stayed" if stayed else ""
    return done(words, "table.show", key=key, **_look(pipeline).params(), view=request.args.get("view"))


def _told(pipeline: Pipeline, token: str) -> dict[str, Any] | None:
    if not token.isdigit() or len(token) > 18:
        return None
    query = select(Event).where(
        sql("events.transaction = CAST(:token AS xid8)").bindparams(token=token),
        Event.kind == BULK,
        Event.team_id == viewer().team_id,
        Event.user_id == viewer().user_id,
        Event.at > func.clock_timestamp() - literal(UNDO),
    )
    found = db().scalars(query.limit(1)).first()
    return found.data if found is not None and found.data.get("pipeline") == pipeline.key else None


def _move_back(box: Box, was: list[Any]) -> bool:
    stage = pipelines.stage_by_key(db(), box.team_id, str(was[0]))
    if stage is None or box.version != was[2] or stage.pipeline_id != box.pipeline_id:
        return False
    try:
        boxes.move(db(), viewer(), box, stage, now=now(), why="because the move was taken back")
    except BoxConflict:
        return False
    box.stage_entered_at = datetime.fromisoformat(str(was[1]))
    return True


def _assign_back(box: Box, was: list[Any]) -> bool:
    owner = people.by_key(db(), str(was[0])) if was[0] else None
    present = box.owner.key if box.owner else ""
    if present != was[1] or (owner is not None and owner.team_id != box.team_id):
        return False
    boxes.assign(db(), viewer(), box, owner)
    return True


def _bring_back(box: Box, _: list[Any]) -> bool:
    if box.archived_at is None:
        return False
    boxes.restore(db(), viewer(), box)
    return True
