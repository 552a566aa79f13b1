"""A team with mail, its browsers, and a clock that stands still: it is Monday noon in London."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.outbox import ScheduledEmail
from tests.tracker.domain import a_box
from tests.tracker.web.conftest import Team, app, browser, team, write  # noqa: F401
from tests.tracker.web.factories_web import browser_of
from tracker import contacts
from tracker.boxes import Box
from tracker.web import frame

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
DANA = "dana@acme.test"


@pytest.fixture(autouse=True)
def _clock(app: Flask) -> None:  # noqa: F811
    frame.of(app).now = lambda: MONDAY


@dataclass(slots=True)
class Desk:
    """Alice's desk: her browser, Bob's, and a box with Dana in it, who is in Tokyo."""

    team: Team
    alice: FlaskClient
    bob: FlaskClient
    box: Box
    session: Session

    def queued(self) -> list[ScheduledEmail]:
        """What is in the outbox, the first that was queued first."""
        self.session.rollback()
        query = select(ScheduledEmail).order_by(ScheduledEmail.id).execution_options(populate_existing=True)
        return list(self.session.scalars(query))

    def write(self, **fields: object) -> dict[str, object]:
        """A form as a browser sends it."""
        told = {"to": f"Dana Okafor <{DANA}>", "subject": "The offer", "body": "Hi Dana,\n\nhere it is.",
                "when": "nine", "working_days": "1", "late": "morning", "_place": "compose", "box": self.box.key,
                "guard": ["answered", "box_closed", "same_text", "daily_limit"]}  # fmt: skip
        return {name: value for name, value in (told | fields).items() if value is not None}


@pytest.fixture
def desk(app: Flask, team: Team, browser: FlaskClient, write: Session) -> Iterator[Desk]:  # noqa: F811
    alice = write.merge(team.alice)
    alice.time_zone = "Europe/London"
    box = a_box(write, team.viewer, "Acme", DANA)
    dana = contacts.by_address(write, alice.team_id, DANA)
    assert dana is not None
    contacts.change(write, team.viewer, dana, name="Dana Okafor", location="Tokyo, Japan")
    write.commit()
    return Desk(team, browser, browser_of(app, team.bob), box, write)
