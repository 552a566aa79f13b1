"""The tracker's own pages, put together."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, g, redirect, request, url_for
from sqlalchemy import text

from tracker.web import (
    board,
    box,
    contact,
    conversation,
    errors,
    filters,
    forms,
    frame,
    inbox,
    message,
    pipeline_settings,
    security,
)
from tracker.web.frame import Frame, NavItem, Page

bp = Blueprint("pages", __name__)
BLUEPRINTS = (bp, inbox.bp, board.bp, box.bp, conversation.bp, message.bp, pipeline_settings.bp, contact.bp)
MEGABYTE = 1_000_000


@bp.get("/")
def front() -> Page:
    """Where the day begins."""
    return redirect(url_for("inbox.show"))


@bp.get("/healthz")
@frame.public
def healthz() -> Page:
    """Whether we can do our work: the database answers. For machines; 503 if not."""
    frame.db().execute(text("SELECT 1"))
    return Response("ok\n", mimetype="text/plain")


@bp.get("/favicon.ico")
@frame.public
def favicon() -> Page:
    """For browsers that ask without looking at the page."""
    return redirect(url_for("static", filename="favicon.svg"), 301)


def _in_templates() -> dict[str, object]:
    return {
        "frame": frame.frame(),
        "me": frame.user_or_none,
        "nav_pipelines": frame.nav_pipelines,
        "has_mailbox": frame.has_mailbox,
        "refusal_at": forms.refusal_at,
        "typed": forms.typed,
        "here": request.full_path.rstrip("?") if request.method == "GET" else request.path,
        "now": frame.frame().now,
        "refusals": g.get("refusals", {}),
    }


def init_app(app: Flask, made: Frame) -> None:
    """Put the frame, its guards and the tracker's pages into an application."""
    app.config["MAX_CONTENT_LENGTH"] = 2 * MEGABYTE
    app.config.setdefault("WTF_CSRF_TIME_LIMIT", None)  # as long as the session: a page may stay open for a day
    frame.init_app(app, made)
    security.init_app(app)
    errors.init_app(app)
    filters.init_app(app)
    app.context_processor(_in_templates)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    frame.register_nav(app, NavItem("Inbox", "inbox.show", "inbox", order=10))
