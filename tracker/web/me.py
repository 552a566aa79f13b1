"""A person's own page: their name, and their time zone, which is learnt once from the browser."""

from __future__ import annotations

from flask import Blueprint, jsonify, render_template

from tracker import profiles
from tracker.profiles import ProfileError
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, user, viewer

bp = Blueprint("me", __name__)


def page() -> str:
    """The page."""
    return render_template("me.html", zones=profiles.zones(), learnt=user().time_zone != profiles.UNKNOWN)


@bp.get("/me")
def show() -> Page:
    """The page."""
    return page()


@bp.post("/me")
@or_show(page)
def change() -> Page:
    """Change name and time zone."""
    try:
        profiles.change(db(), viewer(), user(), name=text("name", 200), time_zone=text("time_zone", 100))
    except ProfileError as error:
        raise Refused({"me": str(error)}) from None
    return done("Saved", "me.show")


@bp.post("/me/time-zone")
@or_show(page)
def learn_zone() -> Page:
    """The browser says where it is; what the person chose stays."""
    try:
        learnt = profiles.learn_time_zone(db(), viewer(), user(), text("time_zone", 100))
    except ProfileError as error:
        raise Refused({"me": str(error)}) from None
    return jsonify(learnt=learnt)
