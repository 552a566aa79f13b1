"""What a person shares: by mailbox, by pipeline, by conversation, with single people; and what never."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from flask import Blueprint, abort, render_template, request, url_for
from sqlalchemy import func, or_, select
from sqlalchemy.orm import aliased

from tracker import access_requests, mailboxes, people, sharing
from tracker.conversations import Conversation
from tracker.db import among
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message, Recipient
from tracker.people import Role, User
from tracker.pipelines import Pipeline
from tracker.sharing import Level, Pair, SharingError
from tracker.sharing.levels import DEFAULT
from tracker.sharing.tables import Grant, Private, Rule
from tracker.web import rows
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, nav_pipelines, user, viewer

bp = Blueprint("sharing_settings", __name__)

#: The levels in words, with what a teammate then sees; the widest first.
LEVELS: dict[Level, tuple[str, str]] = {
    Level.FULL: ("All of it", "the text and the files"),
    Level.SUBJECT: ("The subject", "“{name} wrote with acme.test about ‘Our offer’, 3 Nov”"),
    Level.EXISTENCE: ("That it is there", "“{name} wrote with acme.test, 3 Nov”"),
    Level.NOTHING: ("Nothing", "nobody knows of it"),
}
INHERIT = ""  #: the choice to say nothing here
LISTED = 100  # conversations and grants of the page


@dataclass
class Shown:
    """What the page shows, each read when its part asks."""

    @cached_property
    def rules(self) -> Sequence[Rule]:
        """All that the person said."""
        return db().scalars(select(Rule).where(Rule.user_id == viewer().user_id).order_by(Rule.id.desc())).all()

    @cached_property
    def mailboxes(self) -> list[tuple[Mailbox, Pair]]:
        """Their mailboxes, with what they share."""
        said = {one.mailbox_id: one for one in self.rules if one.mailbox_id}
        return [(one, _pair(said.get(one.id)) or DEFAULT) for one in mailboxes.of_user(db(), user().id)]

    @cached_property
    def pipelines(self) -> list[tuple[Pipeline, Pair | None]]:
        """The pipelines that they see, with what they said of each, if anything."""
        said = {one.pipeline_id: one for one in self.rules if one.pipeline_id}
        return [(one, _pair(said.get(one.id))) for one in nav_pipelines()]

    @cached_property
    def conversations(self) -> list[tuple[rows.Row, Pair]]:
        """Conversations of which they said something, the latest first."""
        said = {one.conversation_id: one for one in self.rules if one.conversation_id}
        found = db().scalars(select(Conversation).where(among(Conversation.id, list(said)[:LISTED]))).all()
        shown = {row.conversation.id: row for row in rows.rows(db(), viewer(), found)}
        return [(shown[id_], _pair(one) or DEFAULT) for id_, one in said.items() if id_ in shown]

    @cached_property
    def grants(self) -> list[tuple[Grant, str, str]]:
        """Who may read what: the grant, the name, and what it is in words."""
        query = (
            select(Grant, User.name).join(User, User.id == Grant.user_id).where(Grant.owner_id == viewer().user_id)
        )
        found = db().execute(query.order_by(Grant.id.desc()).limit(LISTED)).all()
        ids = [grant.conversation_id for grant, _ in found if grant.conversation_id]
        talks = db().scalars(select(Conversation).where(among(Conversation.id, ids))).all() if ids else []
        subjects = {row.conversation.id: row.subject for row in rows.rows(db(), viewer(), talks)}
        names = {one.id: one.name for one in nav_pipelines()}
        return [(grant, name, _granted(grant, subjects, names)) for grant, name in found]

    @cached_property
    def private(self) -> list[tuple[Private, int]]:
        """Addresses and domains that are never shared, and how many of one's mails each covers."""
        query = select(Private).where(Private.user_id == viewer().user_id).order_by(Private.value)
        found = db().scalars(query).all()
        counts = _covered() if found else {}
        return [(one, counts.get(one.id, 0)) for one in found]

    @property
    def levels(self) -> list[tuple[str, str]]:
        """The choices of a select."""
        return [(str(int(level)), f"{words}: {example}") for level, (words, example) in _levels().items()]

    @property
    def short(self) -> list[tuple[str, str]]:
        """Them without examples, behind the choice to say nothing."""
        return [(INHERIT, "As the mailbox"), *((str(int(level)), words) for level, (words, _) in LEVELS.items())]

    def words(self, pair: Pair) -> str:
        """What a rule says, in words."""
        outside, inside = LEVELS[Level(pair.outside)][0], LEVELS[Level(pair.inside)][0]
        return outside if outside == inside else f"{outside}; of internal mail: {inside.lower()}"


def _levels() -> dict[Level, tuple[str, str]]:
    name = user().name.split()[0] if user().name.split() else user().name
    return {level: (words, example.format(name=name)) for level, (words, example) in LEVELS.items()}


def _pair(rule: Rule | None) -> Pair | None:
    return Pair(Level(rule.outside), Level(rule.inside)) if rule is not None else None


def _granted(grant: Grant, subjects: Mapping[int, str], names: Mapping[int, str]) -> str:
    if grant.conversation_id is not None:
        return f"“{subjects.get(grant.conversation_id) or '(no subject)'}”"
    if grant.address is not None:
        return f"your mail with {grant.address}"
    return f"your mail in {names.get(grant.pipeline_id or 0, 'a pipeline')}"


