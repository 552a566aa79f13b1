"""Letters: a mail that is to be sent, as the bytes of RFC 5322 and back.

Pure. Headers are written here rather than by Python's `email` (whose folding of encoded names has lost quotes in
several releases); bodies are that library's. No value can begin a header of its own: each becomes one line first.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser

import idna

from scheduler import rich_text
from tracker.addresses import Address, normalize, parse_addresses
from tracker.charsets import clean_line, decode_bytes, decode_words

#: Bytes of a message as it is sent, attachments in Base64 (https://support.google.com/mail/answer/6584).
LARGEST = 25 * 1024 * 1024
MOST_RECIPIENTS = 500  #: To, Cc and Bcc together (https://support.google.com/a/answer/166852)
SUBJECT_LIMIT = 900  #: characters; RFC 5322 §2.1.1 allows lines of 998
FILE_NAME_LIMIT = 150  #: characters
REFERENCES_LIMIT = 900  #: characters of References; see `trimmed`

_POLICY = policy.SMTP.clone(cte_type="7bit")
_WORD_BYTES = 45  # of UTF-8 in one encoded word: 60 characters of Base64 (RFC 2047 §2: at most 75 in all)
_LINE = 76
_PLAIN_WORDS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+|\"(?:[^\"\\\x00-\x1f\x7f]|\\[ -~])+\"")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]+|\[[A-Za-z0-9.:]+\]")
_ID = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")  # printable ASCII without < and >
_MIME_TYPE = re.compile(r"([a-z]{1,30})/([a-z0-9][a-z0-9.+_-]{0,90})")
_IN_PATH = re.compile(r"[\x00-\x1f\x7f/\\]+")


class LetterError(ValueError):
    """A letter can't be sent as it is; the text says why and what to do. `field` is where: to, cc, files …"""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes along."""

    name: str
    mime_type: str
    content: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail as a person wrote it. Date and Message-ID are Gmail's, which replaces the latter anyway."""

    from_: Address
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    subject: str = ""
    html: str = ""  #: cleaned by `rich_text.clean`; empty for a plain mail
    text: str = ""  #: the plain alternative
    attachments: tuple[Attachment, ...] = ()
    in_reply_to: str | None = None  #: a Message-ID without <>
    references: tuple[str, ...] = ()  #: Message-IDs without <>, the oldest first

    @property
    def recipients(self) -> tuple[Address, ...]:
        """To, Cc and Bcc."""
        return self.to + self.cc + self.bcc


def as_bytes(letter: Letter) -> bytes:
    """The message as it is handed to Gmail, Bcc among its headers.

    Raises `LetterError` for an address that mail can't carry, too many recipients, and a size past `LARGEST`.
    """
    if len(letter.recipients) > MOST_RECIPIENTS:
        raise LetterError("to", f"Gmail sends to at most {MOST_RECIPIENTS} recipients at once; split them up")
    headers = [
        _addresses("From", "from", (letter.from_,)),
        _addresses("To", "to", letter.to),
        _addresses("Cc", "cc", letter.cc),
        _addresses("Bcc", "bcc", letter.bcc),
        _header("Subject", _words(clean_line(letter.subject)[:SUBJECT_LIMIT])),
        _ids("In-Reply-To", (letter.in_reply_to,) if letter.in_reply_to else ()),
        _ids("References", trimmed(letter.references)),
    ]
    written = "".join(headers).encode("ascii") + _body(letter).as_bytes(policy=_POLICY)
    if len(written) > LARGEST:
        raise LetterError("files", too_large(len(written)))
    return written


def too_large(size: int) -> str:
    """That a message of so many bytes is too large, in words."""
    return (
        f"As it is sent, this mail has {size / 1e6:.1f} MB; Gmail takes {LARGEST // 1_048_576} MB, which are "
        "files of about 18 MB. Take a file out, or send a link to it"
    )


