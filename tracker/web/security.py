"""Headers that every answer carries, and the stricter ones of the frame that shows HTML mail."""

from __future__ import annotations

from flask import Flask, Response, current_app, g, request
from flask_wtf.csrf import CSRFProtect

from tracker.web import frame

#: Scripts, styles and connections are our own files only; nothing inline, nobody frames us.
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; frame-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; "
    "form-action 'self'{targets}"
)
#: A mail: no script, no form, no connection; its own inline styles, and images only if the reader asked. A link
#: opens a page of its own, which must not inherit the sandbox: a site without scripts would be broken.
MAIL = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:{images}; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)

#: A file of a stranger's, should a browser show it in spite of all: it can do nothing.
FILE = "default-src 'none'; frame-ancestors 'none'; sandbox"

csrf = CSRFProtect()


def as_mail(*, remote_images: bool) -> None:
    """Give the present request's answer the headers of a mail's frame."""
    g.policy = MAIL.format(images=" https: http:" if remote_images else "")


def as_file() -> None:
    """Give the present request's answer the headers of a file that came by mail."""
    g.policy = FILE


def _guard(response: Response) -> Response:
    targets = "".join(f" {origin}" for origin in frame.frame().form_targets)
    mail = g.get("policy")
    response.headers["Content-Security-Policy"] = mail or PAGE.format(targets=targets)
    response.headers["X-Frame-Options"] = "SAMEORIGIN" if mail else "DENY"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if current_app.config["SESSION_COOKIE_SECURE"]:  # our address is https; a year, without what lies below it
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    response.headers["Referrer-Policy"] = "no-referrer" if mail else "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    if request.endpoint == "static" and request.args.get("v"):
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    if response.mimetype == "text/html":
        response.headers["Cache-Control"] = "no-store"
    return response


def init_app(app: Flask) -> None:
    """Guard an application's answers and its POSTs."""
    csrf.init_app(app)
    app.after_request(_guard)
