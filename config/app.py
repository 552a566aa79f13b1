"""The web application: the only place that knows every slice."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

from flask import Flask

from config import rooms, teams
from config.rooms import Rooms
from config.settings import Settings
from gmail_sync import sync, web_files, web_labels
from gmail_sync import web as gmail_web
from gmail_sync.addon import preview as addon_preview
from gmail_sync.addon import rooms as addon_rooms
from gmail_sync.addon import tokens as addon_tokens
from gmail_sync.addon import web as addon_web
from scheduler import leaving as scheduler_leaving
from scheduler import panel as scheduler_panel
from scheduler import web as outbox_web
from scheduler.calendars import meetings
from scheduler.web import calendar as web_calendar
from scheduler.web import reminders as web_reminders
from scheduler.web import sequences as web_sequences
from scheduler.web import time_zones as web_time_zones
from tracker.web import frame, pages
from tracker.web.frame import Frame
from webhooks import client_address, gmail_push
from webhooks import leaving as webhooks_leaving
from webhooks import panel as webhooks_panel
from webhooks import web as webhooks_web
from webhooks.web import own_views as web_own_views
from webhooks.web import privacy as web_privacy

SESSION_DAYS = 30
LEAVING = (scheduler_leaving, webhooks_leaving)  # they registered what they do when somebody leaves


def create_app(settings: Settings, furnished: Rooms | None = None) -> Flask:
    """The web application for these settings.

    `furnished` is what the rooms are handed, where the caller has it already. `settings.database_url` and
    `settings.secret_key` must be set. Nothing is connected to before the first request.
    """
    furnished = furnished or rooms.furnish(settings)
    app = Flask("tracker.web", static_url_path="/static")
    _configure(app, settings)
    services = furnished.gmail
    pages.init_app(app, Frame(furnished.sessions, teams.templates(), services.now, services.silence))
    gmail_web.init_app(
        app,
        services,
        furnished.jobs,
        public_url=settings.url,
        found=lambda session, address, name: teams.found(session, settings.team_name, address, name),
        admins=settings.admin_addresses,
    )
    web_files.init_app(app, services)
    web_labels.init_app(app)
    addon_rooms.init_app(app)
    web_calendar.init_app(app, furnished.jobs, public_url=settings.url)
    web_sequences.init_app(app)
    web_reminders.init_app(app)
    meetings.init_app(app)
    web_time_zones.init_app(app)
    outbox_web.init_app(app, furnished.post, furnished.jobs, soon=settings.offer_soon)
    scheduler_panel.init_app(app, furnished.post, furnished.jobs, soon=settings.offer_soon)
    handed = webhooks_web.Web(furnished.push_cipher, settings.url, push_private=settings.push_private)
    webhooks_web.init_app(app, handed)
    draft = partial(scheduler_panel.draft_html, furnished.post)
    webhooks_panel.init_app(app, webhooks_panel.Tracking(furnished.post.tracks_at, draft))
    trusted = client_address.networks(settings.trusted_proxies)
    web_own_views.init_app(app, trusted)
    frame.of(app).client_address = lambda: web_own_views.asker(trusted)
    _open_doors(app, settings, furnished)
    return app


def _open_doors(app: Flask, settings: Settings, furnished: Rooms) -> None:
    """The doors that machines knock on; they bring tokens of their own, not our forms'."""
    address = settings.push_audience or f"{settings.url}{gmail_push.PATH}"
    sender = gmail_push.Sender(settings.google_certs_url, address, settings.push_service_account)
    door = gmail_push.Door(furnished.sessions, sender, partial(sync.wake, furnished.jobs), furnished.gmail.now)
    app.extensions["csrf"].exempt(gmail_push.init_app(app, door))
    app.extensions["csrf"].exempt(web_privacy.init_app(app, settings.hits_days))
    if settings.addon_service_account and settings.addon_client_id:
        keys = addon_tokens.Keys(settings.google_certs_url)
        verifier = addon_tokens.Verifier(keys, settings.addon_service_account, settings.addon_client_id)
        panel = addon_web.Door(verifier, settings.url, partial(sync.wake, furnished.jobs))
        app.extensions["csrf"].exempt(addon_web.init_app(app, panel))
        if settings.addon_preview and not settings.gmail_is_googles:  # whoever plays Google signs for it
            addon_preview.init_app(app, addon_preview.Web(settings.gmail_api_url, settings.url))


def _configure(app: Flask, settings: Settings) -> None:
    derive = partial(_derived, b"tracker web session")
    assert settings.secret_key is not None
    app.config.update(
        SECRET_KEY=derive(settings.secret_key),
        SECRET_KEY_FALLBACKS=[derive(key) for key in settings.old_secret_keys.split()],
        SESSION_COOKIE_NAME="tracker_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=urlsplit(settings.url).scheme == "https",
        PERMANENT_SESSION_LIFETIME=timedelta(days=SESSION_DAYS),
        SEND_FILE_MAX_AGE_DEFAULT=timedelta(hours=1),
    )


def _derived(purpose: bytes, secret: str) -> bytes:
    """A key for one purpose: the cookie's signature never tells of the vault's."""
    return hmac.new(secret.encode(), purpose, hashlib.sha256).digest()
