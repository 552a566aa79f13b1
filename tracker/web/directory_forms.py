"""What the pages of contacts and organizations share: what their forms hold, and answers."""

from __future__ import annotations

from typing import Any

from flask import abort, jsonify, request

from tracker.people import Role
from tracker.web.forms import done, text, wants_json
from tracker.web.frame import Page, viewer


def given(*names: str) -> dict[str, str]:
    """Those of these columns that the form holds: a form changes what it shows and nothing else."""
    return {name: text(name) for name in names if name in request.form}


def saved(words: str, endpoint: str, anchor: str | None = None, **arguments: Any) -> Page:
    """The answer to a change: to our script that it is done, to a form the page that comes next."""
    if wants_json():
        return jsonify(saved=True)
    return done(words, endpoint, anchor, **arguments)


def members_only() -> None:
    """Guests look; they don't merge or remove."""
    if viewer().role == Role.GUEST:
        abort(403)


def is_fragment() -> bool:
    """Whether htmx asks for a part of the page (and not for its history)."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
