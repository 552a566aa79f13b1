"""The story that the demo tells, read from the TOML files under ``story/``.

People are named by a short key in the files and by their address here.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from gmail_sync.sandbox.demo.languages import reply_subject
from gmail_sync.sandbox.demo.moments import Moment
from gmail_sync.sandbox.demo.people import Cast, Organization, Person, Rep

_FOLDER = Path(__file__).parent / "story"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to attach: a ``pdf`` of *lines*, or a ``png`` drawn from *seed*."""

    name: str
    kind: str
    lines: tuple[str, ...] = ()
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Invitation:
    """A meeting, *in_days* working days after the start of the demo, at *clock* in its sender's zone."""

    summary: str
    in_days: int
    clock: str
    minutes: int
    location: str


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail of a conversation."""

    message_id: str
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    subject: str
    at: Moment
    text: str
    #: The mail that this one answers, if any.
    answers: Mail | None = None
    language: str = "en"
    #: Markup written out in the story (newsletters); otherwise made from the text where the sender has HTML.
    html: str = ""
    html_only: bool = False
    #: Whether the sender's closing, and the signature under it, are put under the text.
    closing: str = ""
    signature: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    invitation: Invitation | None = None
    starred: bool = False
    important: bool = False
    #: Further label names, system (``CATEGORY_UPDATES``) or the reps' own (``Trade fairs``).
    labels: tuple[str, ...] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """The addresses in To and Cc."""
        return self.to + self.cc


@dataclass(frozen=True, slots=True)
class Conversation:
    """Mails that belong together, oldest first."""

    key: str
    subject: str
    language: str
    mails: tuple[Mail, ...]
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in a currency (ISO 4217)."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Days:
    """A date, told in days from the start of the demo (negative: before it)."""

    count: int


FieldValue = str | Money | Days


@dataclass(frozen=True, slots=True)
class Box:
    """A deal or a contact, in a stage of a pipeline; *created_days* is how many days ago it was made, and
    *stage_days* how many days ago it came there."""

    name: str
    pipeline: str
    stage: str
    owner: str
    contacts: tuple[str, ...]
    conversations: tuple[str, ...]
    fields: Mapping[str, FieldValue]
    created_days: int
    stage_days: int


@dataclass(frozen=True, slots=True)
class Beat:
    """An answer that arrives while the demo runs; *automatic* for an out-of-office notice."""

    message_id: str
    sender: str
    answers: Mail
    conversation: str
    text: str
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """All of it."""

    team: str
    reps: tuple[Rep, ...]
    organizations: tuple[Organization, ...]
    people: tuple[Person, ...]
    conversations: tuple[Conversation, ...]
    boxes: tuple[Box, ...]
    beats: tuple[Beat, ...]
    #: What people say when a rep writes to them, by language.
    replies: Mapping[str, tuple[str, ...]]

    def person(self, address: str) -> Person:
        """The rep or outside person with *address*, in any letter case; KeyError if there is none."""
        wanted = address.casefold()
        for person in self.everyone():
            if person.address.casefold() == wanted:
                return person
        raise KeyError(address)

    def everyone(self) -> Iterator[Person]:
        """The reps, then the others."""
        yield from self.reps
        yield from self.people

    def mails(self) -> Iterator[Mail]:
        """Every mail, conversation by conversation."""
        for conversation in self.conversations:
            yield from conversation.mails

    def conversation(self, key: str) -> Conversation:
        """The conversation with *key*; KeyError if there is none."""
        for conversation in self.conversations:
            if conversation.key == key:
                return conversation
        raise KeyError(key)


def message_id(seed: str, domain: str) -> str:
    """The Message-ID (RFC 5322 section 3.6.4) that *seed* always gets in *domain*."""
    digest = hashlib.sha256(seed.encode()).hexdigest()
    return f"<{digest[:8]}.{digest[8:24]}@{domain}>"


def load(folder: Path = _FOLDER) -> Story:
    """Read the story from *folder*. Raises KeyError, TypeError or ValueError where it contradicts itself."""
    people = Cast(_read(folder / "people.toml"))
    conversations: dict[str, Conversation] = {}
    for path in sorted((folder / "conversations").glob("*.toml")):
        for table in _read(path)["conversation"]:
            if table["key"] in conversations:
                raise ValueError(f"two conversations are called {table['key']}")
            conversations[table["key"]] = _conversation(table, people)
    live = _read(folder / "live.toml")
    return Story(
        team=people.team,
        reps=people.reps,
        organizations=tuple(people.organizations.values()),
        people=people.others,
        conversations=tuple(conversations.values()),
        boxes=tuple(_box(table, people, conversations) for table in _read(folder / "boxes.toml")["box"]),
        beats=tuple(_beat(table, people, conversations) for table in live["beat"]),
        replies={language: tuple(text.strip() for text in texts) for language, texts in live["reply"].items()},
    )


def _read(path: Path) -> dict[str, Any]:
    """The table in the TOML file at *path*."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _conversation(table: dict[str, Any], people: Cast) -> Conversation:
    """A conversation, its mails linked to those they answer."""
    mails: list[Mail] = []
    for row in table["mail"]:
        mails.append(_mail(row, table, people, mails))
    return Conversation(
        table["key"], table["subject"], table["language"], tuple(mails), table.get("archived", False)
    )


