"""All components on one page: for those who build pages, and for the tests that look at them."""

from __future__ import annotations

from types import SimpleNamespace

from flask import Blueprint, abort, render_template, request

from tracker.web import forms, notices
from tracker.web.forms import Refused
from tracker.web.frame import Page

bp = Blueprint("components", __name__, url_prefix="/components")

STAGES = (("Prospect", "#64748b"), ("Lead", "#2563eb"), ("Proposal", "#d97706"), ("Won", "#15803d"))
PEOPLE = ("Alice Archer", "Bob Baker", "Dana Okafor", "Elif Yılmaz", "Gina Grün", "周 明")
LINES = 3


@bp.get("")
def show() -> Page:
    """Every component, as it is and in its states."""
    stages = [SimpleNamespace(name=name, color=color) for name, color in STAGES]
    line = request.args.get("line", 1, type=int)
    template = "_components_lines.html" if request.headers.get("HX-Request") else "components.html"
    return render_template(template, stages=stages, names=PEOPLE, line=line, lines=LINES, states=_states())


@bp.post("")
@forms.or_show(lambda: show())
def change() -> Page:
    """Take what the page's forms send; nothing is kept. An empty name is refused."""
    if request.form.get("_place") == "demo" and not forms.text("name"):
        raise Refused({"demo": "A name is needed"})
    words = forms.text("name", 80)
    if not request.form.get("undone"):
        notices.undoable(f"Saved {words}".strip(), "components.show", {"undone": "1"})
        return forms.done("", "components.show")
    return forms.done("Taken back", "components.show")


@bp.get("/broken")
def broken() -> Page:
    """The page for something that is not there."""
    abort(404)


def _states() -> list[tuple[str, str]]:
    return [
        ("Default", ""),
        ("Primary", "primary"),
        ("Plain", "plain"),
        ("Faint", "plain faint"),
        ("Danger", "danger"),
    ]
