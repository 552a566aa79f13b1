"""A mail of the story as the bytes that a mail server would hand on (RFC 5322), and answers to real mail."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parsedate_to_datetime
from zoneinfo import ZoneInfo

from gmail_sync.sandbox.demo import attachments
from gmail_sync.sandbox.demo.bodies import Body, Quotation
from gmail_sync.sandbox.demo.languages import attribution, reply_subject
from gmail_sync.sandbox.demo.moments import last_working_day, working_days_after
from gmail_sync.sandbox.demo.people import Person
from gmail_sync.sandbox.demo.story import Attachment, Invitation, Mail, Story

#: How many mails back a mail quotes.
_QUOTED = 3


def compose(story: Story, mail: Mail, now: datetime) -> bytes:
    """*mail*, as it was sent before a demo that starts at *now* (aware).

    The Date header carries the writer's own UTC offset at that moment.
    """
    sender = story.person(mail.sender)
    quotation = _quote(story, mail.answers, sender, now) if mail.answers else None
    body = Body(mail.text, mail.closing, mail.signature, quotation)
    message = _envelope(sender, sent_at(story, mail, now), mail.subject, mail.message_id)
    message["To"] = [_address(story, address) for address in mail.to]
    if mail.cc:
        message["Cc"] = [_address(story, address) for address in mail.cc]
    _thread(message, _ancestors(mail))
    for name, value in mail.headers.items():
        message[name] = value
    _fill(message, body, sender, mail.html, mail.html_only)
    if mail.invitation:
        _invite(message, mail, sender, now)
    for attachment in mail.attachments:
        _attach(message, attachment)
    return bytes(message)


def sent_at(story: Story, mail: Mail, now: datetime) -> datetime:
    """When *mail* was sent, in its writer's zone."""
    return mail.at.resolve(now, story.person(mail.sender).zone)


def answer(
    original: EmailMessage,
    sender: Person,
    text: str,
    *,
    at: datetime,
    message_id: str,
    automatic: bool = False,
) -> bytes:
    """The answer of *sender* to *original*, sent at *at*: to its writer, and to its other recipients in Cc.

    An *automatic* one goes to the writer alone, quotes nothing and says what it is (RFC 3834 section 5).
    """
    subject = reply_subject(str(original.get("subject", "")))
    message = _envelope(sender, at.astimezone(sender.zone), subject, message_id)
    writer = addresses(original, "reply-to") or addresses(original, "from")
    others = [*addresses(original, "to"), *addresses(original, "cc")]
    named = {sender.address.casefold(), *(address.addr_spec.casefold() for address in writer)}
    message["To"] = writer
    copied = [address for address in others if address.addr_spec.casefold() not in named]
    if copied and not automatic:
        message["Cc"] = copied
    _thread(message, references(original) + message_ids(original, "message-id"))
    if automatic:
        message["Auto-Submitted"] = "auto-replied"
        message["Precedence"] = "bulk"
    closing = sender.closing(sender.language) or sender.name
    quotation = None if automatic else _quote_original(original, sender)
    _fill(message, Body(text, "" if automatic else closing, quotation=quotation), sender)
    return bytes(message)


def read(raw: bytes) -> EmailMessage:
    """*raw* as an EmailMessage with structured headers."""
    return message_from_bytes(raw, policy=policy.SMTP)


def addresses(message: EmailMessage, header: str) -> list[Address]:
    """The addresses in the *header* fields of *message*."""
    return [address for field in message.get_all(header, []) for address in field.addresses]


def message_ids(message: EmailMessage, header: str) -> list[str]:
    """The Message-IDs in a *header* such as References, in order."""
    return str(message.get(header, "")).split()


def references(message: EmailMessage) -> list[str]:
    """The Message-IDs of what *message* answers, the oldest first."""
    return message_ids(message, "references") or message_ids(message, "in-reply-to")


def _envelope(sender: Person, at: datetime, subject: str, message_id: str) -> EmailMessage:
    """A message with the headers that every mail has."""
    message = EmailMessage(policy=policy.SMTP)
    message["Message-ID"] = message_id
    message["Date"] = format_datetime(at)
    message["From"] = Address(sender.name, addr_spec=sender.address)
    message["Subject"] = subject
    return message


def _address(story: Story, address: str) -> Address:
    return Address(story.person(address).name, addr_spec=address)


