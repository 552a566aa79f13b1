"""The completeness ledger: Gmail's ids against the store, exactly, for the price of listings.

A mailbox also recovers this way when its cursor has expired: the profile's history id is taken first, then
everything is compared, and what changes meanwhile is replayed from that id. It never skips to *now*.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from gmail_sync import fetch, history, wanted
from gmail_sync.listing import list_all
from gmail_sync.session import Sync
from tracker import conversations, events
from tracker.db import among
from tracker.mailboxes import Backfill
from tracker.messages import HIDING_LABELS, Copy, Message

LISTING_PATIENCE = 120.0  # seconds: a minute's quota comes back within one
SAMPLE = 20  # ids that a report names


@dataclass(frozen=True, slots=True)
class Report:
    """What a comparison found."""

    gmail: int  #: messages that Gmail holds, without trash, spam and drafts
    stored: int
    missing: int
    extra: int
    relabelled: int
    repaired: int
    missing_ids: tuple[str, ...] = ()
    extra_ids: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether store and Gmail agree on which messages there are."""
        return not (self.missing or self.extra)


@dataclass(frozen=True, slots=True)
class Found:
    """One comparison."""

    gmail: int
    stored: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether there is no difference."""
        return not (self.missing or self.extra)

    def confirmed_by(self, other: Found) -> Found:
        """Only the differences that the other comparison saw too."""
        missing, extra = set(other.missing), set(other.extra)
        return Found(
            self.gmail,
            self.stored,
            tuple(id_ for id_ in self.missing if id_ in missing),
            tuple(id_ for id_ in self.extra if id_ in extra),
        )


# In Gmail and visible there: listed, and under none of the hiding labels.
_SEEN = """
  SELECT l.gmail_id FROM gmail_listings l WHERE l.mailbox_id = :mailbox AND l.label_id = ''
  AND NOT EXISTS (SELECT 1 FROM gmail_listings h WHERE h.mailbox_id = l.mailbox_id AND h.gmail_id = l.gmail_id
                  AND h.label_id IN ('TRASH', 'SPAM', 'DRAFT'))
"""
_IN_SCOPE = "(CAST(:after AS timestamptz) IS NULL OR c.internal_date >= :after)"
_MISSING = f"""
  SELECT s.gmail_id FROM ({_SEEN}) s
  WHERE NOT EXISTS (SELECT 1 FROM copies c WHERE c.mailbox_id = :mailbox AND c.gmail_id = s.gmail_id)
  ORDER BY 1
"""  # noqa: S608 - constants only
_EXTRA = f"""
  SELECT c.gmail_id FROM copies c WHERE c.mailbox_id = :mailbox AND {_IN_SCOPE}
  AND NOT EXISTS (SELECT 1 FROM gmail_listings l WHERE l.mailbox_id = c.mailbox_id AND l.label_id = ''
                  AND l.gmail_id = c.gmail_id)
  ORDER BY 1
"""  # noqa: S608 - constants only
_STORED = f"""
  SELECT count(*) FROM copies c WHERE c.mailbox_id = :mailbox AND NOT hidden AND {_IN_SCOPE}
"""  # noqa: S608 - constants only
_THREADS = """
  SELECT l.gmail_id, l.gmail_thread_id FROM gmail_listings l
  WHERE l.mailbox_id = :mailbox AND l.label_id = '' AND l.gmail_id = ANY(:ids) ORDER BY l.position
"""
_RELABEL = """
  UPDATE copies c SET label_ids = n.labels FROM (
    SELECT c2.id,
           coalesce(array_agg(l.label_id ORDER BY l.label_id) FILTER (WHERE l.label_id <> ''), '{}') AS labels
    FROM copies c2 JOIN gmail_listings l ON l.mailbox_id = c2.mailbox_id AND l.gmail_id = c2.gmail_id
    WHERE c2.mailbox_id = :mailbox GROUP BY c2.id) n
  WHERE c.id = n.id AND c.label_ids IS DISTINCT FROM n.labels RETURNING c.id
