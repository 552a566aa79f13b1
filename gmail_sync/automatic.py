"""Whether a person wrote a message or a machine did, and by which sign.

Pure. Only what every copy of the message carries counts: no Received, Return-Path or other header that a hop
adds, and no label, so that two mailboxes come to the same answer.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gmail_sync.mime_headers import Headers, parameter
from tracker.addresses import Address

_NO_REPLY = re.compile(
    r"(?:.*[-_.+])?(?:no|not|do[-_.]?not|dont|never)[-_.]?reply(?:[-_.+].*)?"
    r"|(?:noreply|donotreply|no-?responder|nao-?responda|ne-?pas-?repondre|nicht-?antworten|keine-?antwort).*"
    r"|(?:.*[-_.])?notifications?|newsletters?|alerts?|bounces?(?:[-_.+].*)?",
)
_DAEMONS = frozenset(("mailer-daemon", "postmaster", "mail-daemon", "mdaemon"))
_AUTO_REPLY_SUBJECT = re.compile(
    r"\s*(?:(?:automatic|auto|automated)[- ]?reply|auto[- ]?response|out of (?:the )?office(?: auto[- ]?reply)?"
    r"|automatische (?:antwort|antwoord)|automatisch antwoord|abwesenheits(?:notiz|meldung|benachrichtigung)"
    r"|réponse automatique|respuesta automática|risposta automatica|resposta automática|automatiskt svar"
    r"|autosvar|automatisk svar|automatyczna odpowiedź|автоответ|автоматический ответ|自動返信|自动回复|자동 회신)"
    r"\s*[:\uff1a]",
    re.IGNORECASE,
)
_AWAY_SUBJECT = re.compile(
    r"\s*(?:out of (?:the )?office|automatic reply|auto[- ]?reply|abwesen|réponse automatique|away from)",
    re.IGNORECASE,
)
_AUTO_REPLY_HEADERS = (
    "x-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "x-auto-reply",
    "auto-reply",
    "x-vacation",
)
_BULK_HEADERS = (
    ("list-id", "List-Id"),
    ("list-unsubscribe", "List-Unsubscribe"),
    ("list-post", "List-Post"),
    ("feedback-id", "Feedback-ID"),
    ("x-campaign-id", "X-Campaign-ID"),
    ("x-mailchimp-campaign-id", "X-MailChimp-Campaign-ID"),
)
_REPORTS = {"delivery-status": "delivery report", "disposition-notification": "read receipt"}


class Automatic(NamedTuple):
    """The sign that a machine wrote it, in words (None for a person's mail), and whether it is an auto-answer.

    An auto-answer (out of office, delivery report, read receipt) comes back because of a mail of ours, but
    must never count as an answer.
    """

    reason: str | None
    auto_reply: bool


def judge(
    headers: Headers, sender: Address | None, subject: str, mime_type: str, calendars: tuple[str, ...]
) -> Automatic:
    """Judge a message by its headers, its subject (decoded) and its calendar parts.

    Sources: RFC 3834 (Auto-Submitted), RFC 6522 (multipart/report), RFC 2919 and 2369 (List-*), RFC 5546
    (METHOD:REPLY), Microsoft's MS-OXCMAIL (X-Auto-Response-Suppress); Precedence is custom, never standardised.
    """
    auto_reply = _auto_reply(headers, sender, subject, mime_type)
    if auto_reply:
        return Automatic(auto_reply, auto_reply=True)
    return Automatic(_machine(headers, sender, calendars), auto_reply=False)


def _auto_reply(headers: Headers, sender: Address | None, subject: str, mime_type: str) -> str | None:
    """The sign that a machine answered, or None."""
    if mime_type == "multipart/report":
        kind = (parameter(headers.first("content-type"), "report-type") or "").strip().lower()
        return _REPORTS.get(kind, "report")
    if "x-failed-recipients" in headers or (sender and _local_part(sender) in _DAEMONS):
        return "delivery report"
    submitted = _token(headers, "auto-submitted")
    if submitted == "auto-replied":
        return "Auto-Submitted: auto-replied"
    for name in _AUTO_REPLY_HEADERS:
        if name in headers and _token(headers, name) not in ("no", "false", "0"):
            return name.title()
    precedence = _token(headers, "precedence")
    if precedence in ("auto_reply", "auto-reply"):
        return f"Precedence: {precedence}"
    if _AUTO_REPLY_SUBJECT.match(subject):
        return "subject of an automatic reply"
    # Exchange marks its out-of-office mail "auto-generated", as it marks other mail of its own.
    is_marked = submitted.startswith("auto-") or "x-auto-response-suppress" in headers
    return "out-of-office reply" if is_marked and _AWAY_SUBJECT.match(subject) else None


def _machine(headers: Headers, sender: Address | None, calendars: tuple[str, ...]) -> str | None:
    """The sign that a machine wrote without having been asked, or None."""
    submitted = _token(headers, "auto-submitted")
    if submitted and submitted != "no":
        return f"Auto-Submitted: {submitted}"
    for name, written in _BULK_HEADERS:
        if name in headers:
            return written
    precedence = _token(headers, "precedence")
    if precedence in ("bulk", "junk", "list"):
        return f"Precedence: {precedence}"
    if sender and _NO_REPLY.fullmatch(_local_part(sender)[:100]):
        return f"{_local_part(sender)[:60]}@ sender"
    if any(_is_answer(calendar) for calendar in calendars):
        return "calendar answer"
    suppressed = headers.first("x-auto-response-suppress")
    return "X-Auto-Response-Suppress" if suppressed and suppressed.strip().lower() != "none" else None


def _is_answer(calendar: str) -> bool:
    return re.search(r"^METHOD:(?:REPLY|COUNTER)\s*$", calendar[:4_096], re.MULTILINE | re.IGNORECASE) is not None


def _local_part(sender: Address) -> str:
    return sender.address.rpartition("@")[0].lower()


def _token(headers: Headers, name: str) -> str:
    """The header's first word in lower case, without parameters and comments; "" when it is missing."""
    value = (headers.first(name) or "").split(";")[0].split("(")[0].split()
    return value[0].lower()[:40] if value else ""
