"""What rooms are handed, made from settings: one place where the web, the worker and the CLI get the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine

from config.settings import Settings
from gmail_sync.oauth import Google
from gmail_sync.session import Services
from gmail_sync.vault import Vault
from tracker.db import Sessions, make_engine, make_sessions
from tracker.jobs import Jobs


@dataclass(frozen=True, slots=True)
class Rooms:
    """The database, the queue, and what speaks with Gmail."""

    settings: Settings
    engine: Engine
    sessions: Sessions
    jobs: Jobs
    gmail: Services

    def close(self) -> None:
        """Let go of every connection."""
        self.jobs.close()
        self.engine.dispose()


def furnish(settings: Settings) -> Rooms:
    """Make what the rooms are handed. `settings.database_url` must be set."""
    assert settings.database_url is not None
    assert settings.secret_key is not None
    engine = make_engine(settings.database_url, pool_size=settings.worker_concurrency + 5)
    sessions = make_sessions(engine)
    services = Services(
        sessions=sessions,
        vault=Vault(settings.secret_key, settings.old_secret_keys.split()),
        google=google(settings),
        units_per_minute=settings.gmail_units_per_minute,
        backfill_days=settings.backfill_days,
        silence=timedelta(seconds=settings.poll_seconds),
        pubsub_topic=settings.pubsub_topic,
    )
    return Rooms(settings, engine, sessions, Jobs(settings.database_url), services)


def google(settings: Settings) -> Google:
    """Where Google is."""
    return Google(
        api_url=settings.gmail_api_url,
        auth_url=settings.google_auth_url,
        token_url=settings.google_token_url,
        certs_url=settings.google_certs_url,
        client_id=settings.google_client_id,
        client_secret=settings.google_client_secret,
    )
