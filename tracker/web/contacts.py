"""The contacts: listed, searched, added by hand; and where they are, for whoever is in town."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import render_template, request, url_for

from tracker import contacts, directory, organizations
from tracker.db import lock_team
from tracker.directory import Search
from tracker.web.contact import bp as bp
from tracker.web.contact import open_tasks
from tracker.web.directory_forms import is_fragment
from tracker.web.forms import done, or_show, text
from tracker.web.frame import Page, db, viewer


def _argument(name: str) -> str:
    return request.args.get(name, "").replace("\x00", "").strip()[:200]


def _search() -> Search:
    has_box = _argument("has_box")
    return Search(
        text=_argument("text"),
        organization=_argument("organization"),
        place=_argument("place"),
        place_key=_argument("at"),
        has_box=has_box if has_box in ("open", "none") else "",
        sort=directory.BY_MAIL if _argument("sort") == directory.BY_MAIL else directory.BY_NAME,
    )


def address(search: Search, **changes: str) -> str:
    """The address of the list with these filters; what is empty is left out."""
    wanted = {**asdict(search), "at": search.place_key, **changes, "place_key": "", "organization_id": ""}
    if wanted["sort"] == directory.BY_NAME:
        wanted["sort"] = ""
    given: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    return url_for("contact.index", **given)


def page(**_: str) -> str:
    """The list, or, for htmx, a page of its rows."""
    search = _search()
    entries, more = directory.contacts(db(), viewer().team_id, search, _argument("after"))
    template = "_contact_rows.html" if is_fragment() else "contacts.html"
    return render_template(
        template,
        entries=entries,
        search=search,
        more=address(search, after=more) if more else "",
        address=address,
        is_first=not _argument("after"),
    )


@bp.get("/contacts")
def index() -> Page:
    """The list."""
    return page()


@bp.post("/contacts")
@or_show(page)
def add() -> Page:
    """A contact typed in by hand."""
    lock_team(db(), viewer().team_id)
    named = text("organization", organizations.NAME_LIMIT)
    where = organizations.named(db(), viewer().team_id, named) if named else None
    made = contacts.add(db(), viewer(), text("name", 300), text("address", 500), where)
    return done(f"{made.name} is a contact now", "contact.show", key=made.key)


@bp.get("/contacts/places")
def places() -> Page:
    """Where the contacts are; with `at`, who is there."""
    at, filtered = _argument("at"), _argument("text")
    found, more = directory.places(db(), viewer().team_id, filtered, _argument("after"))
    if is_fragment() and not at:
        return render_template("_place_rows.html", places=found, more=more, text=filtered, at=at)
    search = Search(place_key=at, sort=directory.BY_MAIL)
    entries, further = directory.contacts(db(), viewer().team_id, search) if at else ([], "")
    boxes = [box.id for entry in entries for box in entry.boxes]
    return render_template(
        "places.html",
        places=found,
        more=more,
        text=filtered,
        at=at,
        here_name=next((place.name for place in found if place.key == at), at.title()),
        entries=entries,
        further=address(search, after=further) if further else "",
        all_here=address(search),
        tasks=_tasks_by_box(boxes),
    )


def _tasks_by_box(box_ids: list[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for task in open_tasks(db(), box_ids):
        if task.box_id is not None:
            found.setdefault(task.box_id, []).append(task.title)
    return found
