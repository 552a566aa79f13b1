"""Tracking: a pixel and links that lead through us, put into mail that goes out, and taken out of what is quoted.

Only mail that Tracker composed is touched: a draft that was written or edited in Gmail goes out as it stands
there. Only the HTML changes; the plain text keeps its links, and plain mail carries nothing. A reply that
somebody writes in Gmail itself quotes our pixel, and may fire it again: nothing can be done about that here, the
judging has to know.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Select, literal_column, or_, select, text, union_all, update
from sqlalchemy.orm import Session

from tracker import conversations
from tracker.db import among
from tracker.people import OwnAddress
from webhooks import tracking_html, tracking_mime, tracking_settings
from webhooks.tracking_html import Kept, Spot
from webhooks.tracking_mime import Part
from webhooks.tracking_settings import Lists, MailboxTracking
from webhooks.tracking_settings import Source as Source
from webhooks.tracking_settings import may_track as may_track
from webhooks.tracking_settings import never_track as never_track
from webhooks.tracking_settings import never_track_any as never_track_any
from webhooks.tracking_settings import withdraw as withdraw
from webhooks.tracks import TrackedEmail, TrackedLink

LARGEST = 25 * 1_048_576  #: bytes of a message that Gmail takes
MOST_TOKENS = 5_000  #: that are looked up for one mail, which may be anybody's
UNREACHABLE = "nobody outside reaches this Tracker; its operator sets TRACKER_PUBLIC_URL"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A mail of the outbox whose draft is about to be made."""

    scheduled_email_id: int
    team_id: int
    user_id: int | None
    mailbox_id: int
    recipients: Sequence[str]  #: normalized: To, Cc, Bcc
    raw: bytes
    box_id: int | None = None
    conversation_id: int | None = None
    opens: bool | None = None  #: none: as its mailbox has it
    clicks: bool | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a mail is tracked, and why not."""

    opens: bool = False
    clicks: bool = False
    why: str = ""  #: why neither is

    @property
    def words(self) -> str:
        """In words, for its sender."""
        if not (self.opens or self.clicks):
            return f"Not tracked: {self.why}"
        if self.opens and self.clicks:
            return "You are told when it is read, and when a link is clicked"
        return "You are told when it is read" if self.opens else "You are told when a link is clicked"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the tracking of some mails depends on, read once for all of them."""

    settings: MailboxTracking
    lists: Lists
    public_url: str  #: empty if nobody outside reaches it
    own: frozenset[str] = frozenset()  #: the team's own addresses among the recipients

    def standing(
        self, recipients: Collection[str], *, opens: bool | None, clicks: bool | None, is_html: bool = True
    ) -> Standing:
        """Whether a mail to these is tracked. `opens` and `clicks` are what its sender chose, if anything."""
        wanted = (
            (self.settings.opens if opens is None else opens),
            (self.settings.clicks if clicks is None else clicks),
        )
        why = self._why_not(recipients, any(wanted), opens is not None or clicks is not None, is_html)
        return Standing(why=why) if why else Standing(*wanted)

    def _why_not(self, recipients: Collection[str], wanted: bool, chosen: bool, is_html: bool) -> str:
        listed = self.lists.reason(recipients)
        if listed is not None:
            return listed
        if not wanted:
            return "you left it off for this mail" if chosen else "mail of this mailbox is not"
        if recipients and self.own.issuperset(recipients):
            return "it stays within the team"
        if not is_html:
            return "it is plain text"
        return "" if self.public_url else UNREACHABLE


def rules(
    session: Session,
    team_id: int,
    mailbox_id: int,
    user_id: int | None,
    recipients: Collection[str],
    public_url: str,
) -> Rules:
    """The rules for mails to any of these recipients."""
    settings = tracking_settings.of_mailbox_id(session, team_id, mailbox_id)
    lists = tracking_settings.lists(session, team_id, recipients, user_id)
    ours = select(OwnAddress.normalized).where(
        OwnAddress.team_id == team_id, among(OwnAddress.normalized, recipients)
    )
    return Rules(settings, lists, public_url, frozenset(session.scalars(ours)))


def is_reachable(public_url: str) -> bool:
    """Whether others may get to this address: it is no loopback's, no private network's."""
    host = (urlsplit(public_url).hostname or "").lower()
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa"))


# -- putting it in


def instrument(session: Session, mail: Outgoing, public_url: str, *, largest: int = LARGEST) -> bytes:
    """The mail's bytes with a pixel and rewritten links, or as they are if it is not to be tracked.

    Rows are made, or used again: the same mail gets the same tokens each time, and a link that is edited away
    keeps its own, so that an address that was copied already still works. Without `public_url` nothing is tracked.
    A mail that would grow past `largest` bytes goes untracked.
    """
    part = tracking_mime.html_part(mail.raw)
    made = _made(session, mail, part, public_url) if part is not None else None
    if made is None or len(made) > largest:
        _off(session, mail)
        return mail.raw
    return made


