"""A conversation: its messages, the boxes it is in with the reasons, and what the rules suggest."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request
from markupsafe import Markup

from tracker import autobox, filing, people, sharing
from tracker.conversations import Conversation
from tracker.db import lock_team
from tracker.filing import SUGGESTED, Filing, FilingError
from tracker.web import cursor, frame, mails, rows, withheld, words
from tracker.web.cursor import Cursor
from tracker.web.forms import done, or_show, text
from tracker.web.frame import Page, db, local_path, now, viewer

bp = Blueprint("conversation", __name__)


def found(key: str) -> Conversation:
    """The conversation, if the viewer may read something of it; or 404."""
    return rows.readable(db(), viewer(), key) or abort(404)


def page(key: str, **_: str) -> str:
    """The whole page: all that the viewer may read, and where something is withheld."""
    conversation = rows.readable(db(), viewer(), key)
    after = cursor.parse(request.args.get("after"))
    if conversation is None:
        return _withheld(key, after)
    found_mails, more = mails.of_conversation(db(), viewer(), conversation, after)
    hidden = sharing.withheld(db(), viewer(), conversation.id, before=after.at if after else None)
    entries = withheld.of_conversation(db(), viewer(), hidden, after, found_mails, more=more is not None)
    row = rows.rows(db(), viewer(), [conversation])[0]
    names = {user.id: user.name for user in people.of_team(db(), viewer().team_id, removed=True)}
    reasons = {decision.id: words.why(decision, names) for decision in row.filed}
    return render_template(
        "conversation.html", conversation=conversation, row=row, entries=entries, more=more, reasons=reasons,
        panels=_panels(conversation), hidden=len(hidden),
    )  # fmt: skip


def _withheld(key: str, after: Cursor | None) -> str:
    """A conversation of which the viewer knows, and may read nothing yet; or 404."""
    conversation = withheld.knows(db(), viewer(), key) or abort(404)
    hidden = sharing.withheld(db(), viewer(), conversation.id, before=after.at if after else None)
    entries = withheld.of_conversation(db(), viewer(), hidden, after, [], more=False)
    return render_template("sharing/conversation.html", entries=entries)


def _panels(conversation: Conversation) -> list[tuple[str, str]]:
    """The panels of other rooms."""
    made = [(one.title, one.render(viewer(), conversation)) for one in frame.frame().conversation_panels]
    return [(title, Markup(html)) for title, html in made if html is not None]  # noqa: S704 - a room's own


@bp.get("/c/<key>")
def show(key: str) -> Page:
    """The page."""
    return page(key)


def _suggestion(key: str) -> tuple[Filing, Conversation]:
    """A decision and its conversation; the team's lock is taken, so that no sync merges it away meanwhile."""
    lock_team(db(), viewer().team_id)
    decision = filing.by_key(db(), viewer().team_id, key) or abort(404)
    conversation = db().get(Conversation, decision.conversation_id)
    return decision, found(conversation.key if conversation else "")


def refused(**_: str) -> str:
    """Where a suggestion that is gone leads: why, and the way back."""
    return render_template("refused.html", back=local_path(text("_next")))


@bp.post("/filings/<key>/accept")
@or_show(refused)
def accept(key: str) -> Page:
    """Accept a suggestion: into the box, or into a new one."""
    decision, conversation = _suggestion(key)
    if decision.state != SUGGESTED:
        raise FilingError("This is no longer a suggestion; somebody has decided meanwhile")
    if decision.box is not None and (decision.box.deleted_at or decision.box.archived_at):
        raise FilingError(f"{decision.box.name} was put away meanwhile; choose another box")
    if decision.box is not None:
        filing.file(db(), viewer(), conversation, decision.box, f"{decision.reason}; you agreed")
        flash(f"Filed in {decision.box.name}", "done")
        return redirect(local_path(text("_next")), 303)
    box = autobox.new_box(db(), viewer(), decision.pipeline, conversation, now=now())
    flash(f"{box.name} is new in {decision.pipeline.name}", "done")
    return done("", "box.show", key=box.key)


@bp.post("/filings/<key>/dismiss")
@or_show(refused)
def dismiss(key: str) -> Page:
    """Decline a suggestion; it is not made again."""
    decision, _ = _suggestion(key)
    filing.dismiss(db(), viewer(), decision)
    flash("Declined; it is not suggested again", "done")
    return redirect(local_path(text("_next")), 303)
