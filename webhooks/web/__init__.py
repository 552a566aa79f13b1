"""The pages of reads, clicks and the bell, put together. Each module's `init_app(app)` adds its own."""

from __future__ import annotations

from flask import Flask

from webhooks.web import base, bell, bell_settings, privacy_contact, reads, tracking
from webhooks.web.base import Web as Web


def init_app(app: Flask, handed: Web) -> None:
    """Add the pages to an application that has the frame; what they are handed is `base.web()`."""
    app.extensions[base.EXTENSION] = handed
    base.init_assets(app)
    # One line a module, in the order of the alphabet.
    bell.init_app(app)
    bell_settings.init_app(app)
    privacy_contact.init_app(app)
    reads.init_app(app)
    tracking.init_app(app)
