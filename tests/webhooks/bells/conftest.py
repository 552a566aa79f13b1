"""The team and the application of the pages' tests, a worker's bells, and a push service that decrypts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import Engine

from tests.tracker.web.conftest import app, browser, team, write
from tests.webhooks.bells.ringing import Ringing
from tests.webhooks.bells.services import PushService
from tracker.db import Sessions

__all__ = ["app", "browser", "team", "write"]


@pytest.fixture
def service() -> Iterator[PushService]:
    """A local push service with browsers of its own."""
    with PushService() as made:
        yield made


@pytest.fixture
def ringing(app: Flask, sessions: Sessions, engine: Engine) -> Iterator[Ringing]:
    """A worker's bells, one round at a time, with a clock that the test sets."""
    made = Ringing(sessions, engine)
    yield made
    made.close()
