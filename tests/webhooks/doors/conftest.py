"""A server with the doors, and the team and the application of the pages' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tracker.web.conftest import app, team
from tests.webhooks.doors.serving import Server

__all__ = ["app", "server", "team"]


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    """Running; a proxy on this machine is trusted."""
    made = Server(database_url, tmp_path, trusted="127.0.0.1").start()
    yield made
    made.kill()
