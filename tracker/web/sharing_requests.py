"""Requests for access: those that wait for one's answer, and what became of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flask import Blueprint, abort, render_template, request
from sqlalchemy import select

from tracker import access_requests
from tracker.access_requests import AccessRequest, RequestError, RequestState, Scope, Shown
from tracker.conversations import Conversation
from tracker.db import among
from tracker.messages import Message
from tracker.sharing import Level, SharingError, level, may_know
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, now, viewer
from tracker.web.sharing_settings import tabs

bp = Blueprint("sharing_requests", __name__)
MOST = 100  # pipelines of one answer
TOLD = {
    Scope.CONVERSATION: "They may read this conversation",
    Scope.CONTACT: "They may read your mail with this contact",
    Scope.DECLINE: "Declined; they are told, and not why",
}


class Known(NamedTuple):
    """A conversation that somebody asked to see: its key, and its subject where that is told."""

    key: str
    subject: str
    told: bool


def page(**_: str) -> str:
    """The whole page; for htmx what waits for an answer."""
    asked = access_requests.to_owner(db(), viewer())
    waiting = [one for one, _ in asked if one.state == RequestState.OPEN]
    ids = [one.message_id for one, _ in asked]
    mails = {one.id: one for one in db().scalars(select(Message).where(among(Message.id, ids)))} if ids else {}
    mine = access_requests.of_asker(db(), viewer())
    template = "sharing/_requests.html" if request.headers.get("HX-Request") else "sharing/requests.html"
    return render_template(
        template, asked=asked, mails=mails, choices=access_requests.choices(db(), viewer(), waiting), mine=mine,
        known=_known(mine), tabs=tabs("requests"), scopes=Scope,
    )  # fmt: skip


def _known(asked: list[tuple[AccessRequest, str]]) -> dict[int, Known]:
    """Those conversations of which the viewer (still) knows something, by the mails that they asked for."""
    ids = [one.message_id for one, _ in asked]
    query = (
        select(Message.id, Conversation.key, Message.subject, level(viewer()) >= Level.SUBJECT)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(among(Message.id, ids), may_know(viewer()))
    )
    found = db().execute(query).all() if ids else []
    return {id_: Known(key, subject if told else "", told) for id_, key, subject, told in found}


@bp.get("/sharing/requests")
def show() -> Page:
    """The page."""
    return page()


@bp.post("/sharing/requests/<key>")
@or_show(page)
def answer(key: str) -> Page:
    """Answer one, once."""
    found = access_requests.of_owner(db(), viewer(), key) or abort(404)
    given = text("scope", 20)
    if given not in set(Scope):
        abort(400)
    pipelines = request.form.getlist("pipelines")[:MOST]
    shown = Shown(text("address", 320), pipelines)
    try:
        names = access_requests.answer(db(), viewer(), found, Scope(given), now(), shown)
    except (RequestError, SharingError) as error:
        raise Refused({f"request-{key}": str(error)}, 409) from None
    if request.headers.get("HX-Request"):
        db().flush()
        return page()
    return done(TOLD.get(Scope(given)) or _told(names, len(pipelines)), "sharing_requests.show")


def _told(names: Sequence[str], shown: int) -> str:
    """In which pipelines they may read."""
    words = f"They may read your mail in {', '.join(names)}"
    return words if len(names) == shown else f"{words}; the conversation is no longer in the others"