"""


def reconcile(sync: Sync) -> Report:
    """Compare a mailbox whose cursor is good with Gmail, and repair. Raises `HistoryExpired`.

    Mail that comes or goes while the listing runs looks like a difference. So a difference counts only if it is
    there in two listings, with history caught up with in between: whatever that left behind is a gap.
    """
    history.catch_up(sync)
    fetch_wanted(sync)
    first = _compared(sync)
    second = first
    if not first.clean:
        history.catch_up(sync)
        fetch_wanted(sync)
        second = _compared(sync)
    found = second.confirmed_by(first)
    with sync.transaction() as session:
        report = _repair(session, sync, found)
        gap = None if report.clean else sync.now
        sync.change(session, checked_at=sync.now, check_result=asdict(report), gap_at=gap)
        _record(session, sync, report, "mailbox.gap")
    return report


def recover(sync: Sync) -> Report:
    """The cursor has expired: find what changed by comparing, and go on from where the comparison began.

    Nobody else touches the store meanwhile, and what changes in Gmail is replayed from the profile's history id,
    so here one listing is enough. An expired cursor explains the differences: they are no gap.
    """
    _, history_id = sync.gmail.profile()
    found = _compared(sync)
    with sync.transaction() as session:
        report = _repair(session, sync, found)
        sync.move_cursor(session, history_id)
        _record(session, sync, report, "mailbox.recovered")
    return report


def fetch_wanted(sync: Sync) -> None:
    """Fetch until nothing is wanted that could be had now."""
    while fetch.fetch_some(sync):
        continue


def _compared(sync: Sync) -> Found:
    _list(sync)
    with sync.transaction() as session:
        keys = {"mailbox": sync.mailbox.id, "after": sync.mailbox.backfill_after}
        return Found(
            gmail=session.scalar(text(f"SELECT count(*) FROM ({_SEEN}) s"), keys) or 0,  # noqa: S608
            stored=session.scalar(text(_STORED), keys) or 0,
            missing=tuple(session.scalars(text(_MISSING), keys)),
            extra=tuple(session.scalars(text(_EXTRA), keys)),
        )


def _list(sync: Sync) -> None:
    with sync.transaction() as session:
        wanted.forget_listing(session, sync.mailbox.id)
    after = sync.mailbox.backfill_after
    with sync.gmail.patience(LISTING_PATIENCE):
        list_all(sync, after=after, spam_trash=True)
        labels = set(sync.gmail.label_ids()) | set(HIDING_LABELS)
        for label_id in sorted(labels):
            list_all(sync, label_id=label_id, after=after, spam_trash=True)


def _repair(session: Session, sync: Sync, found: Found) -> Report:
    """Wish for what is missing, drop what is extra, and take over Gmail's labels."""
    keys = {"mailbox": sync.mailbox.id}
    threads = session.execute(text(_THREADS), {**keys, "ids": list(found.missing)})
    wanted.want(session, sync.mailbox.team_id, sync.mailbox.id, threads.all())
    conversations.drop_copies(session, sync.mailbox.id, found.extra)
    relabelled = session.scalars(text(_RELABEL), keys).all()
    of_copies = select(Message.conversation_id).join(Copy, Copy.message_id == Message.id)
    conversations.changed(session, session.scalars(of_copies.where(among(Copy.id, relabelled)).distinct()).all())
    wanted.forget_listing(session, sync.mailbox.id)
    missing, extra = len(found.missing), len(found.extra)
    return Report(
        found.gmail,
        found.stored,
        missing,
        extra,
        len(relabelled),
        missing + extra + len(relabelled),
        found.missing[:SAMPLE],
        found.extra[:SAMPLE],
    )


def _record(session: Session, sync: Sync, report: Report, kind: str) -> None:
    if not report.clean:
        events.record(
            session,
            sync.mailbox.team_id,
            kind,
            actor=events.SYNC,
            mailbox_id=sync.mailbox.id,
            data={"missing": report.missing, "extra": report.extra},
        )


def checkable(sync: Sync) -> bool:
    """Whether the first reading is over, so that a difference means something."""
    return sync.mailbox.backfill == Backfill.DONE
