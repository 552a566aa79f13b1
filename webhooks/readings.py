"""What may be shown of reads: to whom, for whole lists at once. A fixed number of queries, however long the list.

Only who may read a mail may know what became of it; until the mail is in the store, its sender alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, select, true
from sqlalchemy.orm import Session, aliased

from tracker.boxes import Box
from tracker.db import among
from tracker.people import Viewer
from webhooks.hits import Hit, Kind
from webhooks.privacy import seen_by
from webhooks.tracks import Confidence, TrackedEmail, TrackedLink
from webhooks.verdicts import Verdict
from webhooks.verdicts.judging import sureness

HITS = 8  #: of a mail, below it
PAGE = 100  #: of a mail, on their own page


@dataclass(frozen=True, slots=True)
class Line:
    """A hit as it is shown."""

    hit: Hit
    url: str = ""  #: where the clicked link leads

    @property
    def confidence(self) -> Confidence:
        """What it says of a reader."""
        if self.hit.verdict not in list(Verdict):
            return Confidence.NONE
        return sureness(Verdict(self.hit.verdict), self.hit.kind)

    @property
    def what(self) -> str:
        """The verdict in a word or two."""
        return WHAT[Verdict(self.hit.verdict)] if self.hit.verdict in list(Verdict) else "not looked at yet"


#: Verdicts, for people.
WHAT: dict[Verdict, str] = {
    Verdict.OWN: "own side", Verdict.PREFETCH: "Gmail’s prefetch", Verdict.APPLE: "Apple’s protection",
    Verdict.SCANNER: "scanner", Verdict.BOT: "program", Verdict.PROXY: "reader, likely", Verdict.PERSON: "reader",
    Verdict.UNCLEAR: "unclear",
}  # fmt: skip


@dataclass(slots=True)
class Shown:
    """What is shown of a tracked mail."""

    mail: TrackedEmail
    box_key: str | None = None
    lines: list[Line] = field(default_factory=list)  #: the newest first

    @property
    def confidence(self) -> Confidence:
        """How sure it is that somebody read it."""
        return Confidence(self.mail.confidence)

    @property
    def is_read(self) -> bool:
        """Likely or better."""
        return self.confidence.rank >= Confidence.LIKELY.rank

    @property
    def counted(self) -> int:
        """How many requests the lines stand for."""
        return sum(1 + line.hit.repeats for line in self.lines)

    @property
    def icon(self) -> str:
        """A symbol for each state, so that they differ without colours as well."""
        return ICONS[self.confidence]

    @property
    def headline(self) -> str:
        """The state in words; of several recipients nobody is named."""
        mail, several = self.mail, len(self.mail.recipients)
        if mail.answered_at is not None:
            return "Answered by somebody of their company" if mail.answered_by == "colleague" else "Answered"
        if self.is_read and several > 1:
            return f"One of {several} read it, {self.confidence}"
        return HEADLINES[self.confidence]

    @property
    def counts(self) -> list[str]:
        """How often."""
        views, clicked = self.mail.views, self.mail.clicked
        said = [f"{views} view{'s' * (views != 1)}"] if views else []
        return said + ([f"clicked {'once' if clicked == 1 else f'{clicked} times'}"] if clicked else [])


ICONS = {
    Confidence.NONE: "clock", Confidence.MACHINE: "info", Confidence.POSSIBLE: "help", Confidence.LIKELY: "eye",
    Confidence.CERTAIN: "done",
}  # fmt: skip
HEADLINES = {
    Confidence.NONE: "Not opened yet", Confidence.MACHINE: "Not read, as far as can be told",
    Confidence.POSSIBLE: "Perhaps read", Confidence.LIKELY: "Read, likely", Confidence.CERTAIN: "Read, certain",
}  # fmt: skip


def _visible(viewer: Viewer) -> Select[TrackedEmail, str | None]:
    return (
        select(TrackedEmail, Box.key)
        .outerjoin(Box, Box.id == TrackedEmail.box_id)
        .where(
            TrackedEmail.team_id == viewer.team_id, TrackedEmail.sent_at.is_not(None), _heard(), seen_by(viewer)
        )
    )


def _heard() -> ColumnElement[bool]:
    """SQL: it carries something, or something was heard of it before that was switched off."""
    return TrackedEmail.opens | TrackedEmail.clicks | (TrackedEmail.hits > 0)


def of_messages(session: Session, viewer: Viewer, ids: Collection[int]) -> dict[int, Shown]:
    """What is shown below messages, by their ids, with the newest hits."""
    if not ids:
        return {}
    rows = session.execute(_visible(viewer).where(among(TrackedEmail.message_id, ids)).order_by(TrackedEmail.id))
    found = {mail.message_id: Shown(mail, box) for mail, box in rows if mail.message_id is not None}
    _add_hits(session, list(found.values()))
    return found


def of_scheduled(session: Session, viewer: Viewer, ids: Collection[int]) -> dict[int, Shown]:
    """What is shown of mails of the outbox, by their ids, without hits."""
    if not ids:
        return {}
    rows = session.execute(_visible(viewer).where(among(TrackedEmail.scheduled_email_id, ids)))
    return {mail.scheduled_email_id: Shown(mail, box) for mail, box in rows if mail.scheduled_email_id is not None}


def of_conversation(session: Session, viewer: Viewer, conversation_id: int, *, limit: int) -> list[Shown]:
    """What is shown of a conversation's newest tracked mails, without hits; one query."""
    query = _visible(viewer).where(TrackedEmail.conversation_id == conversation_id)
    query = query.order_by(TrackedEmail.sent_at.desc(), TrackedEmail.id.desc())
    return [Shown(mail, box) for mail, box in session.execute(query.limit(limit))]


