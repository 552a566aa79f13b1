"""A team with a sent, tracked mail in Alice's mailbox, and its browsers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from sqlalchemy import Engine

from tests.tracker.web.conftest import app, browser, team, write
from tests.tracker.web.factories_web import counted

__all__ = ["app", "browser", "team", "write"]


@pytest.fixture
def count_queries(engine: Engine) -> Callable[[], AbstractContextManager[list[str]]]:
    """The statements within a block."""
    return lambda: counted(engine)
