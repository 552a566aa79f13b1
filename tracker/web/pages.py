"""The tracker's own pages, put together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, Flask, Response, g, redirect, request, url_for
from sqlalchemy import text

from tracker.web import (
    access,
    answering,
    api_keys,
    board,
    box,
    box_activities,
    box_life,
    box_links,
    box_merge,
    box_tasks,
    components,
    contacts,
    conversation,
    duplicates,
    errors,
    filters,
    followups,
    forms,
    frame,
    imports,
    inbox,
    live,
    me,
    message,
    organizations,
    pipeline_fields,
    pipeline_rules,
    pipeline_settings,
    pipeline_stages,
    search,
    security,
    sharing,
    sharing_log,
    sharing_requests,
    sharing_settings,
    sign_ins,
    table,
    table_views,
    team,
    undo,
    withheld,
)
from tracker.web.frame import Frame, NavItem, Page

bp = Blueprint("pages", __name__)
BLUEPRINTS = (
    bp, inbox.bp, board.bp, box.bp, conversation.bp, message.bp, pipeline_settings.bp, contacts.bp,
    components.bp, live.bp, me.bp, undo.bp, followups.bp, search.bp,
    box_tasks.bp, box_activities.bp, box_links.bp, box_life.bp, box_merge.bp,
    pipeline_stages.bp, pipeline_fields.bp, pipeline_rules.bp, organizations.bp, duplicates.bp,
    table.bp, table_views.bp, imports.bp, team.bp, sign_ins.bp, api_keys.bp,
    access.bp, answering.bp,
    sharing.bp, sharing_settings.bp, sharing_requests.bp, sharing_log.bp,
)  # fmt: skip
MEGABYTE = 1_000_000


@bp.get("/")
def front() -> Page:
    """Where the day begins."""
    return redirect(url_for("followups.show" if followups.anything_due() else "inbox.show"))


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


def _versions(app: Flask) -> Callable[[str, dict[str, object]], None]:
    """Static files carry a mark of their content in the address: browsers keep them until it changes."""
    marks: dict[str, str] = {}

    def mark(endpoint: str, values: dict[str, object]) -> None:
        name = str(values.get("filename", ""))
        if endpoint != "static" or "v" in values or app.static_folder is None:
            return
        if name not in marks or app.debug:
            path = Path(app.static_folder, name)
            marks[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""
        values["v"] = marks[name]

    return mark


def init_app(app: Flask, made: Frame) -> None:
    """Put the frame, its guards and the tracker's pages into an application."""
    app.config["MAX_CONTENT_LENGTH"] = 2 * MEGABYTE
    app.config.setdefault("WTF_CSRF_TIME_LIMIT", None)  # as long as the session: a page may stay open for a day
    frame.init_app(app, made)
    security.init_app(app)
    errors.init_app(app)
    filters.init_app(app)
    app.context_processor(_in_templates)
    app.url_defaults(_versions(app))
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    withheld.init_app(app)
    frame.register_person_page(app, NavItem("Sharing", "sharing_settings.show", "share"))
    frame.register_nav(app, NavItem("Follow-ups", "followups.show", "followups", order=5, key="g f"))
    frame.register_nav(app, NavItem("Inbox", "inbox.show", "inbox", order=10, key="g i"))
    frame.register_nav(app, NavItem("Contacts", "contact.index", "people", order=30, key="g c"))
    frame.register_nav(app, NavItem("Team", "team.show", "person", order=95, key="g m"))
    frame.register_person_page(app, NavItem("Sessions", "sign_ins.show", "lock"))
    frame.register_person_page(app, NavItem("API keys", "api_keys.show", "link"))
    frame.register_nav(app, NavItem("Organizations", "organizations.index", "building", order=31, key="g o"))
