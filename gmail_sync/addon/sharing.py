"""Who may see the open thread: what one said of it, sharing it otherwise, and asking for what is withheld."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import exists, func, select

from gmail_sync.addon import lookups
from tracker import access_requests, due, people, sharing
from tracker.conversations import Conversation
from tracker.messages import Message
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Card,
    Choice,
    Done,
    Line,
    Option,
    Outcome,
    Panel,
    Paragraph,
    Place,
    Refused,
    Section,
    Shown,
    Widget,
)
from tracker.people import User
from tracker.sharing import Grant, Level, Rule, Seer, Withheld
from tracker.web.filters import count
from tracker.web.sharing_settings import LEVELS

AS_SETTINGS = "settings"  #: the choice to say nothing of this conversation
NOBODY = "-"
GRANTS, WITHHELD, SEERS = 5, 3, 50
STANDS = {
    "open": "You asked; waiting for an answer",
    "declined": "You asked, and they declined",
    "gone": "Its text went with its owner",
}


# -- drawn


@dataclass(frozen=True, slots=True)
class Gap:
    """A mail that is withheld."""

    key: str  #: the message's
    words: str
    stands: str  #: of one's own request: a key of `STANDS`, or empty


@dataclass(frozen=True, slots=True)
class View:
    """What the panel shows of sharing."""

    said: str  #: the value of a choice
    grants: Sequence[tuple[str, str]] = ()  #: keys and names of those who may read all of it
    teammates: Sequence[Option] = ()
    gaps: Sequence[Gap] = ()
    more_gaps: int = 0
    elsewhere: tuple[int, str] | None = None  #: mails that only teammates' mailboxes hold, and why they are seen
    url: str = ""  #: the conversation in Tracker


def section(view: View) -> Section:
    """The state, and what one may do about it."""
    level = Choice(
        "share-level", "Teammates who see its box see", _levels(view.said), changed=Action("share.level")
    )
    widgets: list[Widget] = [level, *(_grant(key, name) for key, name in view.grants)]
    if view.teammates:
        widgets.append(Choice("share-with", "Let one person read all of it", view.teammates))
    share = [Button("Share", Action("share.with"), filled=True)] if view.teammates else []
    keep = [] if view.said == str(int(Level.NOTHING)) and not view.grants else [_KEEP]
    who = Button("Who sees it?", Action("share.who"))
    return Section("Sharing", [*widgets, Buttons([*share, *keep, who]), *_rest(view)])


_KEEP = Button("Keep private", Action("share.private"))


def _levels(said: str) -> list[Option]:
    choices = [(AS_SETTINGS, "As your settings say"), *((str(int(one)), LEVELS[one][0]) for one in LEVELS)]
    return [Option(value, words, value == said) for value, words in choices]


def _grant(key: str, name: str) -> Line:
    back = Button("Take back", Action("share.withdraw", {"grant": key}))
    return Line(name, label="May read all of it", icon="person", button=back)


def _rest(view: View) -> list[Widget]:
    widgets: list[Widget] = [_gap(one) for one in view.gaps]
    if view.more_gaps:
        widgets.append(Line(f"{count(view.more_gaps, 'more mail')} withheld", url=view.url, icon="lock"))
    if view.elsewhere is not None:
        number, why = view.elsewhere
        told = f"{count(number, 'mail')} of this thread only in teammates’ mailboxes"
        widgets.append(Line(told, below=why, url=view.url, icon="forum"))
    return widgets


def _gap(one: Gap) -> Line:
    ask = None if one.stands else Button("Ask to see", Action("share.ask", {"message": one.key}))
    return Line(one.words, label="Withheld", below=STANDS.get(one.stands, ""), icon="lock", button=ask)


def who_card(seers: Sequence[Seer], url: str) -> Card:
    """Who of the team sees the mail, and why."""
    lines: list[Widget] = [Line(one.user.name, below=one.words, icon="person") for one in seers[:SEERS]]
    if not lines:
        lines = [Paragraph("Only you: it is shared with nobody.")]
    if len(seers) > SEERS:
        lines.append(Paragraph(f"And {count(len(seers) - SEERS, 'more teammate')}."))
    there = Buttons([Button("More in Tracker", url=url)])
    return Card("Who sees this mail", [Section("", [*lines, there])], name="who")


# -- looked up


def sections(asked: Asked) -> Sequence[Section]:
    """What there is to say of the open thread; in a number of queries that does not grow with anything."""
    conversation = asked.conversation
    if conversation is None:
        return []
    there = _there(asked, conversation)
    gaps, more = _gaps(asked, conversation) if there.others else ([], 0)
    return [
        section(
            View(
                AS_SETTINGS if there.said is None else str(there.said),
                [(grant.key, name) for grant, name in _grants(asked, conversation)] if there.grants else [],
                _teammates(lookups.team(asked), asked.user),
                gaps,
                more,
                _elsewhere(asked, conversation) if there.others else None,
                f"{asked.url}/c/{conversation.key}",
            )
        )
    ]


class _There(NamedTuple):
    """What there is to look up of a conversation; of most there is nothing."""

    said: int | None  #: the level that its rule says
    grants: bool
    others: bool  #: mails that none of the viewer's own mailboxes holds


def _there(asked: Asked, conversation: Conversation) -> _There:
    """One query."""
    said = select(Rule.outside).where(Rule.user_id == asked.user.id, Rule.conversation_id == conversation.id)
    grants = exists().where(Grant.owner_id == asked.user.id, Grant.conversation_id == conversation.id)
    others = select(Message.id).where(Message.conversation_id == conversation.id, ~sharing.holds(asked.viewer))
    query = select(said.scalar_subquery(), grants, others.exists())
    return _There(*asked.db().execute(query).one())


def _teammates(team: Sequence[User], user: User) -> list[Option]:
    others = [one for one in team if one.id != user.id][: lookups.CHOICES - 1]
    if not others:
        return []
    return [Option(NOBODY, "Choose a teammate", True), *(Option(one.key, one.name) for one in others)]


def _grants(asked: Asked, conversation: Conversation) -> Sequence[tuple[Grant, str]]:
    query = (
        select(Grant, User.name)
        .join(User, User.id == Grant.user_id)
        .where(Grant.owner_id == asked.user.id, Grant.conversation_id == conversation.id)
        .order_by(func.lower(User.name), Grant.id)
    )
    return [(grant, name) for grant, name in asked.db().execute(query.limit(GRANTS))]


def _gaps(asked: Asked, conversation: Conversation) -> tuple[list[Gap], int]:
    """The latest mails that are withheld, and how many more there are."""
    found = sharing.withheld(asked.db(), asked.viewer, conversation.id)
    shown = found[:WITHHELD]
    whom = {one.message_id: one.owner_id for one in shown}
    stands = access_requests.standing(asked.db(), asked.viewer, whom, asked.now)
    gaps = [Gap(one.message_key, _gap_words(one, asked.zone), stands.get(one.message_id, "")) for one in shown]
    return gaps, len(found) - len(shown)


def _gap_words(one: Withheld, zone: str) -> str:
    whom = f"with {', '.join(one.hosts[:3])}" if one.hosts else "within the team"
    subject = f"“{one.subject}”: " if one.subject else ""
    return f"{subject}{one.owner_names} wrote {whom}, {_day(one.at, zone)}"


def _day(at: datetime, zone: str) -> str:
    local = at.astimezone(due.zone(zone))
    return f"{local.day} {local:%b %Y}"


def _elsewhere(asked: Asked, conversation: Conversation) -> tuple[int, str] | None:
    """Mails that the viewer reads though none of their mailboxes holds them, and why the newest is seen."""
    there = (
        Message.conversation_id == conversation.id,
        sharing.may_read(asked.viewer),
        ~sharing.holds(asked.viewer),
    )
    query = select(Message.id).where(*there).order_by(Message.sent_at.desc(), Message.id.desc())
    found = asked.db().scalars(query.limit(lookups.CHOICES)).all()
    if not found:
        return None
    why = sharing.why(asked.db(), asked.viewer, found[:1]).get(found[0])
    return len(found), why.words if why is not None else ""


# -- done


def level(asked: Asked) -> Outcome:
    """Say how much of one's own mail in this conversation those see who see its boxes."""
    conversation, given = lookups.thread(asked), asked.text("share-level")
    rule = sharing.rule_for(asked.db(), asked.user.id, conversation)
    if given == AS_SETTINGS:
        sharing.set_rule(asked.db(), asked.viewer, conversation=conversation, outside=None, inside=None)
        return Done("As your settings say, from now on")
    if given not in {str(int(one)) for one in Level}:
        raise Refused("Choose how much of it teammates see")
    inside = sharing.inside_of(asked.db(), asked.user.id, rule)
    sharing.set_rule(asked.db(), asked.viewer, conversation=conversation, outside=int(given), inside=inside)
    names = ", ".join(name for _, name in _grants(asked, conversation))
    return Done("Saved for this conversation" + (f", except for {names}" if names else ""))


