"""A person's API keys: made, shown once, revoked."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from flask import Blueprint, abort, render_template, request

from tracker import api_keys, due
from tracker.api_keys import ApiKeyError, Scope
from tracker.people import Role
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, now, user, viewer

bp = Blueprint("api_keys", __name__)
PLACE = "api-key"
MEANT_FOR = timedelta(days=90)  #: what the form proposes
SCOPES = [
    (Scope.READ, "Read", "what you may see"),
    (Scope.WRITE, "Write", "change boxes, contacts, tasks and notes"),
    (Scope.SEND, "Send", "queue mail in your name"),
    (Scope.ADMIN, "Administer", "change the team and its settings"),
]


def page(shown: str = "") -> str:
    """The page; `shown` is a key just made."""
    typed = request.method == "POST" and not shown
    chosen = request.form.getlist("scope") if typed else [Scope.READ.value]
    offered = [one for one in SCOPES if one[0] != Scope.ADMIN or user().role == Role.ADMIN]
    return render_template(
        "api_keys.html", keys=api_keys.of_user(db(), user().id, now()), shown=shown, place=PLACE, scopes=offered,
        chosen=chosen, proposed=(_today() + MEANT_FOR).isoformat(),
        words={one.value: name for one, name, _ in SCOPES},
    )  # fmt: skip


def _today() -> date:
    return now().astimezone(due.zone(user().time_zone)).date()


@bp.get("/me/keys")
def show() -> Page:
    """The page."""
    return page()


@bp.post("/me/keys")
@or_show(page)
def make() -> Page:
    """Make one; the answer is the only time that it is shown."""
    scopes = {one for one, _, _ in SCOPES if one.value in request.form.getlist("scope")}
    try:
        _, shown = api_keys.make(db(), user(), text("name", 200), scopes, _expires(), now=now())
    except ApiKeyError as error:
        raise Refused({PLACE: str(error)}) from None
    return page(shown)


def _expires() -> datetime | None:
    """The end of the day that was chosen, where the person is."""
    given = text("expires", 20)
    if not given:
        return None
    try:
        day = date.fromisoformat(given)
        return datetime.combine(day, time.max, due.zone(user().time_zone))
    except (ValueError, OverflowError):
        raise Refused({PLACE: "Choose the day on which it ends, or leave it empty"}) from None


@bp.post("/me/keys/<key>/revoke")
def revoke(key: str) -> Page:
    """It opens nothing from now on."""
    found = api_keys.revoke(db(), viewer(), key[:100], now()) or abort(404)
    return done(f"{found.name} opens nothing any more", "api_keys.show")
