"""The draft that somebody is writing in Gmail, found: an add-on learns whom it goes to, not which one it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gmail_sync import drafts
from gmail_sync.client import Gmail
from gmail_sync.errors import GmailError, NeedsAttention, NotFound, QuotaWait
from scheduler import preparing
from scheduler.outbox import Found
from scheduler.post import Post
from tracker.addresses import Address, parse_addresses
from tracker.mailboxes import Mailbox
from tracker.panel import Asked, Refused, Writing
from webhooks import tracking_mime

T = TypeVar("T")

NEWEST = 10  #: drafts that are looked at: what is being written was saved just now
PATIENCE = 2.0  # seconds for the mailbox's quota; Google waits half a minute for us
MOST_PEOPLE = 500  #: recipients of one mail that are read
CONNECT = "Connect this mailbox in Tracker first"
NOBODY = "Say first whom it goes to, then press again"
NOT_SAVED = (
    "Gmail has not saved your draft yet; wait a second and press again. "
    "If you changed whom it goes to meanwhile, open this panel anew"
)
GONE = "This draft is gone from Gmail; look again"


@dataclass(frozen=True, slots=True)
class People:
    """Whom a mail goes to, as it is being written."""

    to: Sequence[Address] = ()
    others: Sequence[Address] = ()  #: in Cc and Bcc

    @property
    def everybody(self) -> list[Address]:
        """Each once, the main one first."""
        return list({one.normalized: one for one in reversed([*self.to, *self.others])}.values())[::-1]


def people(writing: Writing | None) -> People:
    """The addresses of a mail that is being written; what is none is left out."""
    if writing is None:
        return People()
    to, others = (
        parse_addresses(list(given)[:MOST_PEOPLE]) for given in (writing.to, (*writing.cc, *writing.bcc))
    )
    return People(tuple(to), tuple(others))


def mailbox(asked: Asked) -> Mailbox:
    """The mailbox that somebody writes in. Raises `Refused`."""
    if asked.mailbox is None:
        raise Refused(CONNECT)
    return asked.mailbox


@dataclass(frozen=True, slots=True)
class Candidates:
    """The drafts that may be the one that is being written, newest first."""

    drafts: Sequence[Found]
    alike: bool = True  #: they have its subject, too, as far as Gmail told it

    @property
    def only(self) -> Found | None:
        """The one, if there can be no doubt."""
        return self.drafts[0] if self.alike and len(self.drafts) == 1 else None


def written(post: Post, asked: Asked) -> Candidates:
    """The drafts that may be the one that is being written. Commits what was done so far, and asks Gmail.

    Those to the same people with its subject; if there is none, those to the same people: the subject may have
    been changed since Gmail told it. Raises `Refused`: no recipient yet, none saved, no answer.
    """
    own, wanted = mailbox(asked), {one.normalized for one in people(asked.writing).everybody}
    if not wanted:
        raise Refused(NOBODY)
    found = [one for one in ask(post, asked, own, _newest) if set(one.recipients) == wanted]
    if not found:
        raise Refused(NOT_SAVED)
    subject = _plain(asked.writing.subject if asked.writing else "")
    alike = [one for one in found if not subject or _plain(one.subject) == subject]
    return Candidates(alike or found, bool(alike))


def _newest(gmail: Gmail) -> list[Found]:
    listed, _ = drafts.page(gmail, limit=NEWEST)
    known = drafts.headers(gmail, [one.message_id for one in listed])
    return [preparing.found(one, known[one.message_id]) for one in listed if one.message_id in known]


def _plain(subject: str) -> str:
    return " ".join(subject.split())


def one(post: Post, asked: Asked, draft_id: str) -> Found:
    """A draft of the mailbox by its id. Commits what was done so far, and asks Gmail. Raises `Refused`."""

    def look(gmail: Gmail) -> Found:
        draft = drafts.standing(gmail, draft_id)
        known = drafts.headers(gmail, [draft.message_id]) if draft is not None else {}
        if draft is None or draft.message_id not in known:
            raise NotFound("gone")
        return preparing.found(draft, known[draft.message_id])

    return ask(post, asked, mailbox(asked), look)


def html(post: Post, asked: Asked) -> str:
    """What the draft that is being written says, as HTML; empty where it can't be told which one it is."""
    try:
        found = written(post, asked).only
        if found is None:
            return ""
        draft_id = found.draft_id
        raw = ask(post, asked, mailbox(asked), lambda gmail: drafts.read(gmail, draft_id))
    except Refused:
        return ""
    part = tracking_mime.html_part(raw)
    return part.html if part is not None else ""


def ask(post: Post, asked: Asked, own: Mailbox, question: Callable[[Gmail], T]) -> T:
    """Ask Gmail with nothing held open. Raises `Refused`, in words that say what to do."""
    asked.release()
    try:
        return preparing.ask_gmail(post, own.id, question, patience=PATIENCE)
    except NotFound:
        raise Refused(GONE) from None
    except GmailError as error:
        raise Refused(in_words(error)) from None


def in_words(error: GmailError) -> str:
    """What went wrong at Gmail, and what to do."""
    if isinstance(error, NeedsAttention):
        return str(error)
    if isinstance(error, QuotaWait):
        seconds = max(1, round(error.retry_after))
        return f"Gmail asks us to wait; press again in {seconds} seconds"
    return "Gmail does not answer just now; press again in a moment"
