"""Who asks in the side panel, and at what: the user, their mailbox, the mail that is open in it.

From here on the request is one of that user's, behind the team's lock and before the gates, as a page's is. Where
there is nobody to show anything to, a plain card says so (`Refusal`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from zoneinfo import available_timezones

from flask import g
from sqlalchemy import exists, select

from gmail_sync.addon import cards, ids
from gmail_sync.addon.events import Event
from gmail_sync.addon.tokens import Person
from tracker import mailboxes, people
from tracker.addresses import normalize
from tracker.conversations import Conversation, Thread
from tracker.mailboxes import Backfill, Mailbox, State
from tracker.messages import Copy, Message
from tracker.panel import Asked, Button, Buttons, Card, Paragraph, Place, Section, Writing
from tracker.people import Role, User
from tracker.web import frame
from tracker.web.frame import db

OUR_OWN = "_"  #: parameters that begin so are the door's
AT = "_at"  #: the place that a card was drawn for
AGAIN = timedelta(seconds=15)  #: at most so often a mailbox is synced because its mail is not here yet
CARRIED = 3_000  #: characters of a draft's recipients that each of its buttons carries
TITLE = "Tracker"


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """A card in the place of everything else: whoever asks can't be shown anything."""

    card: Card


def ask(person: Person, event: Event, place: Place, url: str) -> Asked:
    """The request in the panel's words; `url` is our own address. Raises `Refusal`."""
    user = _enter(person, url)
    mailbox = _mailbox(user, person, url)
    conversation, message_id = _opened(mailbox, event) if place is Place.THREAD else (None, None)
    return Asked(
        viewer=frame.viewer(),
        user=user,
        now=frame.now(),
        mailbox=mailbox,
        conversation=conversation,
        message_id=message_id,
        writing=_writing(event) if place is Place.COMPOSE else None,
        given=event.given,
        params={name: text for name, text in event.params.items() if not is_ours(name)},
        url=url,
        zone=event.zone if event.zone in _zones() else user.time_zone,
        db=db,
        release=frame.release,
        after_commit=frame.after_commit,
    )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def is_ours(name: str) -> bool:
    """Whether a parameter is the door's, and not the pressed button's."""
    return name.startswith(OUR_OWN) or name == cards.DO


def place_of(event: Event) -> Place:
    """Where something was pressed: as the card says, else as it looks."""
    given = event.params.get(AT)
    if given in set(Place):
        return Place(given)
    if event.writing is not None:
        return Place.COMPOSE
    return Place.THREAD if event.message_id else Place.HOME


# -- who


def _enter(person: Person, url: str) -> User:
    """The user, and from now on the session is theirs. Raises `Refusal`."""
    # An address may be given to another account: whoever has it now is not who signed in with it.
    user = people.by_account(db(), person.subject, person.address)
    if user is None or user.google_subject not in (None, person.subject):
        raise Refusal(_stranger(person, url))
    if user.role == Role.GUEST:
        raise Refusal(plain("Guests have no panel in Gmail. What you are let into is in Tracker.", url))
    g.user, g.sign_in, g.looker = user, None, (user, people.viewer_of(user, "panel"))
    frame.viewer()
    return user


def _stranger(person: Person, url: str) -> Card:
    connected = mailboxes.by_address(db(), person.address)
    owner = db().get(User, connected.user_id) if connected is not None else None
    if owner is not None and owner.removed_at is None and owner.normalized != normalize(person.address):
        # Whoever else reads this mailbox, too, would act as its owner.
        text = f"{person.address} is a mailbox of {owner.name}’s in Tracker. The panel works in the Gmail of the "
        return plain(f"{text}address that one signs in to Tracker with: {owner.address}.", url)
    text = f"Tracker does not know {person.address}. Sign in to Tracker with it, or ask an admin of your team to "
    return plain(f"{text}invite you.", url, "Sign in to Tracker")


def plain(text: str, url: str, button: str = "Open Tracker", path: str = "/") -> Card:
    """A card that says one thing, and leads to where it is mended."""
    there = Button(button, url=url + path, filled=True)
    return Card(TITLE, [Section("", [Paragraph(text), Buttons([there])])])


# -- at what


