"""The page behind `<url>/privacy/<token>`, where whoever got a mail says that they are not to be tracked.

Public, and without a form token: whoever holds the mail's own token may say so, from any page and without cookies
(RFC 8058, One-Click). What it does can't be turned against anybody: it makes us know less. Nothing is told to who
guesses: an unknown token is answered as most mails' are, and what was noted is never said.
"""

from __future__ import annotations

from flask import Blueprint, Flask, Response, current_app, make_response, render_template, request

from tracker.web.forms import text
from tracker.web.frame import Page, db, now, public
from webhooks import privacy
from webhooks.tracks import TrackedEmail

bp = Blueprint("privacy", __name__, template_folder="templates")
DAYS = "tracker_hits_days"


def _page(mail: TrackedEmail | None, done: str = "", typed: str = "") -> Response:
    picture, links = (mail.opens, mail.clicks) if mail is not None else (True, True)
    if not picture and not links:  # as it was before they said so
        picture = links = True
    several = mail is not None and len(mail.recipients) > 1
    html = render_template(
        "webhooks/opt_out.html",
        picture=picture, links=links, several=several, done=done, address=typed[:200],
        days=current_app.extensions[DAYS],
    )  # fmt: skip
    answer = make_response(html)
    answer.headers["X-Robots-Tag"] = "noindex, nofollow"
    return answer


@bp.get("/privacy/<token>")
@public
def show(token: str) -> Page:
    """What the mail tells its sender, and how to end that."""
    return _page(privacy.mail_of(db(), token))


@bp.post("/privacy/<token>")
@public
def ask(token: str) -> Page:
    """Note it; the answer is the same whether or not there was anything to note."""
    mail, typed = privacy.mail_of(db(), token), text("address", 500)
    if "again" in request.form:
        privacy.opt_in(db(), mail, typed)
        return _page(mail, "in", typed)
    privacy.opt_out(db(), mail, typed, now())
    return _page(mail, "out", typed)


def init_app(app: Flask, hits_days: int) -> Blueprint:
    """Add the page to an application; returns its blueprint (which wants no CSRF token)."""
    app.extensions[DAYS] = hits_days
    app.register_blueprint(bp)
    return bp
