"""Hits that arrived become rows of `hits`: each key once, with the largest count that arrived of it.

The doors only append to `hit_arrivals`, so that what they do takes as long with ten million stored hits as with
none; whatever needs indexes is done here, many at once, by whoever reads hits next: the judge, mostly.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.orm import Session

MOST = 2_000  #: hits taken in in one transaction

# In the order of keys, so that two who take in the same ones don't wait for each other; of mail that was deleted
# meanwhile nothing.
_TAKE_IN = """
WITH taken AS MATERIALIZED (
  DELETE FROM hit_arrivals WHERE {which} RETURNING *
), mails AS MATERIALIZED (
  SELECT id FROM tracked_emails WHERE id IN (SELECT tracked_email_id FROM taken) ORDER BY id FOR KEY SHARE
), latest AS (
  SELECT DISTINCT ON (key) * FROM taken WHERE tracked_email_id IN (SELECT id FROM mails) ORDER BY key, repeats DESC
), kept AS (
  INSERT INTO hits (team_id, key, tracked_email_id, link_id, kind, at, address, agent, headers, user_key, repeats)
  SELECT team_id, key, tracked_email_id, link_id, kind, at, address, agent, headers, user_key, repeats
    FROM latest ORDER BY key
  ON CONFLICT (key) DO UPDATE SET repeats = excluded.repeats WHERE hits.repeats < excluded.repeats
)
SELECT count(*) FROM taken
"""
_SOME = text(
    _TAKE_IN.format(which="ctid = ANY (ARRAY(SELECT ctid FROM hit_arrivals LIMIT :most FOR UPDATE SKIP LOCKED))")
)
_OF = text(_TAKE_IN.format(which="tracked_email_id = ANY (CAST(:ids AS bigint[]))"))


def take_in_some(session: Session, most: int = MOST) -> int:
    """Take in hits that nobody else has at hand; returns how many. Come again while it is `most`."""
    return int(session.execute(_SOME, {"most": most}).scalar_one())


def take_in(session: Session, tracked_ids: Collection[int]) -> int:
    """Take in all that arrived for these mails; waits for whoever has some of it at hand."""
    if not tracked_ids:
        return 0
    return int(session.execute(_OF, {"ids": list(tracked_ids)}).scalar_one())
