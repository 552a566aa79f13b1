"""Alice's desk, as the tests of writing mail have it, at a Tracker that others reach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import Engine

from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from tests.scheduler.web.conftest import _clock, desk  # noqa: F401
from tests.tracker.web.conftest import browser, team, write  # noqa: F401
from tests.webhooks.tracking.got import URL
from tracker.db import Sessions


@pytest.fixture
def app(database_url: str, engine: Engine, sessions: Sessions) -> Iterator[Flask]:
    """The web application of a Tracker that the world reaches."""
    settings = load(
        database_url=database_url, secret_key="k" * 40, google_client_id="id", google_client_secret="secret",
        public_url=URL,
    )  # fmt: skip
    furnished = Rooms(settings, engine, sessions)
    made = create_app(settings, furnished)
    made.config.update(TESTING=True, WTF_CSRF_ENABLED=False, PROPAGATE_EXCEPTIONS=False)
    yield made
    furnished.close()
