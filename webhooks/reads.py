"""Reads: hits are judged by the rules, each tracked mail keeps what they say together, and what is news is told.

The rows are the truth: a hit that was not judged has `rules` 0, and a mail that is to be judged again (it was
judged before anybody knew that it went out, or by older rules) has an older version than the rules. Several
workers judge at once, each mail one at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from tracker import events, topics
from tracker.db import among
from tracker.filing import FILED, Filing
from tracker.people import User
from webhooks import own_side
from webhooks.bells import notices
from webhooks.bells.kinds import Kind
from webhooks.hits import Hit
from webhooks.own_side import OwnView
from webhooks.tracks import TrackedEmail, TrackedLink
from webhooks.verdicts import RULES, Known, Network, RawHit, Reading, Sent, Verdict, judge
from webhooks.verdicts.news import CLICKED, News, Told, held_until, news

MOST = 1000  #: hits of a mail that are judged; more can only come from somebody who plays with a token
BEYOND = "one of more than a thousand requests for one mail: counted, not judged"
LOST = "what it was had been forgotten before anybody judged it"


def judge_some(session: Session, now: datetime, limit: int = 100, scanners: Sequence[Network] = ()) -> int:
    """Judge mails that have new hits, and tell what is news; returns how many. Come again while it is not 0.

    Mails that another worker has at hand are passed over. `scanners` are the operator's networks.
    """
    unjudged = select(Hit.tracked_email_id).where(Hit.rules == 0).distinct().limit(limit * 4)
    # Sent meanwhile: what came before it went out is told from what came after.
    unsent = _to_judge_again(TrackedEmail.rules == 0).where(TrackedEmail.sent_at.is_not(None)).limit(limit)
    held = select(TrackedEmail.id).where(TrackedEmail.tell_at <= now).limit(limit)
    ids = {*session.scalars(unjudged), *session.scalars(unsent), *session.scalars(held)}
    query = select(TrackedEmail).where(among(TrackedEmail.id, ids))
    return _judge(session, _locked(session, query, limit), scanners, now, tell=True)


def next_tell_at(session: Session, now: datetime) -> datetime | None:
    """When the next click that is held may be told."""
    return session.scalar(select(func.min(TrackedEmail.tell_at)).where(TrackedEmail.tell_at > now))


def rejudge_some(session: Session, now: datetime, limit: int = 100, scanners: Sequence[Network] = ()) -> int:
    """Judge anew what older rules judged; nothing rings for it. Come again while it is not 0."""
    old = _to_judge_again((TrackedEmail.rules > 0) & (TrackedEmail.rules < RULES)).limit(limit)
    query = select(TrackedEmail).where(TrackedEmail.id.in_(old))
    return _judge(session, _locked(session, query, limit), scanners, now, tell=False)


def again(session: Session, tracked_ids: Iterable[int]) -> None:
    """Have mails judged again: something else is known of the own side, or hits of theirs were erased."""
    session.execute(update(TrackedEmail).where(among(TrackedEmail.id, tracked_ids)).values(rules=0))


def again_for_views(session: Session, since: datetime) -> None:
    """Have mails judged again whose conversation one of ours had open since then, as the side panel reported.

    The report comes a moment after the picture was fetched, so the hit may have been taken for a reader's.
    """
    shown = select(OwnView.conversation_id).where(OwnView.at >= since)
    which = TrackedEmail.conversation_id.in_(shown) & (TrackedEmail.hits > 0) & (TrackedEmail.rules > 0)
    session.execute(
        update(TrackedEmail).where(which).values(rules=0), execution_options={"synchronize_session": False}
    )


def _to_judge_again(which: Any) -> Any:
    return select(TrackedEmail.id).where(which, TrackedEmail.hits > 0).order_by(TrackedEmail.id)


def _locked(session: Session, query: Any, limit: int) -> Sequence[TrackedEmail]:
    # Without the keys' lock: the door goes on writing hits of these mails meanwhile.
    query = query.order_by(TrackedEmail.id).limit(limit).with_for_update(skip_locked=True, key_share=True)
    found: Sequence[TrackedEmail] = session.scalars(query.execution_options(populate_existing=True)).all()
    return found


# -- judging


@dataclass(frozen=True, slots=True)
class Loaded:
    """A hit's row."""

    id: int
    raw: RawHit
    was: tuple[str | None, str | None, int]  #: verdict, why, rules


