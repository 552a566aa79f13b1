"""The web server with a page for the tests of live updates: the team's boxes, and something to type and tick."""

from __future__ import annotations

from flask import Blueprint, Flask, render_template_string
from sqlalchemy import select

from config.asgi import Front, create_front
from config.settings import load
from config.wsgi import Behind
from tracker.boxes import Box
from tracker.events import Event
from tracker.web.frame import db, user
from webhooks import live

bp = Blueprint("live_pages", __name__)

PAGE = """<!doctype html>
<html lang="en"><head><title>Live</title><meta name="csrf-token" content="{{ csrf_token() }}">
<meta name="htmx-config" content='{"includeIndicatorStyles":false,"allowEval":false,"historyCacheSize":0}'>
<link rel="stylesheet" href="/static/css/base.css"><link rel="stylesheet" href="/static/css/live.css">
<script src="/static/vendor/htmx.min.js" defer></script><script src="/static/live.js" defer></script>
</head><body><main>{{ list|safe }}</main></body></html>"""

LIST = """<section id="boxes" data-live="{{ topics }}" data-live-url="/live-pages/boxes" aria-label="Boxes">
<p>{{ count }} events</p><p><input type="text" aria-label="Note" name="note"></p>
<ul>{% for box in boxes %}<li data-row data-box="{{ box.key }}">
<input type="checkbox" name="box" value="{{ box.key }}" aria-label="Tick {{ box.name }}">
<a href="#{{ box.key }}">{{ box.name }}</a> {{ box.stage.name }}</li>{% endfor %}</ul>
<details><summary>More</summary><p>Much more</p></details></section>"""


def _list() -> str:
    boxes = db().scalars(select(Box).where(Box.team_id == user().team_id).order_by(Box.id)).all()
    count = len(db().scalars(select(Event.id).where(Event.team_id == user().team_id)).all())
    topics = " ".join(["tasks", *(f"box:{box.key}" for box in boxes)])
    return render_template_string(LIST, boxes=boxes, count=count, topics=topics)


@bp.get("/live-pages")
def page() -> str:
    """The page."""
    return render_template_string(PAGE, list=_list())


@bp.get("/live-pages/boxes")
def boxes() -> str:
    """Its list."""
    return _list()


def app() -> Front:
    """The server's application; its stream doesn't dawdle."""
    live.PACE = 0.02
    front = create_front(load())
    assert isinstance(front.rest, Behind)
    assert isinstance(front.rest.app, Flask)
    front.rest.app.register_blueprint(bp)
    return front
