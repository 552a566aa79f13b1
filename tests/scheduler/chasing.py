"""What the tests of follow-ups share: a mail to Dora with follow-ups, and the days going by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from scheduler import sequence_turns
from scheduler.calendars.days_off import days_off
from scheduler.local_time import There
from scheduler.outbox import ScheduledEmail
from scheduler.sequence_turns import Where
from scheduler.sequences import SequenceRun, Step
from tests.gmail_sync.syncing import ALICE, mail
from tests.scheduler.sending import Office
from tracker.db import transaction
from tracker.events import Event
from tracker.mailboxes import Mailbox

DORA = "dora@outside.example"
NINE = datetime(2026, 11, 24, 9, tzinfo=UTC)  # a Tuesday
LONDON = Where(There(ZoneInfo("Europe/London"), "London", days_off("GB")), "GB")
STEPS = (Step(2, "<p>Have you seen my offer?</p>"), Step(3, "<p>One last time, {{first_name|hello}}.</p>"))


def there(*_: Any) -> Where:
    return LONDON


@dataclass
class Chase:
    """A mail to Dora with follow-ups."""

    office: Office
    mailbox: Mailbox
    email: ScheduledEmail
    run_id: int

    @property
    def run(self) -> SequenceRun:
        with self.office.team.sessions() as session:
            run = session.get_one(SequenceRun, self.run_id)
            assert run.steps is not None
            return run

    @property
    def state(self) -> tuple[str, str | None]:
        return self.run.state, self.run.stopped_by

    def tick(self) -> set[int]:
        return sequence_turns.advance_due(self.office.team.sessions, self.office.clock(), find=there)

    def at(self, when: datetime) -> None:
        """It is then: the ticks before it have come, drafts are made, what is due has gone."""
        clock = self.office.clock
        while clock.now < when:
            # What happens, happens shortly before nine and at nine.
            day = clock.now.replace(hour=0, minute=0, second=0)
            points = [day + timedelta(hours=hours) for hours in (8.6, 9, 32.6)]
            clock.now = min(when, next(point for point in points if point > clock.now))
            self.round()

    def round(self) -> None:
        self.tick()
        self.office.prepare(self.mailbox)
        self.office.dispatch()
        self.office.clock.advance(minutes=1.1)
        self.tick()
        self.office.clock.advance(minutes=-1.1)

    def sync(self) -> None:
        self.office.team.sync(self.mailbox)

    def arrives(self, body: str = "Thank you!", sender: str = DORA, **headers: str) -> None:
        """A mail reaches Alice, in the thread of the last one of hers unless it says otherwise."""
        last = self.run.references[-1] if self.run.references else ""
        headers = {"In_Reply_To": f"<{last}>", "References": f"<{last}>"} | headers if last else headers
        raw = mail(sender, ALICE, headers.pop("subject", "Re: Offer"), body, **headers)
        self.office.sandbox.deliver(raw, [ALICE])
        self.sync()
        self.tick()

    def delivered(self) -> dict[str, int]:
        return dict(self.office.delivered(DORA))

    def act(self, verb: Any, *arguments: Any, **named: Any) -> None:
        with transaction(self.office.team.sessions) as session:
            run = session.get_one(SequenceRun, self.run_id)
            verb(session, self.office.viewer(self.mailbox), run, *arguments, **named)

    def events(self) -> list[str]:
        with self.office.team.sessions() as session:
            query = select(Event.kind).where(Event.kind.startswith("sequence.")).order_by(Event.id)
            return [kind.removeprefix("sequence.") for kind in session.scalars(query)]