def share_with(asked: Asked) -> Outcome:
    """Let one person read the conversation."""
    conversation = lookups.thread(asked)
    to = people.by_key(asked.db(), asked.text("share-with")[: lookups.KEY])
    if to is None or to.team_id != asked.viewer.team_id:
        raise Refused("Choose a teammate first")
    sharing.grant(asked.db(), asked.viewer, to.id, conversation=conversation)
    return Done(f"{to.name} may read this conversation")


def withdraw(asked: Asked) -> Outcome:
    """Take back that somebody may read the conversation."""
    conversation, key = lookups.thread(asked), lookups.key_of(asked, "grant")
    name = {grant.key: name for grant, name in _grants(asked, conversation)}.get(key)
    if name is None or not sharing.withdraw_grant(asked.db(), asked.viewer, key):
        raise Refused("That was taken back already")
    return Done(f"Taken back from {name}")


def private(asked: Asked) -> Outcome:
    """Share nothing of one's own mail in this conversation, with nobody; its boxes keep the thread."""
    conversation = lookups.thread(asked)
    nothing = Level.NOTHING
    sharing.set_rule(asked.db(), asked.viewer, conversation=conversation, outside=nothing, inside=nothing)
    query = select(Grant.key).where(Grant.owner_id == asked.user.id, Grant.conversation_id == conversation.id)
    for key in asked.db().scalars(query).all():
        sharing.withdraw_grant(asked.db(), asked.viewer, key)
    return Done("Private: your mail in this thread is shared with nobody. Who has it themselves still sees it")


