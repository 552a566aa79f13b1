"""The board of a pipeline: its stages as columns, its boxes as cards, moved by mouse, touch and keyboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Blueprint, Response, abort, current_app, jsonify, redirect, render_template, request, url_for
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from tracker import autobox, boxes, contacts, fields, people, pipelines, sight
from tracker.addresses import parse_addresses
from tracker.box_filters import ME, OWES, PERIODS, US, BoxFilter
from tracker.boxes import Box, BoxConflict
from tracker.db import lock_team
from tracker.events import Event
from tracker.people import User
from tracker.pipelines import Pipeline, Stage
from tracker.web import cards, cursor, frame, worth
from tracker.web.cards import Head, Look
from tracker.web.forms import Refused, done, number, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("board", __name__)
UNDO_SECONDS = 60  #: the page offers it for ten; somebody may be slow, or the network


def found(key: str) -> Pipeline:
    """The team's pipeline, or 404."""
    pipeline = next((one for one in frame.nav_pipelines() if one.key == key), None)
    return pipeline if pipeline is not None else abort(404)


def workable(key: str) -> Pipeline:
    """The pipeline, to add boxes; 403 for those who see but some of its boxes."""
    pipeline = found(key)
    return pipeline if sight.is_whole(db(), pipeline.id) else abort(403)