def _covered() -> dict[int, int]:
    """How many of the viewer's mails each entry of their private list covers."""
    mine = (
        select(Copy.message_id)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .where(Mailbox.user_id == viewer().user_id, ~Copy.hidden)
    )
    got = aliased(Recipient)
    sent = select(Message.id.label("id"), Message.sender_normalized.label("address")).where(Message.id.in_(mine))
    received = select(got.message_id, got.normalized).where(got.message_id.in_(mine), got.kind != "reply-to")
    named = sent.union_all(received).subquery()
    address = named.c.address
    tail = func.right(address, func.length(Private.value) + 1)
    covers = or_(address == Private.value, tail == "@" + Private.value, tail == "." + Private.value)
    query = (
        select(Private.id, func.count(named.c.id.distinct()))
        .join(named, covers)
        .where(Private.user_id == viewer().user_id)
        .group_by(Private.id)
    )
    return dict(db().execute(query).all())


# -- the page


PARTS = {
    "mailboxes": "sharing/_mailboxes.html", "pipelines": "sharing/_pipelines.html",
    "conversations": "sharing/_conversations.html", "grants": "sharing/_grants.html",
    "private": "sharing/_private.html",
}  # fmt: skip


def tabs(current: str) -> list[tuple[str, str, bool] | tuple[str, str, bool, int]]:
    """The pages of sharing, as `ui.tabs` takes them."""
    waiting = access_requests.waiting(db(), viewer())
    made: list[tuple[str, str, bool] | tuple[str, str, bool, int]] = [
        ("What you share", url_for("sharing_settings.show"), current == "settings"),
        ("Requests", url_for("sharing_requests.show"), current == "requests", waiting),
    ]
    if viewer().role == Role.ADMIN:
        made.append(("Opened by others", url_for("sharing_log.show"), current == "log"))
    return made


def page(**_: str) -> str:
    """The whole page; for htmx the part in which the form stands."""
    part = PARTS.get(request.form.get("_place", "").partition("-")[0])
    if part is not None and request.headers.get("HX-Request"):
        return render_template(part, page=Shown())
    return render_template("sharing/settings.html", page=Shown(), tabs=tabs("settings"), parts=PARTS)


@bp.get("/sharing")
def show() -> Page:
    """The page."""
    return page()


def _changed(told: str, anchor: str) -> Page:
    if request.headers.get("HX-Request"):
        db().flush()
        return page()
    return done(told, "sharing_settings.show", anchor)


def level_of(name: str) -> Level:
    """A level out of the form; anything else is a bad request."""
    given = text(name, 5)
    return Level(int(given)) if given in {str(int(one)) for one in Level} else abort(400)


def _said(verb: Callable[[], object]) -> None:
    try:
        verb()
    except SharingError as error:
        raise Refused({request.form.get("_place", ""): str(error)}) from None


@bp.post("/sharing/mailboxes/<key>")
@or_show(page)
def of_mailbox(key: str) -> Page:
    """What one's mailbox shares."""
    found = mailboxes.by_key(db(), key)
    if found is None or found.user_id != viewer().user_id:
        abort(404)
    outside, inside = level_of("outside"), level_of("inside")
    _said(lambda: sharing.set_rule(db(), viewer(), mailbox=found, outside=outside, inside=inside))
    return _changed("Saved", "mailboxes")


@bp.post("/sharing/pipelines/<key>")
@or_show(page)
def of_pipeline(key: str) -> Page:
    """What one shares in a pipeline; empty to say nothing of it."""
    found = next((one for one in nav_pipelines() if one.key == key), None) or abort(404)
    if INHERIT in (text("outside"), text("inside")):
        if text("outside") != text("inside"):
            raise Refused({request.form.get("_place", ""): "Choose for both, or for both as the mailbox"})
        _said(lambda: sharing.set_rule(db(), viewer(), pipeline=found, outside=None, inside=None))
    else:
        outside, inside = level_of("outside"), level_of("inside")
        _said(lambda: sharing.set_rule(db(), viewer(), pipeline=found, outside=outside, inside=inside))
    return _changed("Saved", "pipelines")


@bp.post("/sharing/conversations/<key>/forget")
@or_show(page)
def forget_conversation(key: str) -> Page:
    """As the pipeline and the mailbox say, again."""
    rules = select(Rule.conversation_id).where(Rule.user_id == viewer().user_id)
    found = db().scalar(select(Conversation).where(Conversation.key == key, Conversation.id.in_(rules))) or abort(
        404
    )
    _said(lambda: sharing.set_rule(db(), viewer(), conversation=found, outside=None, inside=None))
    return _changed("It is shared as your settings say again", "conversations")


@bp.post("/sharing/grants/<key>/withdraw")
@or_show(page)
def withdraw(key: str) -> Page:
    """Take back what somebody may read."""
    if not sharing.withdraw_grant(db(), viewer(), key):
        abort(404)
    return _changed("Taken back", "grants")


@bp.post("/sharing/private")
@or_show(page)
def add_private() -> Page:
    """Never share mail with this address or domain."""
    _said(lambda: sharing.private_add(db(), viewer(), text("value", 300)))
    return _changed("It is never shared from now on", "private")


@bp.post("/sharing/private/<int:number>/remove")
@or_show(page)
def remove_private(number: int) -> Page:
    """Mail with it is shared as the settings say."""
    query = select(Private).where(Private.id == number, Private.user_id == viewer().user_id)
    found = db().scalar(query) or abort(404)
    _said(lambda: sharing.private_remove(db(), viewer(), found.value))
    return _changed("Taken off the list", "private")


def teammates() -> Sequence[User]:
    """Those with whom something can be shared."""
    return [one for one in people.of_team(db(), viewer().team_id) if one.id != viewer().user_id]
