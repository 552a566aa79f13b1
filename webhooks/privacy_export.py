"""What is kept of a person, as something that can be handed to them: plain data for JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from tracker.db import among
from tracker.events import Event
from tracker.messages import Message
from tracker.people import User, Viewer
from webhooks import hit_intake, privacy
from webhooks.bells.notices import Notification
from webhooks.hits import Hit
from webhooks.tracks import TrackedEmail, TrackedLink
from webhooks.verdicts.facts import Verdict
from webhooks.verdicts.news import CLICKED, READ

ONE_OF = "sent to {count} people: who of them it was is not known, so addresses and programs are not handed out"


def export(session: Session, viewer: Viewer, addresses: Collection[str], now: datetime) -> dict[str, Any]:
    """All that reads and clicks left of the person with these (normalized) addresses, the oldest mail first.

    Of mails that the viewer may not read only their number is in it.
    """
    there = privacy.sent_to(viewer.team_id, addresses)
    seen = privacy.seen_by(viewer)
    query = (
        select(TrackedEmail, Message.subject, User.name)
        .outerjoin(Message, Message.id == TrackedEmail.message_id)
        .outerjoin(User, User.id == TrackedEmail.user_id)
        .where(there, seen)
        .order_by(TrackedEmail.id)
    )
    found = session.execute(query).all()
    hidden = session.scalar(select(func.count()).select_from(TrackedEmail).where(there, ~seen)) or 0
    ids = [mail.id for mail, _, _ in found]
    hit_intake.take_in(session, ids)
    links, hits, events = _links(session, ids), _hits(session, ids), _events(session, viewer.team_id, ids)
    return {
        "made_at": _at(now),
        "addresses": sorted(addresses),
        "never_tracked": [
            {"value": one.value, "since": _at(one.at), "said_by": one.source, "why": one.why}
            for one in session.scalars(privacy.never_rows(viewer.team_id, addresses))
        ],
        "mails": [
            _mail(mail, subject, sender, links[mail.id], hits[mail.id], events[mail.key])
            for mail, subject, sender in found
        ],
        "notifications": _notifications(session, ids),
        "mails_of_teammates_left_out": hidden,
    }


def _links(session: Session, ids: Sequence[int]) -> dict[int, dict[int, str]]:
    found: dict[int, dict[int, str]] = defaultdict(dict)
    query = select(TrackedLink).where(among(TrackedLink.tracked_email_id, ids)).order_by(TrackedLink.position)
    for link in session.scalars(query):
        found[link.tracked_email_id][link.id] = link.url
    return found


def _hits(session: Session, ids: Sequence[int]) -> dict[int, list[Hit]]:
    found: dict[int, list[Hit]] = defaultdict(list)
    query = select(Hit).where(among(Hit.tracked_email_id, ids)).order_by(Hit.at, Hit.id)
    for hit in session.scalars(query):
        found[hit.tracked_email_id].append(hit)
    return found


def _events(session: Session, team_id: int, ids: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """What the log has of these mails, by their keys."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    query = (
        select(Event.kind, Event.at, Event.data)
        .join(TrackedEmail, (TrackedEmail.key == Event.data["tracked"].astext) & among(TrackedEmail.id, ids))
        # The first is for the index of what happened to mail.
        .where(Event.team_id == team_id, Event.kind.like("email.%"), Event.kind.in_((READ, CLICKED)))
        .where(or_(TrackedEmail.erased_at.is_(None), Event.at > TrackedEmail.erased_at))
        .order_by(Event.id)
    )
    for kind, at, data in session.execute(query):
        told = {name: value for name, value in data.items() if name != "tracked"}
        found[data["tracked"]].append({"kind": kind, "at": _at(at), **told})
    return found


def _notifications(session: Session, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Whom of the team was told of it, and when."""
    query = (
        select(Notification.kind, Notification.at, User.name, TrackedEmail.key)
        .join(User, User.id == Notification.user_id)
        .join(TrackedEmail, TrackedEmail.id == Notification.tracked_email_id)
        .where(among(Notification.tracked_email_id, ids))
        .order_by(Notification.id)
    )
    return [
        {"kind": kind, "at": _at(at), "told": name, "mail": key} for kind, at, name, key in session.execute(query)
    ]


def _mail(
    mail: TrackedEmail, subject: str | None, sender: str | None, links: dict[int, str], hits: Sequence[Hit],
    events: Sequence[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    count = len(mail.recipients)
    return {
        "key": mail.key,
        "subject": subject,
        "from": sender,
        "recipients": count,
        "sent_at": _at(mail.sent_at),
        "reading": {
            "confidence": mail.confidence, "why": mail.why, "via": mail.via, "views": mail.views,
            "clicks": mail.clicked, "first_view_at": _at(mail.first_view_at),
            "last_view_at": _at(mail.last_view_at), "answered_at": _at(mail.answered_at),
        },
        "links": list(links.values()),
        **({"note": ONE_OF.format(count=count)} if count > 1 else {}),
        "log": list(events),
        "hits": [_hit(hit, links, raw=count == 1) for hit in hits],
    }  # fmt: skip


def _hit(hit: Hit, links: dict[int, str], *, raw: bool) -> dict[str, Any]:
    """A hit of our own side is not theirs: of it only the time; nor is one that nobody has judged yet, surely."""
    if hit.verdict == Verdict.OWN:
        return {"at": _at(hit.at), "verdict": hit.verdict, "why": "our own side"}
    told = {
        "at": _at(hit.at), "kind": hit.kind, "link": links.get(hit.link_id or 0), "repeats": hit.repeats,
        "verdict": hit.verdict, "why": hit.why,
    }  # fmt: skip
    if not raw or hit.verdict is None:
        return told
    return {**told, "address": hit.address and str(hit.address), "program": hit.agent, "headers": hit.headers}


def _at(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
