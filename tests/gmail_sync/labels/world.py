"""What the tests of labels share: a mailbox at the sandbox with labels on, and what a rep does on a phone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from gmail_sync.labels import switch, wakes
from gmail_sync.labels.tables import Kind, Label, LabelMailbox, Shadow, Touch
from gmail_sync.sandbox import SandboxMailbox
from tests.gmail_sync.syncing import ALICE, Team, mail
from tests.tracker.domain import NOW, pipeline
from tracker import boxes, filing, people
from tracker.boxes import Box
from tracker.conversations import Conversation, Thread
from tracker.db import transaction
from tracker.filing import FILED, Filing
from tracker.mailboxes import Mailbox
from tracker.people import User, Viewer

numbers = itertools.count(1)
WRITES = (
    "labels.create", "labels.patch", "labels.delete", "messages.modify", "threads.modify", "messages.batchModify",
)  # fmt: skip


@dataclass
class Phone:
    """A mailbox whose owner labels on a phone, and a colleague at Tracker."""

    team: Team
    address: str = ALICE
    mailbox: Mailbox = field(init=False)
    syncs: int = 0

    def __post_init__(self) -> None:
        self.mailbox = self.team.connect(self.address)

    # -- in Gmail

    @property
    def box(self) -> SandboxMailbox:
        """The mailbox in Gmail."""
        return self.team.sandbox.mailbox(self.address)

    def thread(self, subject: str = "", messages: int = 1) -> str:
        """A thread arrives from somebody of its own, so that no rule files it; its id."""
        number = next(numbers)
        sender = f"anna@acme{number}.test"
        subject = subject or f"Topic {number}"
        first = self.box.insert(mail(sender, subject=subject, Message_ID=f"<{number}.0@x.test>"))
        thread = self.box.messages.get(first).short["threadId"]
        for more in range(1, messages):
            raw = mail(sender, subject=f"Re: {subject}", Message_ID=f"<{number}.{more}@x.test>")
            self.box.insert(raw, thread_id=thread)
        return str(thread)

    def label(self, thread_id: str, path: str) -> None:
        """Put a label on a thread; a new one is made, its parents too, as Gmail's own programs do."""
        pieces = path.split("/")
        for depth in range(1, len(pieces) + 1):
            id_ = self.box.labels.id_of("/".join(pieces[:depth]), create=True)
        self._change(thread_id, add=[str(id_)])

    def unlabel(self, thread_id: str, path: str) -> None:
        """Take a label off a thread."""
        self._change(thread_id, remove=[str(self.box.labels.id_of(path))])

    def _change(self, thread_id: str, add: list[str] | None = None, remove: list[str] | None = None) -> None:
        for message in self.box.messages.in_thread(thread_id):
            self.box.modify(message.short["id"], add or [], remove or [])

    def rename(self, path: str, to: str) -> None:
        """Rename a label in Gmail; those below it follow, as in Gmail's own programs."""
        for one in self.box.labels.all():
            if one["name"] == path or one["name"].startswith(f"{path}/"):
                self.box.labels.update(one["id"], {"name": to + one["name"][len(path) :]}, patch=True)

    def delete(self, path: str) -> None:
        """Delete a label in Gmail."""
        id_ = str(self.box.labels.id_of(path))
        self.box.labels.delete(id_)
        self.box.messages.drop_label(id_)

    def labels(self) -> dict[str, str | None]:
        """Gmail's labels that people made, with their background."""
        return {
            one["name"]: one.get("color", {}).get("backgroundColor")
            for one in self.box.labels.all()
            if one["type"] == "user"
        }

    def of_thread(self, thread_id: str) -> set[str]:
        """The labels of a thread, by name; all its messages carry the same."""
        paths = {one["id"]: one["name"] for one in self.box.labels.all() if one["type"] == "user"}
        found = {
            frozenset(paths[id_] for id_ in message.label_ids if id_ in paths)
            for message in self.box.messages.in_thread(thread_id)
        }
        return {name for names in found for name in names}

    # -- in Tracker

    def on(self) -> None:
        """Switch labels on, and let them come."""
        self.sync()
        with self.tracker() as (session, viewer):
            switch.on(session, viewer, self.mailbox, self.team.services.now())
        self.sync()

    def sync(self) -> None:
        """As a worker would, reading the log before."""
        wakes.read(self.team.services)
        self.syncs += 1
        self.team.sync(self.mailbox)

    def forget_list(self) -> None:
        """An hour passes: Gmail's labels are to be listed again."""
        with transaction(self.team.sessions) as session:
            session.get_one(LabelMailbox, self.mailbox.id).listed_at = None

    @contextmanager
    def tracker(self) -> Iterator[tuple[Session, Viewer]]:
        """Something that the mailbox's owner does in Tracker."""
        with transaction(self.team.sessions) as session:
            user = session.get_one(User, self.mailbox.user_id)
            yield session, people.viewer_of(user, "web")

    def a_box(self, name: str, *threads: str, into: str = "Sales") -> int:
        """A box with these threads; its id."""
        with self.tracker() as (session, viewer):
            made = boxes.create(session, viewer, pipeline(session, viewer.team_id, into), name, now=NOW)
            for thread_id in threads:
                filing.file(session, viewer, self.conversation(session, thread_id), made)
            return made.id

    def conversation(self, session: Session, thread_id: str) -> Conversation:
        """The conversation of a thread."""
        thread = session.get_one(Thread, (self.mailbox.id, thread_id))
        return session.get_one(Conversation, thread.conversation_id)

    def file(self, thread_id: str, box_id: int) -> None:
        """Put a thread into a box, in Tracker."""
        with self.tracker() as (session, viewer):
            filing.file(session, viewer, self.conversation(session, thread_id), session.get_one(Box, box_id))

    def take_out(self, thread_id: str, box_id: int) -> None:
        """Take a thread out of a box, in Tracker."""
        with self.tracker() as (session, viewer):
            filing.remove(session, viewer, self.conversation(session, thread_id), session.get_one(Box, box_id))

    def in_boxes(self, thread_id: str) -> set[str]:
        """The names of the boxes that a thread is in."""
        with self.team.sessions() as session:
            query = (
                select(Box.name)
                .join(Filing, Filing.box_id == Box.id)
                .join(Thread, Thread.conversation_id == Filing.conversation_id)
                .where(Thread.gmail_thread_id == thread_id, Filing.state == FILED, Box.deleted_at.is_(None))
            )
            return set(session.scalars(query))

    def written(self) -> int:
        """Calls that changed anything in Gmail."""
        calls = self.team.sandbox.stats.calls(self.address)
        return sum(calls.get(method, 0) for method in WRITES)

    def setting(self) -> LabelMailbox:
        """How labels are set."""
        with self.team.sessions() as session:
            return session.get_one(LabelMailbox, self.mailbox.id)

    def is_quiet(self) -> bool:
        """Whether another sync writes nothing and leaves nothing to do."""
        before = self.written()
        self.sync()
        with self.team.sessions() as session:
            left = session.scalar(select(Touch.heard_at).where(Touch.mailbox_id == self.mailbox.id).limit(1))
            pushing = session.scalar(
                select(Shadow.box_id).where(Shadow.mailbox_id == self.mailbox.id, Shadow.pushing.is_not(None))
            )
            former = session.scalar(select(Label.id).where(Label.former, Label.kind == Kind.BOX.value))
        return self.written() == before and left is None and pushing is None and former is None
