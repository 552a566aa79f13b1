"""The side panel in a mail program: what rooms put into it, in words of our own. How it is drawn is the drawer's.

A room registers sections (what is shown of a thread, on the panel's home, beside a mail that is being written) and
actions (what a button or a form does). Nothing here knows Google's cards; `gmail_sync.addon` makes them of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from tracker.conversations import Conversation
from tracker.mailboxes import Mailbox
from tracker.people import User, Viewer


class Place(StrEnum):
    """Where a section is shown."""

    HOME = "home"  #: no mail is open
    THREAD = "thread"  #: a mail is open
    COMPOSE = "compose"  #: a mail is being written


class Refused(ValueError):
    """What was asked for can't be done; the text says why and what to do. Nothing of it is kept."""


# -- what is drawn


@dataclass(frozen=True, slots=True)
class Action:
    """What a button does: a registered action's name, and what it carries. The form's inputs come along."""

    name: str
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Button:
    """A button; it does something, or opens a page (`url`, whole)."""

    text: str
    action: Action | None = None
    url: str = ""
    filled: bool = False  #: the one that matters most
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Buttons:
    """Buttons beside each other."""

    buttons: Sequence[Button]


@dataclass(frozen=True, slots=True)
class Line:
    """A line with what it is about above and more below it; plain text, escaped when drawn."""

    text: str
    label: str = ""  #: above, small
    below: str = ""  #: below, small
    icon: str = ""  #: a name of Google's Material icons, such as "schedule"
    action: Action | None = None  #: the whole line is pressed
    url: str = ""
    button: Button | None = None  #: at its end


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text; plain, escaped when drawn."""

    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A thin line between two groups."""


@dataclass(frozen=True, slots=True)
class Option:
    """One of several to choose from."""

    value: str
    text: str
    chosen: bool = False


class Choosing(StrEnum):
    """How one chooses."""

    DROPDOWN = "dropdown"
    RADIO = "radio"
    SWITCHES = "switches"
    BOXES = "boxes"  #: several


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of a form; with `changed` it acts as soon as something else is chosen."""

    name: str
    label: str
    options: Sequence[Option]
    kind: Choosing = Choosing.DROPDOWN
    changed: Action | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A text input of a form."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    lines: bool = False  #: more than one
    suggestions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """A day, or a day and a time, of a form.

    What comes back in `Asked.given` is ISO, 2026-03-29 or 2026-03-29T09:00, as a wall time of whoever chose it.
    """

    name: str
    label: str
    value: str = ""  #: ISO, as above
    with_time: bool = False


Widget = Line | Paragraph | Rule | Buttons | Choice | Input | Moment


@dataclass(frozen=True, slots=True)
class Section:
    """Widgets that belong together. `folded` says how many are seen before the section is opened (None: all)."""

    title: str
    widgets: Sequence[Widget]
    folded: int | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A page of the panel. `name` tells cards apart when one goes back to one."""

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    name: str = ""
    primary: Button | None = None  #: stays in sight at the foot
    secondary: Button | None = None


# -- what is asked, and what comes of it


@dataclass(frozen=True, slots=True)
class Writing:
    """The mail that is being written, as far as the mail program tells."""

    to: Sequence[str] = ()  #: addresses
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the panel: who looks, at what, and what they said.

    Everything in `given` and `params` is bounded text from outside: keys in it are to be looked up with the
    viewer's rights each time.
    """

    viewer: Viewer
    user: User
    now: datetime
    mailbox: Mailbox | None  #: the account that the mail program is open in, if it is connected by this user
    conversation: Conversation | None  #: the open thread; None on the home, and while it is not synced yet
    message_id: int | None  #: the open mail, which the mailbox holds
    writing: Writing | None
    given: Mapping[str, Sequence[str]]  #: the form's inputs by name
    params: Mapping[str, str]  #: what the pressed button carried
    url: str  #: our own address, without a slash at its end, for links into Tracker
    zone: str  #: IANA zone of the mail program, else the user's
    db: Callable[[], Session]  #: the request's session, committed once when it succeeds
    release: Callable[[], None]  #: commits before a call over the network; what was read stays readable
    after_commit: Callable[[Callable[[], object]], None]  #: done once it is committed; harmless to lose

    def text(self, name: str) -> str:
        """What was typed into an input, without spaces around it; empty if nothing was."""
        return next(iter(self.given.get(name, ())), "").strip()


@dataclass(frozen=True, slots=True)
class Shown:
    """A card on top of the present one (`push`), or in its place."""

    card: Card
    says: str = ""  #: told in passing
    push: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """Done: the panel begins anew with what it shows now (thread, home, compose)."""

    says: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A page is opened in the browser."""

    url: str


@dataclass(frozen=True, slots=True)
class Inserted:
    """Something is put into the mail that is being written, where the cursor is."""

    html: str
    keep: bool = False  #: the sender can't edit it (a pixel)


Outcome = Shown | Done | Opened | Inserted
Build = Callable[[Asked], Sequence[Section]]  #: no section: nothing is shown
Do = Callable[[Asked], Outcome]  #: raises `Refused`


@dataclass(slots=True)
class Panel:
    """What rooms registered for one application."""

    sections: list[tuple[Place, int, Build]] = field(default_factory=list)
    actions: dict[str, Do] = field(default_factory=dict)

    def register_section(self, place: Place, build: Build, order: int = 50) -> None:
        """Add to a place what `build` makes; a lower `order` is further up."""
        self.sections.append((place, order, build))
        self.sections.sort(key=lambda one: one[1])

    def register_action(self, name: str, do: Do) -> None:
        """Add an action. Names are the room's and the verb, such as `outbox.send_at_nine`."""
        assert name not in self.actions, name
        self.actions[name] = do

    def sections_of(self, place: Place, asked: Asked) -> list[Section]:
        """All sections of a place, the topmost first."""
        return [section for one, _, build in self.sections if one is place for section in build(asked)]