def who(asked: Asked) -> Outcome:
    """Who of the team sees the open mail, and why."""
    key = asked.db().scalar(select(Message.key).where(Message.id == asked.message_id))
    if asked.message_id is None or key is None:
        raise Refused("This mail is not in Tracker yet; open it again in a moment")
    seers = sharing.who_sees(asked.db(), asked.viewer, asked.message_id)
    return Shown(who_card(seers, f"{asked.url}/m/{key}/who"), push=True)


def ask(asked: Asked) -> Outcome:
    """Ask the owner of a withheld mail of this conversation to see it."""
    conversation, key = lookups.thread(asked), lookups.key_of(asked, "message")
    query = select(Message.id).where(
        Message.key == key, Message.conversation_id == conversation.id, sharing.may_know(asked.viewer)
    )
    made = access_requests.ask(asked.db(), asked.viewer, asked.db().scalar(query) or 0, asked.now)
    if made is None:
        raise Refused("There is nothing to ask for any more; open the mail again")
    return Done("Asked. You hear when it is answered")


def register(panel: Panel) -> None:
    """Put it into the panel."""
    panel.register_section(Place.THREAD, sections, order=60)
    for name, do in lookups.actions(
        ("share.level", level), ("share.with", share_with), ("share.withdraw", withdraw),
        ("share.private", private), ("share.who", who), ("share.ask", ask),
    ):  # fmt: skip
        panel.register_action(name, do)
