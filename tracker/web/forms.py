"""Forms: what a wrong input leads to is the same page again, with the message beside the form.

Every form names its place on the page (`_place`); the page shows a refusal there, with what was typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from flask import abort, flash, g, jsonify, redirect, request, url_for

from tracker.access import AccessError
from tracker.boxes import BoxConflict, BoxError
from tracker.contacts import ContactError
from tracker.fields import FieldError
from tracker.filing import FilingError
from tracker.organizations import OrganizationError
from tracker.pipelines import PipelineError
from tracker.web.frame import Page, db

REFUSALS = (BoxError, PipelineError, FilingError, FieldError, ContactError, OrganizationError, AccessError)


class Refused(Exception):
    """Wrong input, with a message for each place of the page where something is wrong."""

    def __init__(self, messages: Mapping[str, str], status: int = 422) -> None:
        super().__init__("; ".join(messages.values()))
        self.messages, self.status = dict(messages), status


def or_show(page: Callable[..., Page]) -> Callable[[Callable[..., Page]], Callable[..., Any]]:
    """Decorate a POST: when a noun refuses, nothing is changed and `page` is shown with the reason."""

    def decorate(view: Callable[..., Page]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(**arguments: str) -> Any:
            try:
                return view(**arguments)
            except (*REFUSALS, Refused) as refused:
                db().rollback()
                status = refused.status if isinstance(refused, Refused) else _status(refused)
                if wants_json():
                    return jsonify(error=str(refused)), status
                place = request.form.get("_place", "")
                g.refusals = refused.messages if isinstance(refused, Refused) else {place: str(refused)}
                return page(**arguments), status

        return guarded

    return decorate


def _status(refused: Exception) -> int:
    return 409 if isinstance(refused, BoxConflict) else 422


def wants_json() -> bool:
    """Whether our own script asks, rather than a form."""
    return request.accept_mimetypes.best == "application/json"


def refusal_at(place: str) -> str:
    """The refusal to show at a place of the page, or nothing."""
    found: dict[str, str] = g.get("refusals", {})
    return found.get(place, "")


def typed(place: str, name: str, default: Any = "") -> Any:
    """What was typed into the refused form of this place, else what the page has there."""
    refused = g.get("refusals") and request.form.get("_place") == place
    return request.form.get(name, default) if refused else default


def text(name: str, limit: int = 10_000) -> str:
    """A text of the form, without the blanks around it. A missing one is empty; NUL is no text."""
    return request.form.get(name, "").replace("\x00", "").strip()[:limit]


def number(name: str) -> int:
    """A whole number of the form; anything else is a bad request."""
    try:
        return int(request.form.get(name, ""))
    except ValueError:
        abort(400)


def done(words: str, endpoint: str, anchor: str | None = None, **arguments: Any) -> Page:
    """Say what was done on the page that comes next."""
    if words:
        flash(words, "done")
    return redirect(url_for(endpoint, _anchor=anchor, **arguments), 303)
