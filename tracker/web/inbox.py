"""The inbox: the viewer's conversations, unfiled ones first, to be tagged into boxes, several at once."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, render_template, request
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from tracker import autobox, boxes, filing
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import lock_team
from tracker.web import cursor, frame, rows
from tracker.web.filters import count
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("inbox", __name__)
CHOICES = 12
AT_ONCE = rows.PAGE


def page() -> str:
    """The list."""
    every = request.args.get("show") == "all"
    found, more = rows.inbox(db(), viewer(), unfiled=not every, after=cursor.parse(request.args.get("after")))
    matches = _matches(text("box", 200)) if request.method == "POST" and text("box") else []
    return render_template(
        "inbox.html",
        rows=found,
        more=more,
        every=every,
        ticked=set(request.form.getlist("conversation")),
        choices=matches or _matches(""),
        matches=matches,
    )


@bp.get("/inbox")
def show() -> Page:
    """The list; with `?show=all` filed conversations too."""
    return page()


@bp.get("/inbox/choices")
def choices() -> Page:
    """Boxes whose name holds what is being typed, as options of a datalist."""
    return render_template("_choices.html", choices=_matches(request.args.get("box", "")[:200]))


def _matches(typed: str) -> Sequence[Box]:
    found = boxes.named_like(db(), viewer().team_id, typed.strip().replace("\x00", ""), limit=CHOICES)
    ids = [box.id for box in found]
    query = select(Box).where(Box.id.in_(ids)).options(joinedload(Box.stage), joinedload(Box.pipeline))
    loaded = {box.id: box for box in db().scalars(query)} if ids else {}
    return [loaded[id_] for id_ in ids]


@bp.post("/inbox/tag")
@or_show(page)
def tag() -> Page:
    """Put the ticked conversations into a box that there is, or into a new one of a pipeline."""
    lock_team(db(), viewer().team_id)
    ticked = _ticked()
    box = _new_box(ticked[0]) if text("into") == "new" else _chosen_box()
    for conversation in ticked:
        filing.file(db(), viewer(), conversation, box)
    show = request.args.get("show")
    return done(f"{count(len(ticked), 'conversation')} in {box.name}", "inbox.show", show=show)


def _ticked() -> list[Conversation]:
    keys = request.form.getlist("conversation")[:AT_ONCE]
    found = [rows.readable(db(), viewer(), key.replace("\x00", "")) for key in keys]
    ticked = [conversation for conversation in found if conversation is not None]
    if not ticked:
        raise Refused({"tag": "Tick at least one conversation first"})
    return ticked


def _new_box(conversation: Conversation) -> Box:
    pipeline = next((one for one in frame.nav_pipelines() if one.key == text("pipeline")), None)
    if pipeline is None:
        raise Refused({"tag": "Choose the pipeline for the new box"})
    return autobox.new_box(db(), viewer(), pipeline, conversation, name=text("box", 200), now=now())


def _chosen_box() -> Box:
    """The box that was picked from the matches, else the one whose name was typed."""
    if text("chosen"):
        box = boxes.by_key(db(), viewer().team_id, text("chosen"))
        if box is None or box.archived_at is not None or box.deleted_at is not None:
            raise Refused({"tag": "That box is gone; choose another"})
        return box
    if not text("box"):
        raise Refused({"tag": "Type a box’s name first"})
    named = func.lower(Box.name) == " ".join(text("box", 200).split()).lower()
    query = select(Box).where(Box.team_id == viewer().team_id, boxes.is_listed(), named).limit(2)
    found = db().scalars(query).all()
    if len(found) == 1:
        return found[0]
    if not found and not _matches(text("box", 200)):
        raise Refused({"tag": "No box is called so; make a new one, or type a part of the name"})
    raise Refused({"tag": "Which of these do you mean?"})
