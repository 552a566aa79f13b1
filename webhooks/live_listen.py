"""Hearing what changed: one connection of the process, which LISTENs, and comes back when it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from random import uniform

import psycopg

from tracker import topics
from webhooks.live_hub import Hub

log = logging.getLogger(__name__)

NAME = "tracker live"  # as the server's list of connections calls it
PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds
SILENCE = 30.0  # seconds; then we ask whether the server is still there
ANSWER = 10.0  # seconds to do so


async def listen(url: str, hub: Hub) -> None:
    """Hand the hub what is heard, until cancelled. `url` is libpq's."""
    failures = 0
    while True:
        try:
            async for _ in _heard(url, hub):
                failures = 0
        except (psycopg.Error, OSError, TimeoutError) as error:
            if failures == 0:
                log.warning("Nothing is heard from the database (%s); trying again", str(error).strip())
        hub.deaf()
        await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)] * uniform(0.7, 1.3))  # noqa: S311
        failures += 1


async def _heard(url: str, hub: Hub) -> AsyncIterator[None]:
    """Publish what is heard; yields now and then, while the connection is good."""
    async with await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=10, application_name=NAME
    ) as connection:
        await connection.execute(f"LISTEN {topics.CHANNEL}")
        hub.hearing()
        yield
        while True:
            async for heard in connection.notifies(timeout=SILENCE):
                _publish(hub, heard.payload)
            async with asyncio.timeout(ANSWER):
                await connection.execute("SELECT 1")
            yield


def _publish(hub: Hub, payload: str) -> None:
    try:
        team_id, told = topics.parse(payload)
    except ValueError:
        log.warning("%r is no list of topics", payload[:100])
    else:
        hub.publish(team_id, told)
