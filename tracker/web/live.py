"""What changed since a page looked last: for pages that can't have the live stream, asked for now and then."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, abort, jsonify, request
from sqlalchemy.orm import Session

from tracker import events, sight, topics
from tracker.events import Cursor
from tracker.topics import Changed, Watch
from tracker.web.frame import Page, db, user

bp = Blueprint("live", __name__)
LIMIT = 300  # events; a page that is so far behind looks at everything again


@bp.get("/live")
def stream() -> Page:
    """Reached only where the server has no stream (see `config.asgi`): the page asks `/live/since` instead."""
    return Response(status=204)


@bp.get("/live/since")
def since() -> Page:
    """The topics of `topics` that changed behind `cursor`, as JSON, and the cursor to ask with next.

    `refresh` says to look at everything again: there was no cursor, or too much happened since.
    """
    given = request.args.get("cursor", "")
    if not given:
        return _answer({"cursor": _told(events.newest(db())), "topics": [], "refresh": True})
    found = events.after(db(), _parsed(given), limit=LIMIT)
    if len(found) == LIMIT:
        return _answer({"cursor": _told(events.newest(db())), "topics": [], "refresh": True})
    watch = Watch.of(user().key, sight.watchable(db(), request.args.get("topics", "")))
    rows = [event for _, event in found if event.team_id == user().team_id]
    cursor = _told(found[-1][0]) if found else given
    hits = watch.hits(_topics(db(), rows))
    # A notification is written a moment after its event, and is none itself: whoever asks looks each time.
    hits |= {name for name in watch.names.values() if name == "bell"}
    return _answer({"cursor": cursor, "topics": sorted(hits), "refresh": False})


def _topics(session: Session, rows: list[events.Event]) -> frozenset[str]:
    changed = Changed()
    names = ("team_id", "kind", "box_id", "conversation_id", "mailbox_id", "user_id", "data")
    changed.add({name: getattr(row, name) for name in names} for row in rows)
    return frozenset(topics.resolve(session, changed).get(user().team_id, ()))


def _answer(told: dict[str, Any]) -> Response:
    response = jsonify(told)
    response.headers["Cache-Control"] = "no-store"
    return response


def _told(cursor: Cursor) -> str:
    return ".".join(str(number) for number in asdict(cursor).values())


def _parsed(given: str) -> Cursor:
    transaction, _, number = given.partition(".")
    if not (transaction.isascii() and transaction.isdigit() and number.isascii() and number.isdigit()):
        abort(400)
    if len(transaction) > 19 or len(number) > 18:  # as far as xid8 and bigint go
        abort(400)
    return Cursor(int(transaction), int(number))
