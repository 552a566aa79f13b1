"""Sharing where the mail is: who can see this, sharing its conversation otherwise, asking for what is withheld."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, abort, flash, redirect, render_template, request
from sqlalchemy import func, select

from tracker import access_requests, people, reading_log, sharing
from tracker.access_requests import RequestError
from tracker.conversations import Conversation
from tracker.messages import Message
from tracker.people import User
from tracker.sharing import Level, SharingError
from tracker.sharing.tables import Grant, Rule
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, local_path, now, viewer
from tracker.web.sharing_settings import LEVELS, level_of, teammates

bp = Blueprint("sharing", __name__)
AS_SETTINGS = "settings"  #: the choice to say nothing of this conversation


def mine(key: str) -> Message:
    """A message that one of the viewer's own mailboxes holds; or 404."""
    query = select(Message).where(
        Message.key == key[:100], Message.team_id == viewer().team_id, sharing.holds(viewer())
    )
    return db().scalar(query) or abort(404)


def page(key: str, told: str = "") -> str:
    """Who can see a mail of one's own: a page, and for htmx what unfolds below the mail."""
    message = mine(key)
    rule = sharing.rule_for(db(), viewer().user_id or 0, _of(message))
    template = "sharing/_who.html" if request.headers.get("HX-Request") else "sharing/who.html"
    return render_template(
        template, message=message, told=told, grants=_grants(message.conversation_id), inside=_inside(rule),
        insides=_choices()[1:], seers=sharing.who_sees(db(), viewer(), message.id),
        opened=reading_log.of_message(db(), message.id),
        chosen=AS_SETTINGS if rule is None else str(rule.outside), choices=_choices(), teammates=teammates(),
    )  # fmt: skip


def _inside(rule: Rule | None) -> str:
    """What teammates see of its internal mail, as a form says it."""
    return str(int(sharing.inside_of(db(), viewer().user_id or 0, rule)))


def _grants(conversation_id: int) -> Sequence[tuple[Grant, str]]:
    """Whom the viewer lets read the conversation, whatever else they say of it."""
    query = (
        select(Grant, User.name)
        .join(User, User.id == Grant.user_id)
        .where(Grant.owner_id == viewer().user_id, Grant.conversation_id == conversation_id)
        .order_by(func.lower(User.name), Grant.id)
    )
    return [(grant, name) for grant, name in db().execute(query)]


def _choices() -> list[tuple[str, str]]:
    return [
        (AS_SETTINGS, "As your settings say"),
        *((str(int(level)), words) for level, (words, _) in LEVELS.items()),
    ]


@bp.get("/m/<key>/who")
def who(key: str) -> Page:
    """Who can see it, why, and who did."""
    return page(key)


@bp.post("/m/<key>/who")
@or_show(page)
def share(key: str) -> Page:
    """Share its conversation with the team: at a level, and its internal mail at one; or as the settings say."""
    conversation = _of(mine(key))
    rule = sharing.rule_for(db(), viewer().user_id or 0, conversation)
    inside = Level(int(_inside(rule))) if not text("inside") else level_of("inside")
    try:
        if text("level", 20) == AS_SETTINGS:
            if rule is None and inside != int(_inside(None)):
                raise Refused({"who": "Choose for its mail with outsiders too"})
            sharing.set_rule(db(), viewer(), conversation=conversation, outside=None, inside=None)
        else:
            level = level_of("level")
            sharing.set_rule(db(), viewer(), conversation=conversation, outside=level, inside=inside)
    except SharingError as error:
        raise Refused({"who": str(error)}) from None
    names = ", ".join(name for _, name in _grants(conversation.id))
    return _changed(key, "Saved for this conversation" + (f", except for {names}" if names else ""))


@bp.post("/m/<key>/who/withdraw")
@or_show(page)
def withdraw(key: str) -> Page:
    """Take back that somebody may read its conversation."""
    there = {grant.key: name for grant, name in _grants(mine(key).conversation_id)}
    grant = text("grant", 100)
    if grant not in there or not sharing.withdraw_grant(db(), viewer(), grant):
        raise Refused({"who": "That was taken back already"})
    return _changed(key, f"Taken back from {there[grant]}")


@bp.post("/m/<key>/who/one")
@or_show(page)
def share_with(key: str) -> Page:
    """Let one person read its conversation."""
    conversation = _of(mine(key))
    to = people.by_key(db(), text("user", 100))
    if to is None or to.team_id != viewer().team_id:
        raise Refused({"one": "Choose a teammate"})
    try:
        sharing.grant(db(), viewer(), to.id, conversation=conversation)
    except SharingError as error:
        raise Refused({"one": str(error)}) from None
    return _changed(key, f"{to.name} may read this conversation")


def _of(message: Message) -> Conversation:
    return db().get_one(Conversation, message.conversation_id)


def _changed(key: str, told: str) -> Page:
    if request.headers.get("HX-Request"):
        db().flush()
        db().expire_all()
        return page(key, told)
    return done(told, "sharing.who", key=key)


@bp.post("/m/<key>/ask")
def ask(key: str) -> Page:
    """Ask its owner to see the conversation; 404 for what the viewer doesn't even know of."""
    message_id = db().scalar(select(Message.id).where(Message.key == key[:100], sharing.may_know(viewer())))
    try:
        made = access_requests.ask(db(), viewer(), message_id or 0, now())
    except RequestError as error:
        return _told(str(error), "failed")
    if made is None:
        abort(404)
    return _told("Asked. You hear when it is answered.", "done")


def _told(words: str, kind: str) -> Page:
    if request.headers.get("HX-Request"):
        return render_template("sharing/_asked.html", words=words)
    flash(words, kind)
    return redirect(local_path(text("_next")), 303)