def _judge(
    session: Session, mails: Sequence[TrackedEmail], scanners: Sequence[Network], now: datetime, *, tell: bool
) -> int:
    if not mails:
        return 0
    hits, beyond = _load(session, mails)
    sent, known = _sent(session, mails), own_side.known(session, mails)
    told: list[tuple[TrackedEmail, News]] = []
    verdicts: list[tuple[int, str, str]] = []
    changed = []
    for mail in mails:
        about = known.get(mail.id, Known())
        if scanners:
            about = replace(about, scanner_networks=(*about.scanner_networks, *scanners))
        reading = judge(sent[mail.id], (one.raw for one in hits[mail.id]), about)
        verdicts += _different(hits[mail.id], reading)
        _take_back(session, mail, reading, now)
        if _keep(mail, reading, sum(1 + one.raw.repeats for one in hits[mail.id]) + beyond.get(mail.id, 0)):
            changed.append(mail)
        fresh = _news(mail, reading, now)
        if tell:
            told += [(mail, one) for one in fresh]
    _write(session, verdicts)
    session.flush()
    _tell(session, told)
    topics.mail_changed(session, {mail.conversation_id for mail in changed if mail.conversation_id})
    return len(mails)


_FIRST = text(
    """
    SELECT h.tracked_email_id, h.id, CAST(h.key AS text), h.at, h.kind, host(h.address), h.agent, h.headers,
      h.user_key, h.repeats, h.link_id, h.forgotten, h.verdict, h.why, h.rules
    FROM unnest(CAST(:ids AS bigint[])) AS t(id) CROSS JOIN LATERAL (
      SELECT * FROM hits WHERE tracked_email_id = t.id ORDER BY at, key LIMIT :most
    ) AS h
    """
)


def _load(session: Session, mails: Sequence[TrackedEmail]) -> tuple[dict[int, list[Loaded]], dict[int, int]]:
    """The first so many hits of each mail, and how many there are beyond them."""
    found: dict[int, list[Loaded]] = defaultdict(list)
    for row in session.execute(_FIRST, {"ids": [mail.id for mail in mails], "most": MOST + 1}):
        found[row[0]].append(_loaded(row))
    beyond = {}
    for id_, hits in found.items():
        if len(hits) > MOST:
            hits.sort(key=lambda one: (one.raw.at, one.raw.key))
            beyond[id_] = _pass_over(session, id_, hits.pop().raw)
    return found, beyond


def _loaded(row: Any) -> Loaded:
    _, id_, key, at, kind, address, agent, headers, user_key, repeats, link, forgotten, verdict, why, rules = row
    recorded = None
    if forgotten:
        recorded = (verdict, why or "") if verdict in list(Verdict) else (Verdict.BOT.value, LOST)
    given = headers.items() if isinstance(headers, dict) else ()
    said = {str(name).lower(): str(value) for name, value in given}
    return Loaded(
        id_,
        RawHit(key, at, kind, address, agent, said, user_key, repeats, link, recorded),
        (verdict, why, rules),
    )


_LOCK_BEYOND = text(
    """
    SELECT id FROM hits WHERE tracked_email_id = :id AND (at, key) >= (:at, CAST(:key AS uuid))
    AND (rules <> :rules OR why IS DISTINCT FROM :why) ORDER BY key FOR NO KEY UPDATE
    """
)
_PASS_OVER = text(
    """
    UPDATE hits SET verdict = 'bot', why = :why, rules = :rules
    WHERE tracked_email_id = :id AND (at, key) >= (:at, CAST(:key AS uuid))
    AND (rules <> :rules OR why IS DISTINCT FROM :why)
    """
)


def _pass_over(session: Session, tracked_id: int, first: RawHit) -> int:
    """Leave unjudged what comes beyond the bound."""
    values = {"id": tracked_id, "at": first.at, "key": first.key, "why": BEYOND, "rules": RULES}
    session.execute(_LOCK_BEYOND, values)
    session.execute(_PASS_OVER, values)
    query = select(func.count()).where(Hit.tracked_email_id == tracked_id, Hit.why == BEYOND)
    return session.scalar(query) or 0


def _sent(session: Session, mails: Sequence[TrackedEmail]) -> dict[int, Sent]:
    ids = [mail.id for mail in mails]
    users = session.execute(
        select(User.id, User.key).where(among(User.id, {mail.user_id for mail in mails if mail.user_id}))
    )
    keys = {row.id: row.key for row in users}
    counts = session.execute(
        select(TrackedLink.tracked_email_id, func.count())
        .where(among(TrackedLink.tracked_email_id, ids))
        .group_by(TrackedLink.tracked_email_id)
    )
    links = {row[0]: row[1] for row in counts}
    return {
        mail.id: Sent(
            mail.sent_at,
            keys.get(mail.user_id or 0),
            len(mail.recipients),
            links.get(mail.id, 0),
            mail.answered_at,
            mail.answered_by,
        )
        for mail in mails
    }


def _different(hits: Sequence[Loaded], reading: Reading) -> list[tuple[int, str, str]]:
    """The verdicts that are not written yet, by the hits' ids."""
    made = []
    for one in hits:
        said = reading.hits[one.raw.key]
        if one.was != (said.verdict.value, said.why, RULES):
            made.append((one.id, said.verdict.value, said.why))
    return made


