"""Where a person is signed in, and ending it."""

from __future__ import annotations

from flask import Blueprint, abort, render_template

from tracker import sessions
from tracker.web import frame
from tracker.web.forms import done
from tracker.web.frame import Page, db, now, user, viewer

bp = Blueprint("sign_ins", __name__)


@bp.get("/me/sessions")
def show() -> Page:
    """The page."""
    found = sessions.of_user(db(), user().id, now())
    return render_template("sign_ins.html", sessions=found, here=frame.sign_in_now())


@bp.post("/me/sessions/<key>/end")
def end(key: str) -> Page:
    """End one: that browser asks to sign in when it asks next."""
    if key == frame.sign_in_now().key:
        frame.sign_out()
        return done("", frame.frame().sign_in_endpoint or "sign_ins.show")
    if not sessions.end(db(), viewer(), key[:100], now()):
        abort(404)
    return done("That session is ended", "sign_ins.show")


@bp.post("/me/sessions/end-others")
def end_others() -> Page:
    """End all but this one."""
    number = sessions.end_all(db(), viewer(), user(), now(), but=frame.sign_in_now())
    return done(f"{number} other session{'s' * (number != 1)} ended", "sign_ins.show")
