"""What stands around a batch of events: a few questions to the database, however many events there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import among
from tracker.events import Event
from tracker.filing import FILED, Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Message
from tracker.people import OwnAddress, User
from tracker.pipelines import Pipeline
from webhooks.bells import wishes
from webhooks.bells.wishes import NotificationSettings
from webhooks.tracks import TrackedEmail


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """A box, as far as telling needs it."""

    id: int
    owner_id: int | None
    pipeline: str  #: its key


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that came in."""

    conversation_id: int
    automatic: bool
    is_old: bool  #: it was sent before the mailbox was connected: the first reading found it


class Around:
    """Read once for all events of a batch."""

    def __init__(self, session: Session, happened: Sequence[Event]) -> None:
        self.session = session
        received = [one for one in happened if one.kind == "message.received"]
        self.tracked = self._tracked({str(one.data["tracked"]) for one in happened if one.data.get("tracked")})
        self.mailbox_owners, self._connected = self._mailboxes({one.mailbox_id for one in happened})
        self.mails = self._mails(received)
        self.filed = self._filed({mail.conversation_id for mail in self.mails.values()})
        self.writers = self._writers(received)
        self.boxes = self._boxes({one.box_id for one in happened})
        self.boxes |= {box.id: box for boxes in self.filed.values() for box in boxes}
        self._there = {
            Box: self._existing(Box.id, {one.box_id for one in happened} | set(self.boxes)),
            Conversation: self._existing(Conversation.id, self._conversations(happened)),
        }
        self._people: dict[int, User] = {}
        self._wishes: dict[int, NotificationSettings] = {}
        self.users = self._load_people(happened)

    def person(self, user_id: int) -> User | None:
        """One of those who may have to know."""
        return self._people.get(user_id)

    def wishes(self, user_id: int) -> NotificationSettings:
        """What they wish."""
        return self._wishes[user_id]

    def there(self, model: type[Box | Conversation], id_: int | None) -> int | None:
        """The number, if that row is still there: events outlive what they name."""
        return id_ if id_ in self._there[model] else None

    def quiet_until(self, user_id: int, now: datetime) -> datetime | None:
        """When it may ring for them again, if it may not now."""
        return wishes.quiet_until(self._wishes[user_id], wishes.zone_of(self._people[user_id]), now)

    def _existing(self, column: InstrumentedAttribute[int], ids: set[int | None]) -> set[int | None]:
        wanted = {id_ for id_ in ids if id_}
        return set(self.session.scalars(select(column).where(among(column, wanted)))) if wanted else set()

    def _conversations(self, happened: Sequence[Event]) -> set[int | None]:
        named = {one.conversation_id for one in happened} | {mail.conversation_id for mail in self.mails.values()}
        return named | {one.conversation_id for one in self.tracked.values()}

    def _tracked(self, keys: set[str]) -> dict[str, TrackedEmail]:
        if not keys:
            return {}
        query = select(TrackedEmail).where(among(TrackedEmail.key, keys))
        return {one.key: one for one in self.session.scalars(query.execution_options(populate_existing=True))}

    def _mailboxes(self, ids: set[int | None]) -> tuple[dict[int, int], dict[int, datetime]]:
        wanted = {id_ for id_ in ids if id_}
        if not wanted:
            return {}, {}
        query = select(Mailbox.id, Mailbox.user_id, Mailbox.created_at).where(among(Mailbox.id, wanted))
        rows = self.session.execute(query).all()
        return {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}

    def _mails(self, received: Sequence[Event]) -> dict[int, Mail]:
        mailboxes = {one.message_id: one.mailbox_id for one in received if one.message_id}
        if not mailboxes:
            return {}
        query = select(Message.id, Message.conversation_id, Message.automatic, Message.auto_reply, Message.sent_at)
        found = {}
        for id_, conversation_id, automatic, auto_reply, sent_at in self.session.execute(
            query.where(among(Message.id, mailboxes))
        ):
            connected = self._connected.get(mailboxes[id_] or 0)
            is_old = connected is None or sent_at < connected
            found[id_] = Mail(conversation_id, automatic is not None or auto_reply, is_old)
        return found

    def _filed(self, conversation_ids: set[int]) -> dict[int, list[BoxFacts]]:
        if not conversation_ids:
            return {}
        query = (
            select(Filing.conversation_id, Box.id, Box.owner_id, Pipeline.key)
            .join(Box, Box.id == Filing.box_id)
            .join(Pipeline, Pipeline.id == Box.pipeline_id)
            .where(
                among(Filing.conversation_id, conversation_ids), Filing.state == FILED, Box.deleted_at.is_(None)
            )
            .order_by(Filing.id)
        )
        found: dict[int, list[BoxFacts]] = defaultdict(list)
        for conversation_id, id_, owner_id, pipeline in self.session.execute(query):
            found[conversation_id].append(BoxFacts(id_, owner_id, pipeline))
        return found

    def _writers(self, received: Sequence[Event]) -> dict[int, set[int]]:
        """Who of us wrote in these conversations before the mail that came in."""
        ids = {one.message_id for one in received if one.message_id}
        if not ids:
            return {}
        came, before = aliased(Message), aliased(Message)
        query = (
            select(came.conversation_id, OwnAddress.user_id)
            .join(before, (before.conversation_id == came.conversation_id) & (before.sent_at <= came.sent_at))
            .join(
                OwnAddress,
                (OwnAddress.team_id == before.team_id) & (OwnAddress.normalized == before.sender_normalized),
            )
            .where(came.id.in_(ids), OwnAddress.user_id.is_not(None))
            .distinct()
        )
        found: dict[int, set[int]] = defaultdict(set)
        for conversation_id, user_id in self.session.execute(query):
            if user_id is not None:
                found[conversation_id].add(user_id)
        return found

    def _boxes(self, ids: set[int | None]) -> dict[int, BoxFacts]:
        wanted = {id_ for id_ in ids if id_}
        if not wanted:
            return {}
        query = (
            select(Box.id, Box.owner_id, Pipeline.key)
            .join(Pipeline, Pipeline.id == Box.pipeline_id)
            .where(among(Box.id, wanted), Box.deleted_at.is_(None))
        )
        return {row[0]: BoxFacts(*row) for row in self.session.execute(query)}

    def _load_people(self, happened: Sequence[Event]) -> dict[str, int]:
        """Everybody who may have to know; returns the ids of those whom events name by their keys."""
        keys = {
            str(one.data[name]) for one in happened for name in ("user", "assignee", "owner") if one.data.get(name)
        }
        ids = {one.user_id for one in self.tracked.values()} | set(self.mailbox_owners.values())
        ids |= {box.owner_id for box in self.boxes.values()} | {
            id_ for some in self.writers.values() for id_ in some
        }
        query = select(User).where(among(User.key, keys) | among(User.id, {id_ for id_ in ids if id_}))
        found = self.session.scalars(query.execution_options(populate_existing=True)).all()
        self._people = {one.id: one for one in found}
        self._wishes = wishes.of_users(self.session, found)
        return {one.key: one.id for one in found}
