"""The team and the application of the pages' tests."""

from tests.tracker.web.conftest import app, browser, team, write

__all__ = ["app", "browser", "team", "write"]
