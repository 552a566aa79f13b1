"""Tracking put into a mail by hand, while it is written in Gmail itself: a pixel that waits for its mail.

Nobody tells us which mail a pixel went into: what is kept until then is a token, whose it is, and since when. The
mail is known when the mailbox's syncing brings it: the first one sent from that mailbox that carries the token, in
the transaction that stores it. From then on the token is that mail's for good, so that an answer which quotes it
says nothing. Links stay as they are: nothing of ours stands between the editor of Gmail and what is typed there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.orm import Session

from tracker import conversations
from tracker.db import among
from tracker.filing import FILED, Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Recipient
from tracker.people import User
from webhooks import tracking, tracking_html
from webhooks.tracks import TrackedEmail

#: A pixel whose mail nobody has seen to go for so long is forgotten: a draft may lie for weeks.
KEPT = timedelta(days=90)
MOST = 200  #: pixels of one mailbox that wait; the oldest give way
LATELY = timedelta(days=2)  #: of mail that went in this time it is asked again whether it carries one
CLOCKS = timedelta(days=1)  #: Gmail's clock and ours may differ; a token is older than any mail that carries it
AT_ONCE = 1_000  #: rows deleted in one transaction


def add(session: Session, user: User, mailbox: Mailbox, now: datetime) -> TrackedEmail:
    """A pixel for a mail that this person is writing in this mailbox; it is bound to nothing else yet."""
    made = TrackedEmail(
        team_id=mailbox.team_id, user_id=user.id, mailbox_id=mailbox.id, recipients=[], opens=True, clicks=False,
        by_hand=True, created_at=now,
    )  # fmt: skip
    session.add(made)
    session.flush()
    waiting = select(TrackedEmail.id).where(_waits(), TrackedEmail.mailbox_id == mailbox.id)
    surplus = waiting.order_by(TrackedEmail.id.desc()).offset(MOST)
    session.execute(delete(TrackedEmail).where(TrackedEmail.id.in_(surplus)))
    return made


def is_in(session: Session, mailbox: Mailbox, markup: str) -> bool:
    """Whether a mail that is being written in this mailbox carries a pixel that waits for a mail of it.

    Those of mail that has gone are quotations.
    """
    tokens = tracking_html.tokens(markup)
    query = select(TrackedEmail.id).where(
        among(TrackedEmail.token, tokens),
        TrackedEmail.mailbox_id == mailbox.id,
        TrackedEmail.sent_at.is_(None),
        TrackedEmail.opens,
    )
    return bool(tokens) and session.scalar(query.limit(1)) is not None


def _waits() -> Any:
    return TrackedEmail.by_hand & TrackedEmail.sent_at.is_(None)


# -- the mail went


@dataclass(frozen=True, slots=True)
class Went:
    """A sent mail that carries pixels which wait for it."""

    mailbox_id: int
    message_id: int
    conversation_id: int
    at: datetime
    html: str
    bcc: Sequence[Any]


# A mail's HTML is only looked at where a pixel waits in its mailbox, and never leaves the database without one.
_WENT = """
SELECT DISTINCT c.mailbox_id, c.message_id, m.conversation_id, c.internal_date, m.html, c.bcc
FROM tracked_emails t
JOIN copies c ON c.mailbox_id = t.mailbox_id AND 'SENT' = ANY (c.label_ids) AND NOT c.hidden
  AND c.internal_date >= t.created_at - CAST(:clocks AS interval)
