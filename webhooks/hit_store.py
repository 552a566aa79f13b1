"""Hits into the table: one statement and one commit for as many as there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import psycopg

from webhooks.hit_record import KEY_IN_LINE
from webhooks.hits import CHANNEL

log = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds for a batch to be answered; then the database counts as away
CONNECTING = 5  # seconds
# Small tables may have no statistics yet, and the statement is planned once: only by the indexes of the tokens.
# Commits are waited for, whatever the server's default is, unless it asks for even more.
OPTIONS = (
    "-c jit=off -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off "
    "-c enable_mergejoin=off -c statement_timeout=10s -c lock_timeout=10s"
)
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)

# Nothing is looked for among the hits that are there, and no lock is taken: `webhooks.hit_intake` does that later.
# Of mail that is tracked no more (somebody asked so) nothing is kept, and its links go on to lead where they led.
# Where no token is known there is something to be flushed all the same: a guesser waits for as long as anybody.
_KEEP = f"""
WITH given AS MATERIALIZED (
  SELECT * FROM json_to_recordset(%s::json) AS line(key uuid, kind text, token text, at timestamptz, address inet,
    agent text, headers jsonb, user_key text, repeats integer)
), found AS MATERIALIZED (
  SELECT given.*, tracked.team_id, tracked.id AS tracked_email_id, NULL::bigint AS link_id, NULL::text AS url,
    tracked.opens OR tracked.clicks AS noted
    FROM given JOIN tracked_emails tracked ON tracked.token = given.token WHERE given.kind = 'open'
  UNION ALL
  SELECT given.*, link.team_id, link.tracked_email_id, link.id, link.url, tracked.opens OR tracked.clicks
    FROM given JOIN tracked_links link ON link.token = given.token
    JOIN tracked_emails tracked ON tracked.id = link.tracked_email_id WHERE given.kind = 'click'
), kept AS (
  INSERT INTO hit_arrivals
    (team_id, key, tracked_email_id, link_id, kind, at, address, agent, headers, user_key, repeats)
  SELECT team_id, key, tracked_email_id, link_id, kind, at, address, agent, headers, user_key, repeats
    FROM found WHERE noted
)
SELECT
  CASE WHEN count(*) > 0 THEN pg_notify('{CHANNEL}', '')::text
    ELSE pg_logical_emit_message(true, '{CHANNEL}', '')::text END,
  json_object_agg(key, url) FILTER (WHERE kind = 'click')
FROM found
"""  # noqa: S608 - a constant


class Away(Exception):
    """The database can't be reached, or doesn't answer."""


class Store:
    """One connection to the database. One task at a time may call."""

    def __init__(self, url: str, name: str, patience: float = PATIENCE) -> None:
        """`url` is libpq's, `name` is how the server lists us, `patience` is in seconds."""
        self.url, self.name, self.patience = url, name, patience
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as we know."""
        return self._connection is not None

    async def connect(self) -> None:
        """Open the connection. Raises `Away`."""
        connecting = psycopg.AsyncConnection.connect(
            self.url, autocommit=True, connect_timeout=CONNECTING, application_name=self.name,
            options=OPTIONS, keepalives_idle=30,
        )  # fmt: skip
        try:
            async with asyncio.timeout(CONNECTING):
                connection = await connecting
                await connection.execute(_DURABLE)
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise Away(str(error).strip() or "no answer") from None
        self._connection = connection

    async def keep(self, lines: Sequence[str]) -> dict[str, str]:
        """Commit these hits; of the links among them where they lead, by the hit's key. Raises `Away`.

        No two lines have the same key. A line that the database refuses for what it says is left out.
        """
        try:
            return await self._commit(lines)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(lines) == 1:
                log.error("A hit is left out: %s", str(error).strip())  # noqa: TRY400 - its words say all
                return {}
        middle = len(lines) // 2
        return await self.keep(lines[:middle]) | await self.keep(lines[middle:])

    async def _commit(self, lines: Sequence[str]) -> dict[str, str]:
        connection = self._connection
        if connection is None:
            raise Away("not connected")
        asking = asyncio.create_task(_ask(connection, f"[{','.join(lines)}]"))
        try:
            done, _ = await asyncio.wait({asking}, timeout=self.patience)
        except asyncio.CancelledError:
            self._abandon(asking)
            raise
        if not done:
            self._abandon(asking)
            raise Away(f"no answer within {self.patience:g} s")
        try:
            return asking.result()
        except (psycopg.DataError, psycopg.IntegrityError):
            raise
        except (psycopg.Error, OSError) as error:
            self._abandon(asking)
            raise Away(str(error).strip()) from None

    def _abandon(self, asking: asyncio.Task[dict[str, str]]) -> None:
        """Let go of the connection without waiting: what it commits all the same has its key."""
        connection, self._connection = self._connection, None
        assert connection is not None
        leaving = asyncio.create_task(_leave(connection, asking))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=1)


async def _ask(connection: psycopg.AsyncConnection[Any], lines: str) -> dict[str, str]:
    cursor = await connection.execute(_KEEP, [lines], prepare=True)
    row = await cursor.fetchone()
    links: dict[str, str] = (row and row[1]) or {}
    return {key.replace("-", ""): url for key, url in links.items()}


async def _leave(connection: psycopg.AsyncConnection[Any], asking: asyncio.Task[Any]) -> None:
    asking.cancel()
    await asyncio.wait({asking})
    await connection.close()


def latest(lines: Sequence[str]) -> list[str]:
    """Of lines with the same key only the last, which counts the most."""
    return list({line[KEY_IN_LINE]: line for line in lines}.values())