def _zone() -> tzinfo:
    try:
        return ZoneInfo(frame.user().time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _look(pipeline: Pipeline) -> Look:
    """What the address asks for."""
    columns = fields.of_pipeline(db(), pipeline.id)
    return Look(viewer(), now(), columns, BoxFilter.parse(request.args), _zone())


def page(key: str, **_: str) -> str:
    """The whole board."""
    pipeline, session = found(key), db()
    look = _look(pipeline)
    every = pipelines.of_pipeline(session, pipeline.id)
    chosen = look.chosen.stages
    stages = [stage for stage in every if stage.key in chosen] if chosen else every
    columns = cards.board(session, look, pipeline, stages)
    users = people.of_team(session, viewer().team_id)
    return render_template(
        "board.html",
        pipeline=pipeline,
        columns=columns,
        stages=every,
        total=_sum([one.head for one in columns]),
        stage_choices=[(stage.key, stage.name) for stage in every],
        users=users,
        tags=sorted({*cards.known_tags(session, pipeline.id, look.fields), *look.chosen.tags}),
        **_filter(look, users, every),
        **_tabs(pipeline, look),
    )


def _filter(look: Look, users: Sequence[User], stages: Sequence[Stage]) -> dict[str, Any]:
    chosen = look.chosen
    # What the buttons beside them show and take off needs no chip.
    pressed = {("Owner", ME), ("Answer", OWES[US]), ("Sleeping", "")}
    return {
        "chosen": chosen,
        "params": chosen.params(),
        "chips": [chip for chip in chosen.chips(users, stages) if (chip.name, chip.value) not in pressed],
        "periods": PERIODS,
        "owing": OWES,
        "look": look,
    }


def _tabs(pipeline: Pipeline, look: Look) -> dict[str, Any]:
    """The ways to look at the same boxes; the table's page is another room's, and is shown if it is there."""
    here = url_for("board.show", key=pipeline.key)
    there = f"{here}/table"
    query = request.query_string.decode("ascii", "replace") if look.chosen else ""
    return {"table_address": (there + (f"?{query}" if query else "")) if _answers(there) else ""}


def _answers(path: str) -> bool:
    try:
        current_app.url_map.bind("").match(path, method="GET")
    except (HTTPException, RequestRedirect):
        return False
    return True


def _sum(heads: Sequence[Head]) -> Head:
    total = Head(sum(one.count for one in heads), more=any(one.more for one in heads))
    for one in heads:
        for currency, amount in one.amounts.items():
            total.amounts[currency] = total.amounts.get(currency, 0) + amount
    return total


@bp.get("/p/<key>")
def show(key: str) -> Page:
    """The board. An address with empty parameters, as a form makes it, leads to the one without."""
    chosen = BoxFilter.parse(request.args)
    tidy = url_for("board.show", key=key, **chosen.params())
    if request.headers.get("HX-Request"):
        return Response(page(key), headers={"HX-Push-Url": tidy})
    if "" in request.args.values() and not chosen.problems:
        return redirect(tidy)
    return page(key)


@bp.get("/p/<key>/stages/<at>")
def column(key: str, at: str) -> Page:
    """One stage's cards from a cursor on: a page of its own, or for htmx the next cards.

    With `?shown=` (for htmx) the whole column again, with as many cards as were there.
    """
    pipeline = found(key)
    there = pipelines.stage_by_key(db(), viewer().team_id, at)
    if there is None or there.pipeline_id != pipeline.id:
        abort(404)
    look, script = _look(pipeline), bool(request.headers.get("HX-Request"))
    shown = request.args.get("shown", type=int) if script else None
    limit = cards.PAGE if shown is None else min(max(shown, cards.PAGE), cards.MOST)
    after = None if shown is not None else cursor.parse(request.args.get("after"))
    template = "column.html" if not script else "_cards.html" if shown is None else "_column.html"
    return render_template(
        template,
        pipeline=pipeline,
        column=cards.column(db(), look, there, after, limit),
        look=look,
        params=look.chosen.params(),
    )


@bp.post("/p/<key>/boxes")
@or_show(page)
def new_box(key: str) -> Page:
    """A new box, with a contact if an address is given; their mail is filed at once."""
    lock_team(db(), viewer().team_id)
    pipeline, address = workable(key), text("address", 500)
    stage = _stage(pipeline, text("stage")) if text("stage") else None
    if text("stage") and stage is None:
        raise Refused({"new-box": "That stage is gone; choose another"})
    addresses = parse_addresses([address]) if address else ()
    if address and not addresses:
        raise Refused({"new-box": "Expected the contact's address, such as anna@example.com, or none"})
    made = [contacts.ensure(db(), viewer(), one) for one in addresses]
    name = text("name") or (made[0].name if made else "")
    box = boxes.create(db(), viewer(), pipeline, name, stage=stage, contacts=made, now=now())
    autobox.consider_box(db(), box, now())
    return done(f"{box.name} is in {pipeline.name}", "box.show", key=box.key)


@bp.post("/p/<key>/move")
def move(key: str) -> Page:
    """Move a card, for our script: where it is now, with a token to take it back.

    `version` is the box's as the person saw it. If a teammate moved it meanwhile, 409 says where it is.
    """
    pipeline, version = found(key), number("version")
    box, stage = _box(pipeline, text("box", 100)), _stage(pipeline, text("stage", 100))
    if stage is None:
        return _refused("That stage is gone; load the page again", 422)
    if box is None:
        return _refused("A teammate put this box away meanwhile", 410)
    if version != box.version and stage.id != box.stage_id:
        return _conflict(box)
    before, entered = box.stage, box.stage_entered_at
    try:
        boxes.move(db(), viewer(), box, stage, now=now())
    except BoxConflict:
        return _faster(pipeline, box.key)
    token = _undoing().dumps([box.key, before.key, entered.isoformat(), box.version, frame.user().key])
    return _moved(pipeline, box, before, undo=token if before.id != stage.id else "")


@bp.post("/p/<key>/undo")
def undo(key: str) -> Page:
    """Take a move back: the box is where it was, and has been there as long as before."""
    pipeline = found(key)
    try:
        told = _undoing().loads(text("token", 1000), max_age=UNDO_SECONDS)
    except BadSignature:
        return _refused("It is too late to take this back; move it by hand", 422)
    box_key, stage_key, entered, version, user_key = told
    box, stage = _box(pipeline, box_key), _stage(pipeline, stage_key)
    if user_key != frame.user().key or stage is None:
        return _refused("This can't be taken back; move it by hand", 422)
    if box is None:
        return _refused("A teammate put this box away meanwhile", 410)
    if box.version != version:
        return _conflict(box)
    before = box.stage
    try:
        boxes.move(db(), viewer(), box, stage, now=now(), why="because the move was taken back")
    except BoxConflict:
        return _faster(pipeline, box_key)
    box.stage_entered_at = datetime.fromisoformat(entered)
    db().flush()
    return _moved(pipeline, box, before, undo="")


def _undoing() -> URLSafeTimedSerializer:
    secret = current_app.secret_key
    assert secret is not None
    return URLSafeTimedSerializer(secret, salt="board.undo")


def _box(pipeline: Pipeline, key: str) -> Box | None:
    """The pipeline's box, if it is on the board."""
    query = select(Box).where(Box.pipeline_id == pipeline.id, Box.key == key, boxes.is_listed())
    return db().scalar(query.options(joinedload(Box.stage)))


def _stage(pipeline: Pipeline, key: str) -> Stage | None:
    found_stage = pipelines.stage_by_key(db(), pipeline.team_id, key)
    return found_stage if found_stage is not None and found_stage.pipeline_id == pipeline.id else None


def _moved(pipeline: Pipeline, box: Box, before: Stage, *, undo: str) -> Page:
    look = _look(pipeline)
    heads = cards.heads(db(), look, pipeline.id, [before, box.stage])
    told = {stage.key: _head(heads[stage.id]) for stage in (before, box.stage)}
    return jsonify(version=box.version, stage=box.stage.key, name=box.stage.name, undo=undo, heads=told)


def _head(head: Head) -> Mapping[str, str]:
    return {
        "count": told_count(head),
        "worth": worth.together(head.amounts),
        "exactly": worth.exactly(head.amounts),
    }


def _faster(pipeline: Pipeline, key: str) -> Page:
    """Somebody moved the box between our look and our move."""
    db().rollback()
    box = _box(pipeline, key)
    return _conflict(box) if box else _refused("A teammate put this box away meanwhile", 410)


def _conflict(box: Box) -> Page:
    query = (
        select(User.name)
        .join(Event, Event.user_id == User.id)
        .where(Event.box_id == box.id, Event.kind == "box.moved")
        .order_by(Event.id.desc())
        .limit(1)
    )
    who = db().scalar(query) or "Tracker"
    words = f"{who} moved {box.name} to {box.stage.name} meanwhile: it is there now"
    return _answer(409, error=words, version=box.version, stage=box.stage.key, name=box.stage.name)


def _refused(words: str, status: int) -> Page:
    return _answer(status, error=words, gone=status == 410)


def _answer(status: int, **told: Any) -> Page:
    made = jsonify(**told)
    made.status_code = status
    return made


@bp.app_template_filter("told_count")
def told_count(head: Head) -> str:
    """A column's count: `1,250`, or `5,000+` where there are more than were counted."""
    return f"{head.count:,}{'+' if head.more else ''}"


@bp.app_template_filter("ago")
def ago(at: datetime) -> str:
    """How long ago, in a few characters: `now`, `5 h`, `3 d`, `4 mo`, `2 y`."""
    passed = max(now() - at, timedelta())
    if passed < timedelta(hours=1):
        return f"{passed.seconds // 60} min" if passed >= timedelta(minutes=1) else "now"
    if passed < timedelta(days=1):
        return f"{passed.seconds // 3600} h"
    if passed.days < 100:
        return f"{passed.days} d"
    return f"{passed.days // 30} mo" if passed.days < 730 else f"{passed.days // 365} y"


bp.add_app_template_filter(worth.worth, "worth")
bp.add_app_template_filter(worth.together, "worth_together")
bp.add_app_template_filter(worth.exactly, "worth_exactly")
