"""The compose form as it stands: from the address that opened it, from a queued mail, or from what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time

from flask import abort, request

from scheduler import letters, outbox, placeholders, replies, rich_text, snippets, writing
from scheduler.letters import Attachment, Letter
from scheduler.local_time import LateRule
from scheduler.outbox import About, Guard, ScheduledEmail, Zone
from scheduler.timing import MOST_DAYS, Asked, Timing
from scheduler.writing import Written
from tracker import boxes, contacts, filing, mailboxes, reading_log
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.mailboxes import Mailbox
from tracker.messages import Message
from tracker.web import mails
from tracker.web.forms import Refused, text
from tracker.web.frame import db, now, user, viewer
from webhooks import tracking

READ_BY = "reply"  #: an answer repeats all of the mail: whoever begins one has read it
KEEP = "keep"  #: when a queued mail is edited: it goes when it was to go
LINE = 20_000  # characters of To, Cc or Bcc
TOO_LONG = f"It is too long: a mail has at most {rich_text.MAX_HTML:,} characters; attach the rest as a file"


@dataclass(slots=True)
class Sheet:
    """What the form shows and sends."""

    own: Sequence[Mailbox]
    mailbox: Mailbox
    box: Box | None = None
    message: Message | None = None  #: what is answered
    everybody: bool = False
    email: ScheduledEmail | None = None  #: what is edited
    letter: Letter | None = None  #: what it says now
    to: str = ""
    cc: str = ""
    bcc: str = ""
    subject: str = ""
    html: str = ""  #: cleaned, without the quotation
    quote: str = ""
    with_quote: bool = True
    asked: str = Asked.NINE.value
    at: str = "09:00"
    on: str = ""
    days: str = "3"
    working_days: bool = True
    late: str = LateRule.MORNING.value
    separate: bool = False
    guards_off: frozenset[Guard] = field(default_factory=frozenset)
    kept: tuple[int, ...] = ()  #: which files of `letter` stay
    track_opens: bool | None = None  #: none: as the mailbox has it
    track_clicks: bool | None = None

    @property
    def plain(self) -> str:
        """The text for those without scripts."""
        return rich_text.to_plain(self.html)

    @property
    def for_editor(self) -> str:
        """The text for the editor: our policy refuses styles in elements, and reports them."""
        return unstyled(self.html)

    @property
    def quote_shown(self) -> str:
        """The quotation as the page shows it."""
        return unstyled(self.quote)

    @property
    def title(self) -> str:
        """What is being done."""
        if self.email is not None:
            return "Edit a queued mail"
        if self.message is not None:
            return "Reply to all" if self.everybody else "Reply"
        return "Write a mail"

    def conversation(self) -> Conversation | None:
        """The conversation that an answer belongs to."""
        if self.email is not None and self.email.conversation_id is not None:
            return db().get(Conversation, self.email.conversation_id)
        return db().get(Conversation, self.message.conversation_id) if self.message is not None else None

    def timing(self) -> Timing:
        """When it is to go. Raises `Refused`."""
        if self.asked not in set(Asked):
            raise Refused({"when": "Choose when it goes"})
        return Timing(
            asked=Asked(self.asked),
            at=_time(self.at),
            on=_date(self.on),
            days=_days(self.days) if self.asked == Asked.DAYS else 0,
            working_days=self.working_days,
            late=LateRule(self.late) if self.late in set(LateRule) else LateRule.MORNING,
        )

    def written(self, files: Sequence[Attachment] = ()) -> Written:
        """What the form says. Raises `LetterError`."""
        if len(request.form.get("body", "")) > rich_text.MAX_HTML:  # what is shown of it is cut there
            raise letters.LetterError("body", TOO_LONG)
        before = self.letter.attachments if self.letter is not None else ()
        stay = [one for number, one in enumerate(before) if number in self.kept]
        made = Written(
            to=writing.addresses("to", self.to),
            cc=writing.addresses("cc", self.cc),
            bcc=writing.addresses("bcc", self.bcc),
            subject=self.subject,
            html=self.html,
            quote=self.quote if self.with_quote else "",
            files=(*stay, *files),
            separate=self.separate,
        )
        if self.letter is not None:
            return replace(made, in_reply_to=self.letter.in_reply_to, references=self.letter.references)
        if self.message is None:
            return made
        mail = writing.original(db(), self.message)
        return replace(made, in_reply_to=mail.message_id, references=replies.references(mail))

    def about(self) -> About:
        """What it belongs to."""
        message = self.message
        thread = writing.thread_in(db(), self.mailbox, message) if message is not None else None
        return About(
            box=self.box, conversation=self.conversation(), reply_thread_id=thread, guards_off=self.guards_off,
            track_opens=self.track_opens, track_clicks=self.track_clicks,
        )  # fmt: skip


def unstyled(markup: str) -> str:
    """Cleaned HTML as it may stand in a page of ours."""
    return markup.replace(f' style="{rich_text.QUOTATION}"', "")


def _time(given: str) -> time:
    try:
        return time.fromisoformat(given).replace(second=0, microsecond=0, tzinfo=None)
    except ValueError:
        raise Refused({"when": "Give the time as 09:00"}) from None


def _date(given: str) -> date | None:
    try:
        return date.fromisoformat(given) if given else None
    except ValueError:
        raise Refused({"when": "Give the day as 2026-11-24"}) from None


def _days(given: str) -> int:
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:6]) <= MOST_DAYS:
        raise Refused({"when": f"Give a number of days from 1 to {MOST_DAYS}"})
    return int(given)


# -- the beginning


def opened() -> Sheet | None:
    """The form as its address asks for it: `box`, `contact`, `to`, `reply` with `all`, `template`. None without a
    mailbox to send from."""
    asked = request.args
    message = _message(asked.get("reply", ""))
    own = mailboxes.of_user(db(), user().id)
    mailbox = writing.best_mailbox(db(), own, message)
    if mailbox is None:
        return None
    sheet = Sheet(own, mailbox, box=_box(asked.get("box", ""), message), message=message)
    if message is not None:
        _answer(sheet, everybody="all" in asked)
    else:
        sheet.to = _first_recipients(sheet, asked.get("contact", ""), asked.get("to", ""))
    if asked.get("template"):
        use_template(sheet, asked["template"])
    return sheet


def _answer(sheet: Sheet, *, everybody: bool) -> None:
    assert sheet.message is not None
    begun = writing.answer(db(), user(), sheet.message, everybody=everybody)
    reading_log.opened(db(), viewer(), [sheet.message.id], now(), door=READ_BY)
    sheet.everybody, sheet.subject, sheet.quote = everybody, begun.subject, begun.quote
    sheet.to, sheet.cc = writing.in_line(begun.to), writing.in_line(begun.cc)


def _first_recipients(sheet: Sheet, contact_key: str, to: str) -> str:
    if to:
        return to.replace("\x00", "")[:LINE]
    if contact_key:
        contact = contacts.by_key(db(), viewer().team_id, contact_key[:100]) or abort(404)
        return _of_contacts([contact])
    return _of_contacts(sheet.box.contacts[:1]) if sheet.box is not None else ""


def _of_contacts(found: Sequence[contacts.Contact]) -> str:
    main = [(one.name, one.addresses[0].address) for one in found if one.addresses]
    return writing.in_line([letters.address(name, spec) for name, spec in main])


def edited(email: ScheduledEmail, letter: Letter) -> Sheet:
    """The form of a mail that is queued."""
    own = mailboxes.of_user(db(), user().id)
    mailbox = next((one for one in own if one.id == email.mailbox_id), None) or abort(404)
    html, quote = replies.split(letter.html or rich_text.from_plain(letter.text))
    said = placeholders.escaped  # it was filled in when it was queued, and is not a second time
    when = outbox.when_of(email)
    return Sheet(
        own=[mailbox], mailbox=mailbox, box=db().get(Box, email.box_id) if email.box_id else None,
        email=email, letter=letter, to=writing.in_line(letter.to), cc=writing.in_line(letter.cc),
        bcc=writing.in_line(letter.bcc), subject=said(letter.subject), html=said(html), quote=quote, asked=KEEP,
        at=f"{when.wall:%H:%M}", on=f"{when.wall:%Y-%m-%d}" if when.rule != Zone.NOW else "",
        working_days=email.working_days, late=email.late_rule,
        guards_off=frozenset(Guard(one) for one in email.guards_off if one in set(Guard)),
        kept=tuple(range(len(letter.attachments))),
        track_opens=email.track_opens, track_clicks=email.track_clicks,
    )  # fmt: skip


# -- what was sent


def sent() -> Sheet:
    """The form as it was sent for a new mail."""
    message = _message(text("reply"))
    own = mailboxes.of_user(db(), user().id)
    chosen = text("mailbox")
    mailbox = next((one for one in own if one.key == chosen), None) if chosen else (own[0] if own else None)
    if mailbox is None:
        abort(404)
    sheet = Sheet(own, mailbox, box=_box(text("box"), message), message=message, everybody="all" in request.form)
    if message is not None:
        sheet.quote = writing.quoted(db(), writing.original(db(), message))
        reading_log.opened(db(), viewer(), [message.id], now(), door=READ_BY)
    return filled(sheet)


def filled(sheet: Sheet) -> Sheet:
    """A form with what was typed into it."""
    form = request.form
    sheet.to, sheet.cc, sheet.bcc = (text(name, LINE) for name in ("to", "cc", "bcc"))
    sheet.subject = " ".join(rich_text.plain(text("subject", 2_000)).split())
    sheet.html = body()
    sheet.with_quote = "quote" in form
    sheet.asked, sheet.at, sheet.on = text("when", 20), text("at", 20) or "09:00", text("on", 20)
    sheet.days, sheet.late = text("days", 10), text("late", 20)
    sheet.working_days, sheet.separate = "working_days" in form, text("each") == "1"
    sheet.guards_off = frozenset(guard for guard in Guard if guard.value not in form.getlist("guard"))
    sheet.kept = tuple(
        int(one) for one in form.getlist("keep") if one.isascii() and one.isdigit() and len(one) < 4
    )
    if "tracking" in form:
        sheet.track_opens, sheet.track_clicks = "track_opens" in form, "track_clicks" in form
    return sheet


def body() -> str:
    """The text of a form: HTML of the editor, or plain text of those without scripts; cleaned.

    What was copied from a tracked mail leads where it led: nobody's reads are another's.
    """
    typed = request.form.get("body", "").replace("\x00", "")[: rich_text.MAX_HTML]
    rich = request.form.get("rich") == "1"
    return tracking.strip(db(), placeholders.mended(typed) if rich else rich_text.from_plain(typed))


def files() -> list[Attachment]:
    """The files that were sent along."""
    given = [one for one in request.files.getlist("files") if one.filename]
    return [Attachment(one.filename or "file", one.mimetype or "", one.read()) for one in given]


def use_template(sheet: Sheet, key: str) -> None:
    """Put a template in place of the text; an answer keeps its subject."""
    template = snippets.by_key(db(), viewer(), key[:100]) or abort(404)
    sheet.html = template.html
    if template.subject and sheet.message is None:
        sheet.subject = template.subject


def _message(key: str) -> Message | None:
    if not key:
        return None
    return mails.message(db(), viewer(), key[:100].replace("\x00", "")) or abort(404)


def _box(key: str, message: Message | None) -> Box | None:
    if key:
        found = boxes.by_key(db(), viewer().team_id, key[:100].replace("\x00", ""))
        return found if found is not None and found.deleted_at is None else abort(404)
    return filing.first_box(db(), message.conversation_id) if message is not None else None