def _ancestors(mail: Mail) -> list[str]:
    """The Message-IDs of what *mail* answers, the oldest first."""
    return [*_ancestors(mail.answers), mail.answers.message_id] if mail.answers else []


def _thread(message: EmailMessage, ancestors: list[str]) -> None:
    """Make *message* an answer to the last of *ancestors* (RFC 5322 section 3.6.4)."""
    if ancestors:
        message["In-Reply-To"] = ancestors[-1]
        message["References"] = " ".join(ancestors)


def _quote(story: Story, mail: Mail, reader: Person, now: datetime, depth: int = _QUOTED) -> Quotation:
    """*mail* as the program of *reader* quotes it, with what it quotes itself."""
    writer = story.person(mail.sender)
    at = mail.at.resolve(now, writer.zone).astimezone(reader.zone)
    inner = _quote(story, mail.answers, writer, now, depth - 1) if mail.answers and depth > 1 else None
    said = Body(mail.text, mail.closing, mail.signature).said()
    return Quotation(attribution(reader.language, at, writer.name, writer.address), said, inner)


def _quote_original(original: EmailMessage, reader: Person) -> Quotation:
    """A real mail as the program of *reader* quotes it."""
    writer = addresses(original, "from")[0]
    at = _date(original, reader.zone)
    part = original.get_body(("plain",))
    text = str(part.get_content()).strip() if part else ""
    name = writer.display_name or writer.addr_spec
    return Quotation(attribution(reader.language, at, name, writer.addr_spec), text)


def _date(original: EmailMessage, zone: ZoneInfo) -> datetime:
    """The Date of *original* in *zone*; of a mail without one, the epoch."""
    try:
        return parsedate_to_datetime(str(original["date"])).astimezone(zone)
    except ValueError:
        return datetime.fromtimestamp(0, zone)


def _fill(message: EmailMessage, body: Body, sender: Person, html: str = "", html_only: bool = False) -> None:
    """Give *message* its text, and the HTML that the story or the sender's program has."""
    if html_only:
        message.set_content(html, subtype="html", charset="utf-8")
        return
    text = body.plain()
    message.set_content(text, charset=sender.charset if _fits(text, sender.charset) else "utf-8")
    if html or sender.html:
        message.add_alternative(html or body.html(), subtype="html", charset="utf-8")


def _fits(text: str, charset: str) -> bool:
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        return False
    return True


def _attach(message: EmailMessage, attachment: Attachment) -> None:
    if attachment.kind == "pdf":
        content, kind = attachments.pdf(attachment.lines), ("application", "pdf")
    else:
        content, kind = attachments.png(attachment.seed), ("image", "png")
    message.add_attachment(content, maintype=kind[0], subtype=kind[1], filename=attachment.name)


def _invite(message: EmailMessage, mail: Mail, sender: Person, now: datetime) -> None:
    """Add the meeting as an iMIP request (RFC 6047 section 2): one more alternative, text/calendar."""
    assert mail.invitation is not None
    calendar = "\r\n".join(_calendar(mail, mail.invitation, sender, now)) + "\r\n"
    message.add_alternative(calendar, subtype="calendar", charset="utf-8", params={"method": "REQUEST"})


def _calendar(mail: Mail, meeting: Invitation, sender: Person, now: datetime) -> Iterable[str]:
    """The lines of the meeting as an iCalendar object (RFC 5545)."""
    day = working_days_after(last_working_day(now), meeting.in_days)
    start = datetime.fromisoformat(f"{day.isoformat()}T{meeting.clock}").replace(tzinfo=sender.zone)
    yield from ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Almanac//Calendar 4.2//EN", "METHOD:REQUEST")
    yield from ("BEGIN:VEVENT", f"UID:{mail.message_id.strip('<>')}", "SEQUENCE:0", "STATUS:CONFIRMED")
    yield f"DTSTAMP:{_utc(mail.at.resolve(now, sender.zone))}"
    yield f"DTSTART:{_utc(start)}"
    yield f"DTEND:{_utc(start + timedelta(minutes=meeting.minutes))}"
    yield f"SUMMARY:{meeting.summary}"
    yield f"LOCATION:{meeting.location}"
    yield f"ORGANIZER:mailto:{sender.address}"
    for address in mail.recipients:
        yield f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{address}"
    yield from ("END:VEVENT", "END:VCALENDAR")


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