JOIN messages m ON m.id = c.message_id
WHERE t.by_hand AND t.sent_at IS NULL AND {which} AND strpos(m.html, '/t/' || t.token || '.gif') > 0
ORDER BY c.internal_date, c.message_id
"""
_THESE = text(_WENT.format(which="t.team_id = :team_id AND m.conversation_id = ANY (CAST(:ids AS bigint[]))"))
_RECENT = text(_WENT.format(which="c.internal_date >= :since"))
_WAITING = text(
    """
    SELECT t.team_id FROM tracked_emails t
    WHERE t.by_hand AND t.sent_at IS NULL
    AND t.team_id IN (SELECT team_id FROM conversations WHERE id = ANY (CAST(:ids AS bigint[]))) LIMIT 1
    """
)


def follow(session: Session, conversation_ids: Sequence[int]) -> None:
    """Mail of these conversations (of one team) changed: pixels are bound to those that went."""
    ids = list(conversation_ids)
    team_id = session.scalar(_WAITING, {"ids": ids}) if ids else None
    if team_id is not None:
        bind(session, session.execute(_THESE, {"team_id": team_id, "ids": ids, "clocks": CLOCKS}).all())


def look_again(session: Session, now: datetime) -> None:
    """The same for all that went lately: what Gmail kept for later became a sent mail without being a new one."""
    bind(session, session.execute(_RECENT, {"since": now - LATELY, "clocks": CLOCKS}).all())


def bind(session: Session, rows: Sequence[Any]) -> None:
    """Bind what waits to the sent mails that carry it, the first that went first."""
    for went in (Went(*row) for row in rows):
        found = _carried(session, went)
        if not found:  # an earlier one has it
            continue
        first, others = found[0], found[1:]
        recipients = _recipients(session, went)
        if _is_tracked(session, went) or not _may(session, first, recipients):
            others = found
        else:
            _bind(session, first, went, recipients)
        # A second pixel in one mail would count each look twice; of whom nobody may hear, nothing is kept.
        session.execute(delete(TrackedEmail).where(among(TrackedEmail.id, [one.id for one in others])))


def _carried(session: Session, went: Went) -> list[TrackedEmail]:
    """The pixels that wait and that this mail carries, in the order in which they stand there."""
    query = select(TrackedEmail).where(
        _waits(),
        among(TrackedEmail.token, tracking_html.tokens(went.html)),
        TrackedEmail.mailbox_id == went.mailbox_id,
    )
    found = session.scalars(query.with_for_update(key_share=True).execution_options(populate_existing=True))
    return sorted(found, key=lambda one: went.html.find(one.token))


def _recipients(session: Session, went: Went) -> list[str]:
    query = select(Recipient.normalized).where(
        Recipient.message_id == went.message_id, Recipient.kind.in_(("to", "cc"))
    )
    hidden = [str(one.get("normalized", "")) for one in went.bcc if isinstance(one, dict)]
    return list(filter(None, dict.fromkeys([*session.scalars(query.order_by(Recipient.id)), *hidden])))


def _is_tracked(session: Session, went: Went) -> bool:
    """Whether it carries a pixel of its own: the outbox put one into this draft before."""
    own = TrackedEmail.scheduled_email_id.is_not(None) & TrackedEmail.message_id.is_(None)
    here = among(TrackedEmail.token, tracking_html.tokens(went.html)) & (
        TrackedEmail.mailbox_id == went.mailbox_id
    )
    query = select(TrackedEmail.id).where(or_(TrackedEmail.message_id == went.message_id, here & own))
    return session.scalar(query.limit(1)) is not None


def _may(session: Session, row: TrackedEmail, recipients: Sequence[str]) -> bool:
    """Whether mail to these may be tracked: they may be others than when the pixel was put in."""
    rules = tracking.rules(session, row.team_id, row.mailbox_id or 0, row.user_id, recipients, "")
    return rules.lists.reason(recipients) is None and not rules.own.issuperset(recipients)


def _bind(session: Session, row: TrackedEmail, went: Went, recipients: Sequence[str]) -> None:
    filed = select(Filing.box_id).where(
        Filing.conversation_id == went.conversation_id, Filing.state == FILED, Filing.box_id.is_not(None)
    )
    columns = {
        "message_id": went.message_id, "conversation_id": went.conversation_id, "recipients": list(recipients),
        "sent_at": went.at, "box_id": session.scalar(filed.order_by(Filing.id).limit(1)), "rules": 0,
    }  # fmt: skip
    changed = update(TrackedEmail).where(TrackedEmail.id == row.id, _waits()).values(**columns)
    session.execute(changed.execution_options(synchronize_session=False))
    session.expire(row)


conversations.on_change.append(follow)


# -- it never went


def forget(session: Session, now: datetime) -> int:
    """Delete pixels whose mail nobody saw to go; at most `AT_ONCE`. Come again while it is that many."""
    old = select(TrackedEmail.id).where(_waits(), TrackedEmail.created_at < now - KEPT).limit(AT_ONCE)
    gone = delete(TrackedEmail).where(TrackedEmail.id.in_(old)).returning(TrackedEmail.id)
    return len(session.scalars(gone).all())