# The door counts repeats on these rows meanwhile, in the order of keys: so do we.
_LOCK = text("SELECT id FROM hits WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY key FOR NO KEY UPDATE")
_WRITE = text(
    """
    UPDATE hits SET verdict = v.verdict, why = v.why, rules = :rules
    FROM unnest(CAST(:ids AS bigint[]), CAST(:verdicts AS text[]), CAST(:whys AS text[])) AS v(id, verdict, why)
    WHERE hits.id = v.id
    """
)


def _write(session: Session, verdicts: Sequence[tuple[int, str, str]]) -> None:
    if verdicts:
        ids, said, whys = (list(column) for column in zip(*verdicts, strict=True))
        session.execute(_LOCK, {"ids": ids})
        session.execute(_WRITE, {"ids": ids, "verdicts": said, "whys": whys, "rules": RULES})


def _keep(mail: TrackedEmail, reading: Reading, hits: int) -> bool:
    """Keep beside the mail what its hits say together; whether that is something else than before."""
    columns: dict[str, Any] = {
        "confidence": reading.confidence.value, "why": reading.why, "via": reading.via,
        "views": len(reading.views), "clicked": reading.clicked, "hits": hits,
        "first_view_at": reading.first_view_at, "last_view_at": reading.last_view_at,
    }  # fmt: skip
    changed = {name: value for name, value in columns.items() if getattr(mail, name) != value}
    for name, value in changed.items():
        setattr(mail, name, value)
    # Until it went out nothing is final.
    mail.rules = RULES if mail.sent_at is not None else 0
    return bool(changed)


# -- telling


def _news(mail: TrackedEmail, reading: Reading, now: datetime) -> list[News]:
    before = Told(mail.told, mail.told_at, mail.told_clicks, mail.told_clicked_at)
    made, after = news(reading, before, now)
    mail.told, mail.told_at, mail.told_clicks = after.confidence, after.at, after.sittings
    mail.told_clicked_at, mail.tell_at = after.clicked_at, held_until(reading, after, now)
    return made


def _take_back(session: Session, mail: TrackedEmail, reading: Reading, now: datetime) -> None:
    """What rang for a reader who was none is shown no more; before `_keep`."""
    if len(reading.views) < mail.views:
        notices.take_back(session, mail.id, (Kind.READ, Kind.READ_AGAIN), reading.last_view_at, now)
    if reading.clicked < mail.clicked:
        last = reading.sittings[-1].last if reading.sittings else None
        notices.take_back(session, mail.id, (Kind.CLICKED,), last, now)


def _tell(session: Session, told: Sequence[tuple[TrackedEmail, News]]) -> None:
    if not told:
        return
    boxes = _boxes(session, [mail for mail, _ in told])
    for mail, _ in told:
        if mail.by_hand:  # nobody said from which box it is written; the first in which it is found keeps it
            mail.box_id = boxes.get(mail.id)
    hosts = _hosts(session, {one.link for _, one in told if one.link is not None})
    events.record_many(
        session,
        [
            {
                "team_id": mail.team_id,
                "kind": one.kind,
                "actor": events.SYSTEM,
                "at": one.at,
                "box_id": boxes.get(mail.id),
                "conversation_id": mail.conversation_id,
                "message_id": mail.message_id,
                "mailbox_id": mail.mailbox_id,
                "data": _data(mail, one, hosts),
            }
            for mail, one in told
        ],
    )


def _data(mail: TrackedEmail, one: News, hosts: Mapping[int, str]) -> dict[str, Any]:
    """Neither a subject nor an address: who may know them is decided where it is shown."""
    if one.kind == CLICKED:
        return {
            "tracked": mail.key, "host": hosts.get(one.link or 0, ""), "first": one.first,
            "recipients": len(mail.recipients),
        }  # fmt: skip
    return {
        "tracked": mail.key, "confidence": mail.confidence, "via": mail.via, "views": mail.views,
        "first": one.first, "again_after_days": one.again_after_days, "recipients": len(mail.recipients),
    }  # fmt: skip


def _boxes(session: Session, mails: Sequence[TrackedEmail]) -> dict[int, int]:
    """The box of each mail: the one it was sent from, else the first that its conversation is in."""
    found = {mail.id: mail.box_id for mail in mails if mail.box_id is not None}
    loose = {mail.conversation_id: mail.id for mail in mails if mail.id not in found and mail.conversation_id}
    if loose:
        query = select(Filing.conversation_id, func.min(Filing.box_id)).where(
            among(Filing.conversation_id, loose), Filing.state == FILED, Filing.box_id.is_not(None)
        )
        for conversation_id, box_id in session.execute(query.group_by(Filing.conversation_id)):
            found |= {mail.id: box_id for mail in mails if mail.conversation_id == conversation_id and box_id}
    return found


def _hosts(session: Session, links: set[int]) -> dict[int, str]:
    if not links:
        return {}
    query = select(TrackedLink.id, TrackedLink.url).where(among(TrackedLink.id, links))
    return {id_: _host(url) for id_, url in session.execute(query)}


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
