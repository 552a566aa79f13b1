"""The baseline of `bench.sync`: a straight script that makes the same calls and inserts the same rows.

It lists, plans each thread the cheaper way, fetches in batches of 50 with google-api-python-client as its
documentation shows, parses with the same parser, and inserts a message's rows one statement each, committing
after every batch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build_from_document
from googleapiclient.http import BatchHttpRequest
from psycopg.types.json import Jsonb

from bench.sync import report
from config.settings import load
from gmail_sync.client import _discovery
from gmail_sync.parse import ParsedMessage, parse
from tracker.db import plain_url

TABLES = """
CREATE TABLE messages (id bigserial PRIMARY KEY, identity bytea UNIQUE, message_id text, sent_at timestamptz,
  utc_offset int, date_header text, sender_name text, sender_address text, subject text, snippet text, text text,
  html text, automatic text, search tsvector GENERATED ALWAYS AS (to_tsvector('simple', left(subject, 2000)) ||
  to_tsvector('simple', left(text, 150000))) STORED);
CREATE INDEX ON messages USING gin (search);
CREATE INDEX ON messages (sent_at);
CREATE TABLE recipients (id bigserial PRIMARY KEY, message bigint REFERENCES messages, kind text, name text,
  address text, normalized text);
CREATE INDEX ON recipients (message);
CREATE INDEX ON recipients (normalized);
CREATE TABLE copies (id bigserial PRIMARY KEY, message bigint REFERENCES messages, gmail_id text UNIQUE,
  thread text, labels text[], history_id numeric, internal_date timestamptz, size int, headers jsonb,
  attachments jsonb);
CREATE INDEX ON copies (thread);
"""


def main() -> None:
    """List, fetch, insert, report."""
    settings = load()
    kept = json.loads(os.environ["BENCH_CREDENTIALS"])
    credentials = Credentials(None, **{name: value for name, value in kept.items() if name != "type"})
    users = build_from_document(_discovery(settings.gmail_api_url), credentials=credentials).users()
    with psycopg.connect(plain_url(settings.database_url or "")) as connection:
        connection.execute(TABLES)
        connection.commit()
        start, count = time.perf_counter(), 0
        threads = _listed(users)
        for batch in _batches(users, threads, f"{settings.gmail_api_url}/batch/gmail/v1"):
            for resource in batch:
                _insert(connection, parse(resource))
                count += 1
            connection.commit()
    report(count, time.perf_counter() - start)


def _listed(users: Any) -> dict[str, list[str]]:
    threads: dict[str, list[str]] = {}
    users.getProfile(userId="me").execute()
    token = None
    while True:
        page = users.messages().list(userId="me", maxResults=500, pageToken=token).execute()
        for message in page.get("messages", ()):
            threads.setdefault(message["threadId"], []).append(message["id"])
        token = page.get("nextPageToken")
        if token is None:
            return threads


def _batches(users: Any, threads: dict[str, list[str]], url: str) -> Iterator[list[Any]]:
    messages, whole = users.messages(), users.threads()
    found: list[Any] = []

    def keep(_: str, answer: Any, error: Exception | None) -> None:
        if error is not None:
            raise error
        found.extend(answer.get("messages", [answer]))

    batch = BatchHttpRequest(callback=keep, batch_uri=url)
    calls = 0
    for thread, ids in threads.items():
        request = whole.get(userId="me", id=thread) if len(ids) > 1 else messages.get(userId="me", id=ids[0])
        batch.add(request)
        calls += 1
        if calls == 25:  # as many calls as Tracker's batches hold on average
            batch.execute()
            yield found
            found.clear()
            batch, calls = BatchHttpRequest(callback=keep, batch_uri=url), 0
    if calls:
        batch.execute()
        yield found


def _insert(connection: psycopg.Connection[Any], mail: ParsedMessage) -> None:
    sender = mail.sender
    row = connection.execute(
        "INSERT INTO messages (identity, message_id, sent_at, utc_offset, date_header, sender_name,"
        " sender_address, subject, snippet, text, html, automatic)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " RETURNING id",
        (mail.identity, mail.message_id, mail.sent_at, mail.utc_offset, mail.date_header,
         sender.name if sender else "", sender.address if sender else "", mail.subject, mail.snippet,
         mail.text, mail.html, mail.automatic),
    ).fetchone()  # fmt: skip
    assert row is not None
    for kind, addresses in (("to", mail.to), ("cc", mail.cc)):
        for one in addresses:
            connection.execute(
                "INSERT INTO recipients (message, kind, name, address, normalized) VALUES (%s, %s, %s, %s, %s)",
                (row[0], kind, one.name, one.address, one.normalized),
            )
    connection.execute(
        "INSERT INTO copies (message, gmail_id, thread, labels, history_id, internal_date, size, headers,"
        " attachments) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (row[0], mail.gmail_id, mail.gmail_thread_id, list(mail.label_ids), mail.history_id, mail.internal_date,
         mail.size_estimate, Jsonb([list(header) for header in mail.headers]),
         Jsonb([one.filename for one in mail.attachments])),
    )  # fmt: skip


if __name__ == "__main__":
    main()
