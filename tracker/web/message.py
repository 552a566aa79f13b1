"""One message's HTML, in a frame of its own that can do nothing."""

from __future__ import annotations

from flask import Blueprint, abort, request

from tracker import html_mail
from tracker.web import security, timeline
from tracker.web.frame import Page, db, viewer

bp = Blueprint("message", __name__)


@bp.get("/m/<key>/frame")
def show(key: str) -> Page:
    """The sanitised mail, without images from elsewhere unless `?images=1`."""
    message = timeline.message(db(), viewer(), key)
    if message is None or not message.html:
        abort(404)
    remote_images = request.args.get("images") == "1"
    body = html_mail.sanitize(message.html, remote_images=remote_images)
    security.as_mail(remote_images=remote_images)
    return html_mail.document(body, remote_images=remote_images)
