"""Where our own people's browsers are, noted as they ask for pages. No page: a hook behind every request."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from flask import Flask, Response, g, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Request

from tracker import row_security
from tracker.db import Sessions, transaction
from tracker.people import User
from tracker.web import frame
from webhooks import own_side
from webhooks.client_address import Network, client_address

log = logging.getLogger(__name__)

FORWARDED_FOR = "X-Forwarded-For"
#: Others that a proxy leaves.
FORWARDED = ("Forwarded", "X-Real-IP", "CF-Connecting-IP")


def where(asked: Request, trusted: Sequence[Network] = ()) -> str | None:
    """The address that a browser is at, seen from the internet; None where it may be a proxy's.

    A proxy's address is nobody's home and everybody's: were it noted as one of ours, all mail that is opened
    through that proxy would be taken for our own looking. Who is not the first in X-Forwarded-For tells nothing.
    """
    said = asked.headers.getlist(FORWARDED_FOR)
    found = client_address(asked.remote_addr, said, trusted)
    if said:
        first = ",".join(said).partition(",")[0]
        return found if found and found == client_address(first, (), ()) else None
    if any(name in asked.headers for name in FORWARDED):
        return None
    return found if found and not _is_proxy(found, trusted) else None


def asker(trusted: Sequence[Network] = ()) -> str:
    """Who asks now, as far as we can tell, to count tries by; a proxy not ours stands for all behind it."""
    said = request.headers.getlist(FORWARDED_FOR)
    return client_address(request.remote_addr, said, trusted) or request.remote_addr or ""


def _is_proxy(address: str, trusted: Sequence[Network]) -> bool:
    """Whether a listed proxy stands there: it told of nobody behind it."""
    return client_address(address, ["-"], trusted) is None


def init_app(app: Flask, trusted: Sequence[Network] = ()) -> None:
    """Note the addresses of signed-in browsers, each once an hour; `trusted` are our own proxies."""
    lately = own_side.Lately()
    made = frame.of(app)

    def look(response: Response) -> Response:
        user: User | None = g.get("user") if response.status_code < 400 else None
        address = own_side.place(where(request, trusted)) if user is not None else None
        if user is not None and address and lately.is_news(user.id, address, made.now()):
            found, seen = user, address
            # Once the page's own work is committed: whatever becomes of this, the page is not touched by it.
            frame.after_commit(lambda: _note(made.sessions, lately, found, seen, made.now()))
        return response

    app.after_request(look)


def _note(sessions: Sessions, lately: own_side.Lately, user: User, address: str, now: datetime) -> None:
    try:
        with transaction(sessions) as session:
            row_security.enter(session, user.team_id)
            own_side.note(session, user.team_id, user.id, address, now)
    except SQLAlchemyError as error:
        lately.forget(user.id, address)
        log.warning("The address of a signed-in browser could not be noted: %s", type(error).__name__)
