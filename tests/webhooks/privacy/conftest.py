"""The team and the application of the pages' tests."""

from tests.tracker.web.conftest import app, browser, team

__all__ = ["app", "browser", "team"]
