"""What rooms are handed, made from settings: one place where the web, the worker and the CLI get the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from config.settings import Settings
from tracker.db import Sessions, make_engine, make_sessions, plain_url

if TYPE_CHECKING:
    from gmail_sync.oauth import Google
    from gmail_sync.session import Services
    from scheduler.post import Post
    from tracker.jobs import Jobs
    from tracker.secrets import Cipher
    from webhooks.bells.bells import Bells
    from webhooks.judge import Judge


@dataclass(frozen=True)
class Rooms:
    """The database, the queue, and what speaks with Gmail.

    All but the database are made, with their libraries, when somebody first asks for them: most commands don't.
    """

    settings: Settings
    engine: Engine
    sessions: Sessions

    @cached_property
    def jobs(self) -> Jobs:
        """The queue."""
        from tracker.jobs import Jobs

        assert self.settings.database_url is not None
        return Jobs(self.settings.database_url)

    @cached_property
    def gmail(self) -> Services:
        """What speaks with Gmail."""
        from gmail_sync.session import Services
        from gmail_sync.vault import Vault

        settings = self.settings
        assert settings.secret_key is not None
        return Services(
            sessions=self.sessions,
            vault=Vault(settings.secret_key, settings.old_secret_keys.split()),
            google=google(settings),
            units_per_minute=settings.gmail_units_per_minute,
            backfill_days=settings.backfill_days,
            silence=timedelta(seconds=settings.poll_seconds),
            pubsub_topic=settings.pubsub_topic,
        )

    @cached_property
    def post(self) -> Post:
        """What sends later."""
        from scheduler.post import Post
        from scheduler.whereabouts import places

        return Post(self.gmail, places(), tracks_at=tracks_at(self.settings))

    @cached_property
    def push_cipher(self) -> Cipher:
        """What seals the keys that we sign notifications with."""
        from tracker.secrets import Cipher

        settings = self.settings
        assert settings.secret_key is not None
        return Cipher(b"tracker web push", settings.secret_key, settings.old_secret_keys.split())

    def bells(self) -> Bells:
        """What tells people, to be started in a worker."""
        from webhooks.bells.bells import Bells
        from webhooks.bells.push import contact_of

        settings = self.settings
        assert settings.database_url is not None
        contact = contact_of(settings.url, settings.admin_addresses)
        return Bells(
            self.sessions, plain_url(settings.database_url), self.push_cipher, self.gmail.now,
            contact=contact, private=settings.push_private,
        )  # fmt: skip

    def judge(self) -> Judge:
        """What judges hits, to be started in a worker."""
        from webhooks.judge import Judge
        from webhooks.verdicts import networks

        assert self.settings.database_url is not None
        scanners = networks.read(self.settings.scanner_networks)
        return Judge(self.sessions, self.settings.database_url, self.gmail.now, scanners)

    def close(self) -> None:
        """Let go of every connection."""
        if "jobs" in self.__dict__:
            self.jobs.close()
        self.engine.dispose()


def furnish(settings: Settings) -> Rooms:
    """Make what the rooms are handed. `settings.database_url` and `settings.secret_key` must be set."""
    assert settings.database_url is not None
    assert settings.secret_key is not None
    engine = make_engine(settings.database_url, pool_size=settings.worker_concurrency + 5)
    return Rooms(settings, engine, make_sessions(engine))


def tracks_at(settings: Settings) -> str:
    """Our address for pixels and links in mail; empty if those who get the mail would not reach it.

    What Google sends goes to the world: a link that leads to one's own machine would be a dead one. The sandbox's
    mail stays here.
    """
    from webhooks.tracking import is_reachable

    return settings.url if is_reachable(settings.url) or not settings.gmail_is_googles else ""


def google(settings: Settings) -> Google:
    """Where Google is."""
    from gmail_sync.oauth import Google

    return Google(
        api_url=settings.gmail_api_url,
        auth_url=settings.google_auth_url,
        token_url=settings.google_token_url,
        certs_url=settings.google_certs_url,
        client_id=settings.google_client_id,
        client_secret=settings.google_client_secret,
    )