def _made(session: Session, mail: Outgoing, part: Part, public_url: str) -> bytes | None:
    found = rules(session, mail.team_id, mail.mailbox_id, mail.user_id, mail.recipients, public_url)
    standing = found.standing(mail.recipients, opens=mail.opens, clicks=mail.clicks)
    spots = _spots(session, mail, part.html, found) if standing.clicks else []
    if not (standing.opens or spots):
        return None
    row = _row(session, mail, opens=standing.opens, clicks=bool(spots))
    html = tracking_html.instrument(
        part.html, zip(spots, _tokens(session, row, spots), strict=True), public_url=public_url,
        pixel=tracking_html.pixel_tag(public_url, row.token) if standing.opens else "",
        foot=tracking_html.foot_of(public_url, row.token, found.settings.opt_out_line),
    )  # fmt: skip
    return tracking_mime.replaced(mail.raw, part, html)


def _spots(session: Session, mail: Outgoing, markup: str, found: Rules) -> list[Spot]:
    own = tracking_settings.links_of(session, mail.user_id)
    return tracking_html.links(markup, Kept(found.public_url, own, bare=found.settings.bare_links))


def _row(session: Session, mail: Outgoing, *, opens: bool, clicks: bool) -> TrackedEmail:
    query = select(TrackedEmail).where(TrackedEmail.scheduled_email_id == mail.scheduled_email_id)
    row = session.scalar(query)
    if row is None:
        row = TrackedEmail(team_id=mail.team_id, scheduled_email_id=mail.scheduled_email_id)
        session.add(row)
    row.user_id, row.mailbox_id, row.box_id = mail.user_id, mail.mailbox_id, mail.box_id
    row.conversation_id, row.recipients = mail.conversation_id, list(mail.recipients)
    row.opens, row.clicks = opens, clicks
    session.flush()
    return row


def _tokens(session: Session, row: TrackedEmail, spots: Sequence[Spot]) -> list[str]:
    """A token for each link: the one that this address had here before, else a new one."""
    query = select(TrackedLink).where(TrackedLink.tracked_email_id == row.id).order_by(TrackedLink.position)
    there = session.scalars(query).all()
    free: dict[str, deque[TrackedLink]] = defaultdict(deque)
    for link in there:
        free[link.url].append(link)
    position = there[-1].position + 1 if there else 0
    used = []
    for spot in spots:
        if not free[spot.url]:
            link = TrackedLink(team_id=row.team_id, tracked_email_id=row.id, position=position, url=spot.url)
            session.add(link)
            free[spot.url].append(link)
            position += 1
        used.append(free[spot.url].popleft())
    session.flush()
    return [link.token for link in used]


def _off(session: Session, mail: Outgoing) -> None:
    """It is not tracked (any more); its tokens stay for whoever has copied them."""
    session.execute(
        update(TrackedEmail)
        .where(TrackedEmail.scheduled_email_id == mail.scheduled_email_id)
        .values(opens=False, clicks=False)
    )


# -- taking it out


def strip(session: Session, markup: str, public_url: str = "") -> str:
    """HTML or text without our pixels and opt-out lines, its links leading where they led; at most one query.

    For what Tracker quotes, and for drafts read back from Gmail. Pixels of other addresses than `public_url` are
    known by their token.
    """
    urls, pixels = known(session, tracking_html.tokens(markup))
    return tracking_html.strip(markup, urls, pixels, public_url)


def unwrap(session: Session, plain: str) -> str:
    """A plain text whose links lead where they led."""
    urls, _ = known(session, tracking_html.tokens(plain))
    return tracking_html.unwrapped(plain, urls)


