"""What there is to be told, over which channels, and what is on before anybody chooses. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Channel(StrEnum):
    """A way to be told. The outbound webhook will be another."""

    BELL = "bell"  #: the list behind the bell of the pages
    DESKTOP = "desktop"  #: Web Push, the open page, `tracker notify`
    EMAIL = "email"  #: the digest, if one is chosen


class Kind(StrEnum):
    """A thing worth knowing, as people switch it on and off."""

    READ = "read"
    READ_AGAIN = "read_again"
    CLICKED = "clicked"
    ANSWER = "answer"
    TROUBLE = "trouble"
    SENT = "sent"
    MENTION = "mention"
    TASK = "task"
    ASSIGNED = "assigned"
    MOVED = "moved"
    MOVED_BY_RULE = "moved_by_rule"
    MAILBOX = "mailbox"
    ACCESS_ASKED = "access_asked"
    ACCESS_ANSWERED = "access_answered"
    ANSWER_ASKED = "answer_asked"


#: What is about a mail: who may read it is told of it, without its box if that is not shown to them.
OF_MAIL = frozenset(
    {Kind.READ, Kind.READ_AGAIN, Kind.CLICKED, Kind.ANSWER, Kind.TROUBLE, Kind.SENT, Kind.ANSWER_ASKED}
)


@dataclass(frozen=True, slots=True)
class About:
    """What a kind is called, its symbol, and how it is told."""

    label: str
    icon: str  #: of static/icons.svg
    window: timedelta  #: more of the same within it adds to the row that was not seen yet
    urgent: bool = False  #: RFC 8030 §5.3: wakes a device that saves power
    desktop: bool = True  #: unless somebody chooses otherwise


HOUR = timedelta(hours=1)
ABOUT: dict[Kind, About] = {
    Kind.READ: About("My mail was read for the first time", "eye", HOUR, urgent=True),
    Kind.READ_AGAIN: About("My mail was read again after some days", "eye", HOUR, urgent=True),
    Kind.CLICKED: About("A link in my mail was clicked", "external", HOUR, urgent=True),
    Kind.ANSWER: About("An answer came in", "reply", timedelta(minutes=10), urgent=True),
    Kind.TROUBLE: About("My queued mail failed, was held back, or nobody knows whether it went", "alert", HOUR),
    Kind.SENT: About("My queued mail went out", "send", HOUR, desktop=False),
    Kind.MENTION: About("Somebody mentioned me", "at", timedelta(minutes=10), urgent=True),
    Kind.TASK: About("A task of mine is due", "task", HOUR, urgent=True),
    Kind.ASSIGNED: About("Somebody gave me a box", "person", HOUR),
    Kind.MOVED: About("Somebody moved a box of mine", "swap", HOUR),
    Kind.MOVED_BY_RULE: About("A rule moved a box of mine", "swap", HOUR, desktop=False),
    Kind.MAILBOX: About("My mailbox needs attention", "mailbox", HOUR),
    Kind.ACCESS_ASKED: About("Somebody asks to see mail of mine", "lock", HOUR),
    Kind.ACCESS_ANSWERED: About("My request to see mail was answered", "lock", HOUR),
    Kind.ANSWER_ASKED: About("Somebody asks me to answer a mail", "reply", HOUR, urgent=True),
}


def defaults(kind: Kind) -> frozenset[Channel]:
    """The channels of a kind before anybody chooses."""
    on = {Channel.BELL, Channel.EMAIL} | ({Channel.DESKTOP} if ABOUT[kind].desktop else set())
    return frozenset(on)
