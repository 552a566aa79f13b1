"""What the pages of contacts and organizations share: refusals of their nouns beside the form, and answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import abort, jsonify, request

from tracker.contacts import ContactError
from tracker.organizations import OrganizationError
from tracker.people import Role
from tracker.web import forms
from tracker.web.forms import Refused, done, text, wants_json
from tracker.web.frame import Page, viewer


def or_show(page: Callable[..., Page]) -> Callable[[Callable[..., Page]], Callable[..., Any]]:
    """As `forms.or_show`, for what `contacts` and `organizations` refuse too."""

    def decorate(view: Callable[..., Page]) -> Callable[..., Any]:
        @wraps(view)
        def told(**arguments: str) -> Page:
            try:
                return view(**arguments)
            except (ContactError, OrganizationError) as error:
                raise Refused({request.form.get("_place", ""): str(error)}) from error

        return forms.or_show(page)(told)

    return decorate


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