def by_keys(session: Session, viewer: Viewer, keys: Collection[str]) -> dict[str, Shown]:
    """What is shown of tracked mails, by their keys, without hits."""
    if not keys:
        return {}
    rows = session.execute(_visible(viewer).where(among(TrackedEmail.key, keys)))
    return {mail.key: Shown(mail, box) for mail, box in rows}


def by_key(session: Session, viewer: Viewer, key: str) -> Shown | None:
    """One tracked mail with its newest hits, if the viewer may know of it."""
    found = by_keys(session, viewer, [key]).get(key)
    if found is not None:
        _add_hits(session, [found])
    return found


def page_of_hits(session: Session, shown: Shown, before: tuple[datetime, int] | None) -> tuple[list[Line], bool]:
    """A page of a mail's hits, the newest first, and whether there are more."""
    query = select(Hit).where(Hit.tracked_email_id == shown.mail.id).order_by(Hit.at.desc(), Hit.id.desc())
    if before is not None:
        query = query.where((Hit.at < before[0]) | ((Hit.at == before[0]) & (Hit.id < before[1])))
    hits = session.scalars(query.limit(PAGE + 1)).all()
    return _lines(session, hits[:PAGE]), len(hits) > PAGE


def _add_hits(session: Session, found: Sequence[Shown]) -> None:
    by_id = {one.mail.id: one for one in found if one.mail.hits}
    if not by_id:
        return
    newest = (
        select(Hit)
        .where(Hit.tracked_email_id == TrackedEmail.id)
        .order_by(Hit.at.desc(), Hit.id.desc())
        .limit(HITS)
        .correlate(TrackedEmail)
        .lateral()
    )
    hit = aliased(Hit, newest)
    query = select(hit).select_from(TrackedEmail).join(newest, true()).where(among(TrackedEmail.id, by_id))
    hits = session.scalars(query.order_by(hit.at.desc(), hit.id.desc())).all()
    for line in _lines(session, hits):
        by_id[line.hit.tracked_email_id].lines.append(line)


def _lines(session: Session, hits: Sequence[Hit]) -> list[Line]:
    ids = {hit.link_id for hit in hits if hit.link_id is not None and hit.kind == Kind.CLICK}
    query = select(TrackedLink.id, TrackedLink.url).where(among(TrackedLink.id, ids))
    urls = {row.id: row.url for row in session.execute(query)} if ids else {}
    return [Line(hit, urls.get(hit.link_id or 0, "")) for hit in hits]


# -- boxes


@dataclass(frozen=True, slots=True)
class BoxReads:
    """What was read of a box's mail."""

    last_at: datetime | None
    views: int


def of_boxes(session: Session, viewer: Viewer, box_ids: Collection[int]) -> Mapping[int, BoxReads]:
    """When a mail of each box was last read, and how often its mails were; one query."""
    query = (
        select(TrackedEmail.box_id, func.max(TrackedEmail.last_view_at), func.sum(TrackedEmail.views))
        .where(among(TrackedEmail.box_id, box_ids), TrackedEmail.views > 0, seen_by(viewer))
        .group_by(TrackedEmail.box_id)
    )
    rows = session.execute(query)
    return {box_id: BoxReads(last, int(views)) for box_id, last, views in rows if box_id is not None}
