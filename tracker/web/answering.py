"""Asking the owner of a mail to answer it, beside the mail."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, render_template, request

from tracker import answering, sharing
from tracker.answering import AnswerError
from tracker.conversations import Conversation
from tracker.messages import Message
from tracker.people import User
from tracker.web import conversation, mails
from tracker.web.forms import text
from tracker.web.frame import Page, db, local_path, now, viewer

bp = Blueprint("answering", __name__)


@bp.post("/m/<key>/answer")
def ask(key: str) -> Page:
    """Ask its owner; 404 for what the viewer may not read, or of which they can't be asked."""
    message = mails.message(db(), viewer(), key[:100].replace("\x00", "")) or abort(404)
    try:
        owner = answering.ask(db(), viewer(), message, text("text"), now()) or abort(404)
    except AnswerError as error:
        return _refused(message, str(error))
    if request.headers.get("HX-Request"):
        return _fragment(message, None)
    flash(f"Asked. It is among {owner.name}’s tasks now", "done")
    return redirect(local_path(text("_next")), 303)


def _refused(message: Message, words: str) -> Page:
    """Its form again, with what was typed."""
    reasons = sharing.why(db(), viewer(), [message.id])
    owner = answering.offers(db(), viewer(), [message], reasons).get(message.id)
    db().rollback()
    g.refusals = {f"answer-{message.key}": words}
    if request.headers.get("HX-Request"):  # with 200: htmx shows no other answer
        return _fragment(message, owner)
    return conversation.page(db().get_one(Conversation, message.conversation_id).key), 422


def _fragment(message: Message, owner: User | None) -> str:
    asked = answering.asked(db(), viewer(), [message.id]).get(message.id)
    return render_template("_answering.html", asked=asked, owner=owner.name if owner else "", key=message.key)
