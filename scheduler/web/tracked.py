"""Whether a mail is tracked and why not, on the pages that write it and show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler import tracked
from scheduler.letters import Letter
from scheduler.outbox import ScheduledEmail
from scheduler.sheet import Sheet
from scheduler.web.base import web
from scheduler.writing import Mail
from tracker.web.frame import db
from webhooks import tracking
from webhooks.tracking import Rules


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the form has ticked, and what comes of it."""

    opens: bool
    clicks: bool
    lines: Sequence[str] = ()


def forecast(shown: Sheet, mails: Sequence[Mail] = ()) -> Forecast:
    """Whether the mails that a form makes would be tracked: the same number of queries for many as for one."""
    post, mailbox = web().post, shown.mailbox
    people = {one.normalized for mail in mails for one in mail.letter.recipients}
    rules = tracking.rules(db(), mailbox.team_id, mailbox.id, mailbox.user_id, people, post.tracks_at)
    opens = rules.settings.opens if shown.track_opens is None else shown.track_opens
    clicks = rules.settings.clicks if shown.track_clicks is None else shown.track_clicks
    links = _links(rules, shown, mails)
    told = Counter(_words(rules, shown, mail.letter, links) for mail in mails)
    many = len(told) > 1
    return Forecast(opens, clicks, [f"{number} of {len(mails)}: {words}" if many else words
                                    for words, number in told.most_common()])  # fmt: skip


def _links(rules: Rules, shown: Sheet, mails: Sequence[Mail]) -> int:
    return tracked.linked(rules, db(), shown.mailbox.user_id, mails[0].letter.html) if mails else 0


def _words(rules: Rules, shown: Sheet, letter: Letter, links: int) -> str:
    people = [one.normalized for one in letter.recipients]
    standing = rules.standing(people, opens=shown.track_opens, clicks=shown.track_clicks)
    words = f"{standing.words}."
    if standing.clicks and not links:
        words += " It has no link that leads through us."
    if (standing.opens or standing.clicks) and len(people) > 1:
        words += f" By whom of the {len(people)} can’t be known."
    return words


def of_email(email: ScheduledEmail, letter: Letter | None) -> str:
    """Whether a mail of the outbox is tracked, and why not, in words."""
    is_html = letter is None or bool(letter.html)
    return tracked.standing(db(), email, web().post.tracks_at, is_html=is_html).words