def sent_size(sizes: Iterable[int]) -> int:
    """About how many bytes files of these sizes take in Base64, with its line ends."""
    return sum(-(-size // 3) * 4 * 78 // 76 + 300 for size in sizes)


def trimmed(references: Sequence[str]) -> tuple[str, ...]:
    """References short enough for every server: the first, which names the thread, and the last ones."""
    known = list(dict.fromkeys(one for one in references if _ID.fullmatch(one) and len(one) <= 250))
    if sum(len(one) + 3 for one in known) <= REFERENCES_LIMIT:
        return tuple(known)
    room = REFERENCES_LIMIT - len(known[0]) - 3
    last: list[str] = []
    for one in reversed(known[1:]):
        room -= len(one) + 3
        if room < 0:
            break
        last.append(one)
    return (known[0], *reversed(last))


def mailable(address: Address) -> str:
    """The address as mail carries it, its domain in IDNA's ASCII form. Raises `ValueError` with the reason."""
    local, _, domain = address.address.rpartition("@")
    if not local.isascii():
        raise ValueError(f"{address.address} has letters before the @ that mail can't carry everywhere")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise ValueError(f"{domain} is no domain") from None
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain) or len(local) + len(domain) > 320:
        raise ValueError(f"{address.address} is no address")
    return f"{local}@{domain}"


def _addresses(name: str, field: str, addresses: Sequence[Address]) -> str:
    if not addresses:
        return ""
    try:
        written = [_mailbox(one) for one in addresses]
    except ValueError as error:
        raise LetterError(field, str(error)) from None
    return _header(name, ",\r\n ".join(written))


def _mailbox(address: Address) -> str:
    """One mailbox of an address list (RFC 5322 §3.4)."""
    spec, name = mailable(address), clean_line(address.name)
    if not name:
        return spec
    if not name.isascii() or "=?" in name:
        return f"{_encoded(name)} <{spec}>"
    if _PLAIN_WORDS.fullmatch(name):
        return f"{name} <{spec}>"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{spec}>'


def _words(text: str) -> str:
    """Unstructured text (RFC 5322 §2.2.1), encoded where it must be and folded."""
    if not text.isascii() or "=?" in text:
        return _encoded(text)
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _LINE - 12:
            lines.append(word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return "\r\n ".join(lines)


def _encoded(text: str) -> str:
    """Encoded words (RFC 2047), none of which splits a character."""
    words, piece = [], b""
    for char in text:
        raw = char.encode("utf-8", "replace")
        if len(piece) + len(raw) > _WORD_BYTES:
            words.append(piece)
            piece = b""
        piece += raw
    words.append(piece)
    return "\r\n ".join(f"=?utf-8?B?{base64.b64encode(word).decode('ascii')}?=" for word in words)


def _header(name: str, value: str) -> str:
    return f"{name}: {value}\r\n"


def _ids(name: str, ids: Sequence[str]) -> str:
    fit = [f"<{one}>" for one in ids if _ID.fullmatch(one) and len(one) <= 250]
    joined = "\r\n ".join(fit)
    return f"{name}: {joined}\r\n" if fit else ""


def _body(letter: Letter) -> EmailMessage:
    body = EmailMessage(_POLICY)
    body.set_content(rich_text.plain(letter.text), charset="utf-8")
    if letter.html:
        body.add_alternative(rich_text.plain(letter.html), subtype="html", charset="utf-8")
    for one in letter.attachments:
        main, sub = _type(one.mime_type)
        body.add_attachment(one.content, maintype=main, subtype=sub, filename=file_name(one.name))
    return body


def _type(given: str) -> tuple[str, str]:
    """A file's type; what would be read as parts of the mail goes as bytes (RFC 2046 §5)."""
    found = _MIME_TYPE.fullmatch(given.strip().lower())
    if found is None or found[1] in ("multipart", "message"):
        return "application", "octet-stream"
    return found[1], found[2]


def file_name(given: str) -> str:
    """A file's name without its path; never empty."""
    return clean_line(_IN_PATH.split(given)[-1])[-FILE_NAME_LIMIT:].strip(" .") or "file"


def read(raw: bytes) -> Letter:
    """A letter from a message's bytes, as Gmail hands out a draft: for editing it. Never raises.

    Pictures that stand in the text go along as attachments.
    """
    message = BytesParser(policy=policy.compat32).parsebytes(raw)
    headers: dict[str, list[str]] = {}
    for name, value in message.items():
        headers.setdefault(name.lower(), []).append(str(value))
    html, text, files = _contents(BytesParser(policy=policy.default).parsebytes(raw))
    senders = _read_addresses(headers, "from")
    replied = _read_ids(headers, "in-reply-to")
    return Letter(
        from_=senders[0] if senders else Address("", "", ""),
        to=_read_addresses(headers, "to"),
        cc=_read_addresses(headers, "cc"),
        bcc=_read_addresses(headers, "bcc"),
        subject=clean_line(decode_words(" ".join(headers.get("subject", ())))),
        html=html,
        text=text,
        attachments=tuple(files),
        in_reply_to=replied[0] if replied else None,
        references=_read_ids(headers, "references"),
    )


def _read_addresses(headers: dict[str, list[str]], name: str) -> tuple[Address, ...]:
    return tuple(parse_addresses(" ".join(one.split()) for one in headers.get(name, ())))


def ids_of(header: str) -> tuple[str, ...]:
    """The Message-IDs, without <>, of a References or In-Reply-To header."""
    return tuple(dict.fromkeys(_ID.findall(header)))


def _read_ids(headers: dict[str, list[str]], name: str) -> tuple[str, ...]:
    return ids_of(" ".join(headers.get(name, ())))


def _contents(message: MIMEPart) -> tuple[str, str, list[Attachment]]:
    """The HTML (cleaned), the text, and the files."""
    html, text, files = "", "", list[Attachment]()
    for part in message.walk():
        if part.is_multipart():
            continue
        kind, content = part.get_content_type(), part.get_payload(decode=True)
        raw = content if isinstance(content, bytes) else b""
        is_file = part.get_content_disposition() == "attachment" or part.get_filename() is not None
        if is_file or not kind.startswith("text/"):
            files.append(Attachment(file_name(str(part.get_filename() or "file")), kind, raw))
        elif kind == "text/html":
            html += rich_text.clean(_decoded(part, raw)).removesuffix("\n")
        else:
            text += rich_text.plain(_decoded(part, raw)).removesuffix("\n")
    return html, text or rich_text.to_plain(html), files


def _decoded(part: MIMEPart, raw: bytes) -> str:
    return decode_bytes(raw, part.get_content_charset())[0]


def address(name: str, spec: str) -> Address:
    """An address from its parts."""
    return Address(clean_line(name), spec, normalize(spec))
