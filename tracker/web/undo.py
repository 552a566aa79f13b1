"""Undo: what an action did goes back to the page as a signed ticket, and comes here to be taken back.

The ticket says what was there before; nothing is kept on the server. It is good for its user and for an hour,
and takes back only what is still as the action left it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Blueprint, abort, current_app, flash, jsonify, redirect, render_template, request
from itsdangerous import BadData, URLSafeTimedSerializer

from tracker import boxes, fields, pipelines, refiling, snoozes, tasks
from tracker.boxes import BoxConflict, BoxError
from tracker.db import lock_team
from tracker.filing import FilingError
from tracker.snoozes import Snooze
from tracker.web.forms import Refused, or_show, text, wants_json
from tracker.web.frame import Page, db, local_path, now, user, viewer
from tracker.web.notices import undoable

bp = Blueprint("undo", __name__)
HOUR = 3600  # seconds
KEPT = 1800  # characters of a ticket that the cookie takes, for pages without scripts


@dataclass(slots=True)
class Ticket:
    """What to make as it was."""

    filings: list[refiling.Change] = field(default_factory=list)
    conversations: snoozes.Before = field(default_factory=list)
    boxes: snoozes.Before = field(default_factory=list)
    made: list[str] = field(default_factory=list)  #: keys of boxes that were made
    done: list[str] = field(default_factory=list)  #: keys of tasks that were completed
    due: list[tuple[str, str | None, str | None]] = field(default_factory=list)  #: task, due before, due after
    values: list[tuple[str, str, Any]] = field(default_factory=list)  #: box, field, value before it was emptied
    moved: list[tuple[str, str, int]] = field(default_factory=list)  #: box, stage before, version after


def _sealer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.secret_key), salt="undo")


def _plain(before: snoozes.Before) -> list[list[Any]]:
    return [[id_, *(at.isoformat() if at else None for at in times)] for id_, *times in before]


def _dated(before: list[list[Any]]) -> snoozes.Before:
    return [
        (id_, datetime.fromisoformat(until) if until else None, datetime.fromisoformat(since) if since else None)
        for id_, until, since in before
    ]


def seal(ticket: Ticket) -> str:
    """A ticket for the page."""
    told: dict[str, Any] = {
        "filings": ticket.filings,
        "conversations": _plain(ticket.conversations),
        "boxes": _plain(ticket.boxes),
        "made": ticket.made,
        "done": ticket.done,
        "due": ticket.due,
        "values": ticket.values,
        "moved": ticket.moved,
    }
    return str(_sealer().dumps({"user": user().id, **{name: one for name, one in told.items() if one}}))


def answer(words: str, ticket: Ticket, where: str, **told: Any) -> Page:
    """Say what was done, with its undo: to a script as JSON, else on the page that comes next."""
    db().flush()
    sealed = seal(ticket)
    if wants_json():
        return jsonify(words=words, undo=sealed, **told)
    if len(sealed) <= KEPT:
        undoable(words, "undo.take_back", {"ticket": sealed, "_next": where})
    else:
        flash(words, "done")
    return redirect(where, 303)


def refused(**_: str) -> str:
    """What can't be taken back, and the way on."""
    return render_template("refused.html", back=local_path(text("_next")))


@bp.post("/undo")
@or_show(refused)
def take_back() -> Page:
    """Take an action back."""
    try:
        told = _sealer().loads(request.form.get("ticket", ""), max_age=HOUR)
    except BadData:
        raise Refused({"": "This is too long ago to be undone here"}) from None
    if told.get("user") != user().id:
        abort(404)
    lock_team(db(), viewer().team_id)
    _snoozes(told)
    refiling.take_back(db(), viewer(), told.get("filings", []))
    _unmake(told)
    _work(told)
    if wants_json():
        return jsonify(words="Undone")
    flash("Undone", "done")
    return redirect(local_path(text("_next")), 303)


def _snoozes(told: Mapping[str, Any]) -> None:
    for name, what in (("conversations", Snooze.conversation_id), ("boxes", Snooze.box_id)):
        if told.get(name):
            snoozes.restore(db(), viewer(), what, _dated(told[name]))


def _unmake(told: Mapping[str, Any]) -> None:
    """A box that was made by the action goes again, unless somebody has put more into it meanwhile."""
    conversations = {change[0] for change in told.get("filings", [])}
    for key in told.get("made", []):
        box = boxes.by_key(db(), viewer().team_id, key)
        if box is None or box.deleted_at is not None:
            continue
        if not refiling.is_only_from(db(), viewer(), box, conversations):
            raise FilingError(f"{box.name} holds more by now; take it out by hand")
        refiling.empty(db(), viewer(), box)
        boxes.delete(db(), viewer(), box, now())


def _work(told: Mapping[str, Any]) -> None:
    team_id = viewer().team_id
    for key in told.get("done", []):
        tasks.reopen(db(), viewer(), tasks.by_key(db(), team_id, key) or abort(404))
    for key, before, after in told.get("due", []):
        task = tasks.by_key(db(), team_id, key) or abort(404)
        if task.due_on is None or task.due_on.isoformat() != after:
            raise BoxError("The task was changed since; nothing was taken back")
        tasks.change(db(), viewer(), task, due_on=datetime.fromisoformat(before).date() if before else None)
    for key, field_key, value in told.get("values", []):
        box = boxes.by_key(db(), team_id, key) or abort(404)
        emptied = fields.by_key(db(), team_id, field_key) or abort(404)
        if box.values.get(field_key) is not None:
            raise BoxError(f"{emptied.name} was set again since; nothing was taken back")
        boxes.set_value(db(), viewer(), box, emptied, value)
    for key, stage_key, version in told.get("moved", []):
        box = boxes.by_key(db(), team_id, key) or abort(404)
        stage = pipelines.stage_by_key(db(), team_id, stage_key) or abort(404)
        if box.version != version:
            raise BoxConflict("A teammate changed this box meanwhile; look again")
        boxes.move(db(), viewer(), box, stage, now=now(), why="because the last step was undone")
