"""The team and the application of the pages' tests, and a second team that has nothing to do with it."""

from tests.tracker.web.conftest import app, browser, team

__all__ = ["app", "browser", "team"]
