"""Tracking of what the outbox sends: what `webhooks.tracking` is told, and what its rules say of waiting mail."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from scheduler import letters
from scheduler.emails import BOTH, ScheduledEmail
from scheduler.letters import Letter
from scheduler.post import Post
from scheduler.states import EDITABLE, OPEN, State
from tracker.db import among, transaction
from webhooks import tracking, tracking_html, tracking_settings
from webhooks.tracking import Outgoing, Rules, Standing
from webhooks.tracks import TrackedEmail

log = logging.getLogger(__name__)
FROM_GMAIL = "Tracker puts nothing into what was written in Gmail; “Track this mail” in the panel there does"


def instrumented(post: Post, email: ScheduledEmail, raw: bytes) -> bytes:
    """The mail as its draft is made of it. What goes wrong here must not keep a mail from going."""
    mail = Outgoing(
        email.id, email.team_id, email.user_id, email.mailbox_id, email.recipients, raw, email.box_id,
        email.conversation_id, email.track_opens, email.track_clicks,
    )  # fmt: skip
    try:
        with transaction(post.sessions) as session:
            return tracking.instrument(session, mail, post.tracks_at, largest=letters.LARGEST)
    except SQLAlchemyError:  # nothing else would work either
        raise
    except Exception:
        log.exception("The mail %s goes out untracked", email.id)
        return raw


def read_back(post: Post, letter: Letter) -> Letter:
    """A draft as its writer knows it: without our pixel, its links leading where they lead."""
    with transaction(post.sessions) as session:
        html, text = tracking.strip(session, letter.html), tracking.unwrap(session, letter.text)
    return replace(letter, html=html, text=text)


def edited_in_gmail(session: Session, email: ScheduledEmail) -> None:
    """A draft of ours was changed in Gmail, perhaps to go to others: to somebody who is not to be tracked.

    What is in the draft stays there; where its sender or the lists don't want it, it is no longer listened to.
    """
    may = tracking.may_track(session, email.team_id, email.recipients, email.user_id) is None
    opens, clicks = (may and chosen is not False for chosen in (email.track_opens, email.track_clicks))
    tracking.addressed(session, email.id, email.recipients, opens=opens, clicks=clicks)


def rules_of(session: Session, email: ScheduledEmail, tracks_at: str) -> Rules:
    """The rules for one mail of the outbox."""
    return tracking.rules(session, email.team_id, email.mailbox_id, email.user_id, email.recipients, tracks_at)


def standing(session: Session, email: ScheduledEmail, tracks_at: str, *, is_html: bool) -> Standing:
    """Whether a mail is tracked: what is in it once its draft is made, before that what the rules say."""
    there = tracking.of_scheduled(session, email.id)
    if there is not None and not email.behind:
        return Standing(there.opens, there.clicks)
    found = rules_of(session, email, tracks_at)
    if email.only_in_gmail:
        return Standing(why=found.lists.reason(email.recipients) or FROM_GMAIL)
    said = found.standing(email.recipients, opens=email.track_opens, clicks=email.track_clicks, is_html=is_html)
    if email.behind and email.state in EDITABLE:
        return said
    # Its draft is made, and there is nothing in it: at that time something spoke against it.
    return Standing(why=said.why or "it was not when it was prepared")


def linked(rules: Rules, session: Session, user_id: int | None, markup: str) -> int:
    """How many links of a mail would lead through us."""
    own = tracking_settings.links_of(session, user_id)
    kept = tracking_html.Kept(rules.public_url, own, bare=rules.settings.bare_links)
    return len(tracking_html.links(markup, kept))


def _follow_never(session: Session, team_id: int, values: Sequence[str], now: datetime) -> None:
    """Some are never to be tracked: drafts that wait for their time are made anew without it.

    Those of whom the lists speak now are found by the rules themselves; nobody waits longer than a draft takes.
    """
    concerned = tracking_settings.among_values(session, ScheduledEmail.recipients, team_id, values)
    query = (
        select(ScheduledEmail)
        .where(ScheduledEmail.team_id == team_id, ScheduledEmail.state.in_(OPEN), concerned)
        .order_by(ScheduledEmail.id)
        .with_for_update()  # one whose draft is being made is settled before this, or not at all
    )
    spoken_of = _spoken_of(
        session, team_id, session.scalars(query.execution_options(populate_existing=True)).all()
    )
    for email in spoken_of:
        if email.only_in_gmail or email.held_by == BOTH or email.state == State.SENDING:
            # What is in the draft stays there; it is no longer listened to.
            tracking.addressed(session, email.id, email.recipients, opens=False, clicks=False)
    _make_anew(session, [one.id for one in spoken_of if not one.only_in_gmail and one.held_by != BOTH], now)


def _spoken_of(session: Session, team_id: int, mails: Sequence[ScheduledEmail]) -> list[ScheduledEmail]:
    """The mails that the lists let nobody track."""
    by_user: dict[int | None, list[ScheduledEmail]] = {}
    for email in mails:
        by_user.setdefault(email.user_id, []).append(email)
    found = []
    for user_id, own in by_user.items():
        lists = tracking_settings.lists(
            session, team_id, {one for each in own for one in each.recipients}, user_id
        )
        found += [email for email in own if lists.reason(email.recipients) is not None]
    return found


def _make_anew(session: Session, ids: Sequence[int], now: datetime) -> None:
    """Make drafts again; one that is being made was made of lists that have changed since, and comes again too."""
    tracked = select(TrackedEmail.id).where(TrackedEmail.scheduled_email_id == ScheduledEmail.id).exists()
    behind = {
        "behind": True,
        "only_tracking": ScheduledEmail.only_tracking | ~ScheduledEmail.behind,
        "try_at": now,
    }
    for before, after in ((State.QUEUED, State.PREPARING), (State.HELD, State.HELD), (State.PREPARING,) * 2):
        session.execute(
            update(ScheduledEmail)
            .where(among(ScheduledEmail.id, ids), ScheduledEmail.state == before.value)
            .where(ScheduledEmail.behind | tracked)
            .values(state=after.value, version=ScheduledEmail.version + 1, **behind)
            .execution_options(synchronize_session=False)
        )


tracking_settings.on_never.append(_follow_never)


def sent(session: Session, email: ScheduledEmail, at: datetime | None) -> None:
    """A mail went out by another way than the dispatcher's."""
    if at is not None:
        tracking.sent(session, email.id, at)