def _mail(row: dict[str, Any], table: dict[str, Any], people: Cast, earlier: list[Mail]) -> Mail:
    """The next mail of the conversation *table*.

    It answers the mail before it, or the one whose number (from 1) ``answers`` gives; 0 answers none. Unless
    ``to`` is given, it goes to who wrote that mail, and unless ``cc`` is, to its other recipients.
    """
    sender = people[row["from"]]
    number = row.get("answers", len(earlier))
    parent = earlier[number - 1] if number else None
    to = people.addresses(row["to"]) if "to" in row else _answer_to(parent, sender.address)
    cc = people.addresses(row["cc"]) if "cc" in row else _answer_cc(parent, {*to, sender.address})
    written = sum(mail.sender == sender.address for mail in earlier)
    language = row.get("language", table["language"])
    invitation = row.get("invitation")
    return Mail(
        message_id=message_id(f"{table['key']} {len(earlier) + 1}", sender.domain),
        sender=sender.address,
        to=to,
        cc=cc,
        subject=row.get("subject") or (reply_subject(parent.subject) if parent else table["subject"]),
        at=Moment.parse(row["at"]),
        text=row["text"].strip(),
        answers=parent,
        language=language,
        html=row.get("html", ""),
        html_only=row.get("html_only", False),
        closing=sender.closing(language, written) if row.get("closing", True) else "",
        signature=sender.signature if written == 0 else "",
        headers=row.get("headers", {}),
        attachments=tuple(_attachment(item) for item in row.get("attach", ())),
        invitation=Invitation(**invitation) if invitation else None,
        starred=row.get("starred", False),
        important=row.get("important", False),
        labels=tuple(row.get("labels", ())),
    )


def _answer_to(parent: Mail | None, sender: str) -> tuple[str, ...]:
    """Whom a mail without ``to`` goes to: the writer of *parent*, or again its recipients."""
    if parent is None:
        raise ValueError("the first mail of a conversation needs `to`")
    return parent.to if parent.sender == sender else (parent.sender,)


def _answer_cc(parent: Mail | None, named: set[str]) -> tuple[str, ...]:
    """Whom else a mail without ``cc`` goes to: the recipients of *parent* who are not *named* already."""
    return tuple(address for address in parent.recipients if address not in named) if parent else ()


def _attachment(row: dict[str, Any]) -> Attachment:
    return Attachment(row["name"], row["kind"], tuple(row.get("lines", ())), row.get("seed", 1))


def _box(row: dict[str, Any], people: Cast, conversations: Mapping[str, Conversation]) -> Box:
    return Box(
        name=row["name"],
        pipeline=row["pipeline"],
        stage=row["stage"],
        owner=people[row["owner"]].address,
        contacts=people.addresses(row["contacts"]),
        conversations=tuple(conversations[key].key for key in row["conversations"]),
        fields={name: _field_value(value) for name, value in row.get("fields", {}).items()},
        created_days=row["created_days"],
        stage_days=row.get("stage_days", row["created_days"]),
    )


def _field_value(value: str | int | dict[str, Any]) -> FieldValue:
    """A number of days, an amount ``{amount = "1200.00", currency = "EUR"}``, or a text."""
    if isinstance(value, int):
        return Days(value)
    if isinstance(value, dict):
        return Money(Decimal(value["amount"]), value["currency"])
    return value


def _beat(row: dict[str, Any], people: Cast, conversations: Mapping[str, Conversation]) -> Beat:
    """A beat; it answers the last mail of its conversation."""
    sender = people[row["from"]]
    conversation = conversations[row["conversation"]]
    return Beat(
        message_id=message_id(f"beat {conversation.key} {sender.key}", sender.domain),
        sender=sender.address,
        answers=conversation.mails[-1],
        conversation=conversation.key,
        text=row["text"].strip(),
        automatic=row.get("automatic", False),
    )
