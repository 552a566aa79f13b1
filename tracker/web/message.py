"""One message: its HTML, in a frame of its own that can do nothing; and the way to it in its conversation."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, abort, redirect, request, url_for

from tracker import html_mail, reading_log
from tracker.conversations import Conversation
from tracker.web import frame, mails, security
from tracker.web.cursor import Cursor
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("message", __name__)


@bp.get("/m/<key>")
def go(key: str) -> Page:
    """To the message, in its conversation from there on."""
    message = mails.message(db(), viewer(), key) or abort(404)
    conversation = db().get_one(Conversation, message.conversation_id)
    behind = Cursor(message.sent_at + timedelta(microseconds=1), "")
    return redirect(url_for("conversation.show", key=conversation.key, after=behind, _anchor=f"m-{key}"))


@bp.get("/m/<key>/frame")
def show(key: str) -> Page:
    """The sanitised mail, without images from elsewhere unless `?images=1`."""
    message = mails.message(db(), viewer(), key)
    if message is None or not message.html:
        abort(404)
    reading_log.opened(db(), viewer(), [message.id], now())
    remote_images = request.args.get("images") == "1"
    addresses = frame.frame().mail_addresses
    body = html_mail.sanitize(
        message.html, remote_images=remote_images, addresses=addresses(message.html) if addresses else None
    )
    security.as_mail(remote_images=remote_images)
    return html_mail.document(body, remote_images=remote_images)