def _mailbox(user: User, person: Person, url: str) -> Mailbox:
    """The mailbox that Gmail is open in. Raises `Refusal`."""
    found = mailboxes.by_address(db(), person.address)
    if found is None or found.user_id != user.id or found.state == State.DISCONNECTED:
        text = f"The mail of {person.address} is not in Tracker. Connect this mailbox, and it is read now."
        raise Refusal(plain(text, url, "Connect this mailbox", "/mailboxes"))
    return found


def _opened(mailbox: Mailbox, event: Event) -> tuple[Conversation | None, int | None]:
    """The open mail as this mailbox holds it: its conversation, and the mail itself if it is here already."""
    message, thread = ids.to_api(event.message_id), ids.to_api(event.thread_id)
    query = (
        select(Conversation, Message.id)
        .join(Message, Message.conversation_id == Conversation.id)
        .join(Copy, Copy.message_id == Message.id)
        .where(Copy.mailbox_id == mailbox.id, ~Copy.hidden)
    )
    if message and (row := db().execute(query.where(Copy.gmail_id == message)).first()):
        return row[0], row[1]
    if thread:  # a mail that came a moment ago, in a thread that is known
        there = query.join(Thread, Thread.conversation_id == Conversation.id).where(
            Thread.mailbox_id == mailbox.id, Thread.gmail_thread_id == thread
        )
        if row := db().execute(there.limit(1)).first():
            return row[0], None
    return None, None


def not_here(asked: Asked, event: Event, wake: Callable[[int], object]) -> Card:
    """The open mail is not in this mailbox as we know it. Whether it is anywhere else is nobody's business."""
    assert asked.mailbox is not None
    mailbox = asked.mailbox
    if mailbox.state == State.ATTENTION:
        text = f"Tracker can't read this mailbox at the moment: {mailbox.attention or 'Gmail does not let it in'}."
        return plain(text, asked.url, "Connect this mailbox again", "/mailboxes")
    if _is_put_away(mailbox, event):
        return plain("Mail in the trash and in spam is not shown in Tracker.", asked.url)
    _want(asked, mailbox, wake)
    if mailbox.backfill != Backfill.DONE:
        return plain("This mail is not in Tracker yet: your mailbox is still being read, newest first.", asked.url)
    text = "This mail is not in Tracker yet. New mail takes a few seconds; open it again in a moment."
    if mailbox.backfill_after is not None:
        text += f" Mail from before {mailbox.backfill_after:%-d %B %Y} was not read when you connected."
    return plain(text, asked.url)


def _is_put_away(mailbox: Mailbox, event: Event) -> bool:
    message = ids.to_api(event.message_id)
    held = exists().where(Copy.mailbox_id == mailbox.id, Copy.gmail_id == message, Copy.hidden)
    return message is not None and bool(db().scalar(select(held)))


def _want(asked: Asked, mailbox: Mailbox, wake: Callable[[int], object]) -> None:
    """Sync the mailbox, unless that was wished for or done a moment ago."""
    if mailbox.wanted_at is None and (mailbox.synced_at is None or mailbox.synced_at < asked.now - AGAIN):
        mailboxes.want(db(), mailbox.id, "panel", asked.now)
        frame.after_commit(partial(wake, mailbox.id))


# -- the mail that is being written


def carried(place: Place, writing: Writing | None) -> dict[str, str]:
    """What every button brings back to us: where it is, and for whom the mail is, which Gmail tells only once."""
    found = {AT: place.value}
    if writing is not None:
        for name, addresses in (("_to", writing.to), ("_cc", writing.cc), ("_bcc", writing.bcc)):
            found[name] = "\n".join(_within(addresses))
        found["_subject"] = writing.subject[:500]
    return found


def _within(addresses: Sequence[str]) -> list[str]:
    """As many whole addresses as a button can carry."""
    shown, left = [], CARRIED
    for address in addresses:
        left -= len(address) + 1
        if left < 0:
            break
        shown.append(address)
    return shown


def _writing(event: Event) -> Writing:
    """As Gmail tells it now, else as it told when the card was drawn."""
    if event.writing is not None:
        return event.writing
    to, cc, bcc = (_lines(event.params.get(name, "")) for name in ("_to", "_cc", "_bcc"))
    return Writing(to, cc, bcc, event.params.get("_subject", ""))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(one for one in text.split("\n") if one)
