"""Whose address it is: the team's own or somebody's outside, and so which mail is purely internal.

An address is ours if it is kept as the team's own (a guest's is not), or if its domain is one that the team is
open to or that one of its people signs in with (Google Workspace): `cfo@` and `all@` are ours without an account.
What follows for each message is kept beside it (`Message.outside`), for the gate asks for it again and again.
"""

# ruff: noqa: S608 - all that is put together are our own words

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

_DOMAINS = (
    "SELECT d.domain FROM allowed_domains d WHERE d.team_id = {team} UNION"
    " SELECT lower(w.workspace) FROM users w WHERE w.team_id = {team} AND w.workspace IS NOT NULL"
    " AND w.role <> 'guest'"
)
_OWN = (
    "SELECT {what} FROM own_addresses oa LEFT JOIN users ou ON ou.id = oa.user_id"
    " WHERE oa.team_id = {team} AND ou.role IS DISTINCT FROM 'guest'"
)


def is_ours(team: str, address: str) -> str:
    """SQL: an address is the team's own; both as SQL."""
    own = _OWN.format(what="1", team=team) + f" AND oa.normalized = {address}"
    return f"(EXISTS ({own}) OR split_part({address}, '@', -1) IN ({_DOMAINS.format(team=team)}))"


#: SQL: somebody outside wrote or got the message `m`. Reply-To is no participant, nor is Bcc.
WITH_OUTSIDER = (
    f"(NOT {is_ours('m.team_id', 'm.sender_normalized')} OR EXISTS (SELECT 1 FROM recipients r"
    f" WHERE r.message_id = m.id AND r.kind <> 'reply-to' AND NOT {is_ours('m.team_id', 'r.normalized')}))"
)
_AGAIN = f"UPDATE messages m SET outside = NOT m.outside WHERE m.team_id = :team AND m.outside <> {WITH_OUTSIDER}"
_WITH_ADDRESSES = text(
    _AGAIN + " AND m.id = ANY (ARRAY("
    "SELECT s.id FROM messages s WHERE s.team_id = :team AND s.sender_normalized = ANY (CAST(:some AS text[]))"
    " UNION SELECT t.message_id FROM recipients t"
    " WHERE t.team_id = :team AND t.normalized = ANY (CAST(:some AS text[]))))"
)
_AT_DOMAIN = text(
    _AGAIN + " AND m.id = ANY (ARRAY("
    "SELECT s.id FROM messages s WHERE s.team_id = :team AND split_part(s.sender_normalized, '@', -1) = :domain"
    " UNION SELECT t.message_id FROM recipients t"
    " WHERE t.team_id = :team AND split_part(t.normalized, '@', -1) = :domain))"
)
_OWN_OF = text(_OWN.format(what="oa.normalized", team=":team"))
_DOMAINS_OF = text(_DOMAINS.format(team=":team"))
_LOCK = text("SELECT pg_advisory_xact_lock(1001, CAST(:team AS integer))")


@dataclass(frozen=True, slots=True)
class Ours:
    """The team's own addresses and domains, as they are now."""

    addresses: frozenset[str]
    domains: frozenset[str]

    def __contains__(self, normalized: object) -> bool:
        return isinstance(normalized, str) and (
            normalized in self.addresses or normalized.rpartition("@")[2] in self.domains
        )

    def outside(self, sender: str, recipients: Iterable[dict[str, Any]]) -> bool:
        """Whether a mail that is stored is with somebody outside."""
        got = [one["normalized"] for one in recipients if one["kind"] != "reply-to"]
        return any(one not in self for one in (sender, *got))


def of_team(session: Session, team_id: int) -> Ours:
    """What is the team's own."""
    return Ours(
        frozenset(session.scalars(_OWN_OF, {"team": team_id})),
        frozenset(session.scalars(_DOMAINS_OF, {"team": team_id})),
    )


def addresses_changed(connection: Connection, team_id: int, normalized: Sequence[str]) -> None:
    """Addresses are ours now, or no more: their mail is put right.

    Mail is taken in under the team's lock: what is being stored just now either knows of it, or is here by then.
    """
    connection.execute(_LOCK, {"team": team_id})
    connection.execute(_WITH_ADDRESSES, {"team": team_id, "some": list(normalized)})


def domain_changed(connection: Connection, team_id: int, domain: str) -> None:
    """A domain is ours now, or no more."""
    connection.execute(_LOCK, {"team": team_id})
    connection.execute(_AT_DOMAIN, {"team": team_id, "domain": domain.lower()})