def known(session: Session, tokens: Collection[str]) -> tuple[Mapping[str, str], frozenset[str]]:
    """Of these tokens: where links lead, and which ones are mails'."""
    if not tokens:
        return {}, frozenset()
    tokens = list(tokens)[:MOST_TOKENS]
    links = select(TrackedLink.token, TrackedLink.url).where(among(TrackedLink.token, tokens))
    mails: Select[str, Any] = select(TrackedEmail.token, literal_column("NULL")).where(
        among(TrackedEmail.token, tokens)
    )
    rows = session.execute(union_all(links, mails)).all()
    return (
        {token: url for token, url in rows if url is not None},
        frozenset(token for token, url in rows if url is None),
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """The addresses of a mail as a page of ours shows it: no pixel of ours, and no redirect."""

    public_url: str
    urls: Mapping[str, str]

    def __call__(self, name: str, value: str) -> str | None:
        """The address for `href` or `src`; None takes it away."""
        if name == "src":
            return None if tracking_html.is_pixel(value, self.public_url) else value
        return tracking_html.unwrapped(value, self.urls)


def shown(session: Session, markup: str, public_url: str) -> Shown:
    """What a mail's addresses are on a page of ours; one query, and none for mail without links of ours."""
    return Shown(public_url, known(session, tracking_html.tokens(markup))[0])


# -- what became of it


def addressed(
    session: Session, scheduled_email_id: int, recipients: Sequence[str], *, opens: bool, clicks: bool
) -> None:
    """It goes to these now, as it stands in Gmail. What may not be tracked of it is not listened to any more."""
    quiet = {name: False for name, may in (("opens", opens), ("clicks", clicks)) if not may}
    row = update(TrackedEmail).where(TrackedEmail.scheduled_email_id == scheduled_email_id)
    session.execute(row.values(recipients=list(recipients), **quiet))


def sent(session: Session, scheduled_email_id: int, at: datetime) -> None:
    """A mail of the outbox went out."""
    sent_many(session, {scheduled_email_id: at})


_SENT = text(
    """
    UPDATE tracked_emails AS t SET sent_at = v.at
    FROM unnest(CAST(:ids AS bigint[]), CAST(:ats AS timestamptz[])) AS v(id, at)
    WHERE t.scheduled_email_id = v.id AND (t.opens OR t.clicks)
    """
)


def sent_many(session: Session, went: Mapping[int, datetime]) -> None:
    """Mails of the outbox went out, by their number: one statement for all."""
    if went:
        session.execute(_SENT, {"ids": list(went), "ats": list(went.values())})


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sent mail that the mailbox's syncing brought."""

    scheduled_email_id: int
    message_id: int
    conversation_id: int
    box_id: int | None = None


_ARRIVED = text(
    """
    UPDATE tracked_emails AS t
    SET message_id = v.message_id, conversation_id = v.conversation_id, box_id = coalesce(v.box_id, t.box_id)
    FROM unnest(
      CAST(:ids AS bigint[]), CAST(:messages AS bigint[]), CAST(:conversations AS bigint[]),
      CAST(:boxes AS bigint[])
    ) AS v(id, message_id, conversation_id, box_id)
    WHERE t.scheduled_email_id = v.id AND (t.opens OR t.clicks)
    """
)


# Written and tracked in Gmail, and given a time there: its reads are the outbox's mail's, too.
_BY_HAND = text(
    """
    UPDATE tracked_emails AS t SET scheduled_email_id = v.id
    FROM unnest(CAST(:ids AS bigint[]), CAST(:messages AS bigint[])) AS v(id, message_id)
    WHERE t.message_id = v.message_id AND t.by_hand AND t.scheduled_email_id IS NULL
      AND NOT EXISTS (SELECT FROM tracked_emails o WHERE o.scheduled_email_id = v.id)
    """
)


def arrived(session: Session, found: Iterable[Arrival]) -> None:
    """Sent mails are in the store now: two statements for all."""
    rows = list(found)
    if rows:
        values = {
            "ids": [one.scheduled_email_id for one in rows],
            "messages": [one.message_id for one in rows],
            "conversations": [one.conversation_id for one in rows],
            "boxes": [one.box_id for one in rows],
        }
        session.execute(_BY_HAND, {name: values[name] for name in ("ids", "messages")})
        session.execute(_ARRIVED, values)


_BOXES = text(
    """
    UPDATE tracked_emails AS t SET box_id = b.merged_into_id FROM boxes b
    WHERE b.id = t.box_id AND b.merged_into_id IS NOT NULL
    """
)


def follow_boxes(session: Session) -> None:
    """Mails whose box became another's follow it."""
    session.execute(_BOXES)


def of_scheduled(session: Session, scheduled_email_id: int) -> TrackedEmail | None:
    """What was put into a mail of the outbox, if anything is in it."""
    query = select(TrackedEmail).where(
        TrackedEmail.scheduled_email_id == scheduled_email_id, or_(TrackedEmail.opens, TrackedEmail.clicks)
    )
    return session.scalar(query)


def _follow_merge(session: Session, loser: int, survivor: int) -> None:
    moved = update(TrackedEmail).where(TrackedEmail.conversation_id == loser)
    session.execute(moved.values(conversation_id=survivor).execution_options(synchronize_session=False))


conversations.on_merge.append(_follow_merge)
