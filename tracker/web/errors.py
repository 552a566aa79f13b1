"""Pages for what went wrong: what it was, and what to do."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, g, jsonify, render_template, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, SQLAlchemyError
from werkzeug.exceptions import HTTPException, InternalServerError

from tracker.web import forms, frame

log = logging.getLogger(__name__)

WORDS = {
    400: ("That did not make sense here", "The address or form is not as expected. Go back and try again."),
    403: ("Not yours to do", "Only an admin, or the owner, may do this. Ask them."),
    404: ("Nothing here", "It may have been removed, or it is not shared with you. Check the address."),
    405: ("Not this way", "This address can't be opened like that. Go back and use the page's own buttons."),
    409: ("Somebody was faster", "It changed since you opened the page. Load the page again and look."),
    413: ("Too much at once", "What was sent is larger than we take. Send less."),
    500: ("Something broke on our side", "Nothing was changed. Try again; if that fails too, tell your admin."),
    503: ("The database can't be reached", "Nothing was changed. Try again in a moment."),
}  # fmt: skip


def show(status: int, detail: str = "") -> tuple[str, int]:
    """The page for a status; inside the shell where somebody is signed in and the database answers."""
    title, remedy = WORDS.get(status, WORDS[400 if status < 500 else 500])
    template = "error.html" if _shell() else "error_plain.html"
    return render_template(template, status=status, title=title, remedy=detail or remedy), status


def _shell() -> bool:
    try:
        if "session" in g:
            g.session.rollback()
        if frame.user_or_none() is not None:
            frame.nav_pipelines()
            frame.has_mailbox()
            return True
    except SQLAlchemyError:
        g.user = None
    return False


def _http(error: HTTPException) -> Any:
    status = error.code or 500
    if status < 400:
        return error
    if forms.wants_json():
        return jsonify(error=WORDS.get(status, WORDS[500])[0]), status
    if request.headers.get("HX-Request"):
        return WORDS.get(status, WORDS[500])[0], status
    page, status = show(status)
    response = error.get_response()
    response.data, response.mimetype = page.encode(), "text/html"
    return response


def _forged(_: CSRFError) -> Any:
    if forms.wants_json():
        return jsonify(error="The page is too old; load it again"), 400
    return show(400, "The page was open for too long, or was opened elsewhere. Load it again and repeat.")


def _broken(error: Exception) -> Any:
    log.exception("%s %s failed", request.method, request.path, exc_info=error)
    if "session" in g:
        g.session.rollback()
    status = _status(error)
    if status == 503:
        g.user = None
    return (jsonify(error=WORDS[status][0]), status) if forms.wants_json() else show(status)


def _status(error: Exception) -> int:
    """A row that went away or came meanwhile, or two that waited for one another: somebody was faster."""
    if isinstance(error, IntegrityError):
        return 409
    if isinstance(error, OperationalError):
        return 409 if getattr(error.orig, "sqlstate", "") in ("40001", "40P01") else 503
    return 500


def _nonsense(error: DataError) -> Any:
    """PostgreSQL could not take a value: what was typed, not what we did."""
    log.warning("%s %s: %s", request.method, request.path, error.orig)
    return show(400)


def init_app(app: Flask) -> None:
    """Show them."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(CSRFError, _forged)
    app.register_error_handler(DataError, _nonsense)
    app.register_error_handler(Exception, _broken)
    app.register_error_handler(InternalServerError, lambda error: _broken(error.original_exception or error))
