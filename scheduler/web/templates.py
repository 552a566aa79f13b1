"""Templates of mails: a page to add, change and delete them, and one for the form to take them from."""

from __future__ import annotations

from flask import Blueprint, abort, jsonify, redirect, render_template, url_for

from scheduler import letters, placeholders, sheet, snippets
from scheduler.snippets import MailTemplate
from scheduler.web.base import told
from tracker.web import notices
from tracker.web.forms import done, or_show, text
from tracker.web.frame import Page, db, now, user, viewer

bp = Blueprint("mail_templates", __name__, template_folder="templates")
EXAMPLE = "Anna Berg"


@bp.get("/templates")
def index() -> Page:
    """All that the viewer may use, and a form for a new one."""
    return _page()


def _page(key: str = "", **_: str) -> str:
    chosen = _found(key) if key else None
    templates = snippets.of_team(db(), viewer())
    return render_template(
        "scheduler/templates.html", templates=templates, chosen=chosen, known=placeholders.KNOWN,
        fields=snippets.field_names(db(), viewer().team_id),
        may=chosen is None or snippets.may_change(viewer(), chosen),
        body=sheet.body, unstyled=sheet.unstyled, example=_example(chosen) if chosen else None,
    )  # fmt: skip


def _example(template: MailTemplate) -> placeholders.Filled:
    """How it reads for somebody of whom only the name is known."""
    someone = letters.address(EXAMPLE, "anna.berg@example.com")
    values = snippets.values(db(), user(), [someone], None)[someone.normalized]
    return placeholders.fill(template.subject, template.html, values)


def _found(key: str) -> MailTemplate:
    return snippets.by_key(db(), viewer(), key[:100].replace("\x00", "")) or abort(404)


@bp.get("/templates/<key>")
def show(key: str) -> Page:
    """One of them, to be changed."""
    return _page(key)


@bp.get("/templates/<key>/text")
def content(key: str) -> Page:
    """Its subject and text, for the form's script (JSON)."""
    template = _found(key)
    return jsonify(subject=template.subject, html=sheet.unstyled(template.html))


@bp.post("/templates")
@or_show(_page)
@told()
def add() -> Page:
    """A new one."""
    made = snippets.add(db(), viewer(), text("name"), text("subject"), sheet.body(), shared=text("shared") == "1")
    return done(f"{made.name} is there", "mail_templates.index")


@bp.post("/templates/<key>")
@or_show(_page)
@told()
def change(key: str) -> Page:
    """Change one."""
    snippets.change(
        db(), viewer(), _found(key), now(), name=text("name"), subject=text("subject"), html=sheet.body(),
        shared=text("shared") == "1",
    )  # fmt: skip
    return done("Saved", "mail_templates.show", key=key)


@bp.post("/templates/<key>/delete")
@or_show(_page)
@told("name")
def delete(key: str) -> Page:
    """Delete one; the notice brings it back."""
    template = _found(key)
    kept = {"name": template.name, "subject": template.subject, "body": template.html, "rich": "1",
            "shared": "1" if template.shared else ""}  # fmt: skip
    snippets.delete(db(), viewer(), template)
    if sum(len(one) for one in kept.values()) < 1_500:  # as much as the cookie takes
        notices.undoable(f"{template.name} is deleted", "mail_templates.add", kept)
        return redirect(url_for("mail_templates.index"), 303)
    return done(f"{template.name} is deleted", "mail_templates.index")
