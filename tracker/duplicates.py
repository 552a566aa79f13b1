"""Duplicates: contacts, and organizations, that look like one and the same, each pair with its reasons in words.

The database finds candidates by keys that two spellings share; what a key can't know (which domains belong
together, which are free-mail providers') is looked at here. "Not the same" is an event, read back: it is said
seldom, and this page is the only one that asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import events, organizations, phones
from tracker.addresses import domain_of, is_free_mail, organization_domain
from tracker.contacts import Contact, Organization
from tracker.db import among
from tracker.people import Viewer

PAGE = 20
DISTINCT = "contacts.distinct"
DISTINCT_ORGANIZATIONS = "organizations.distinct"
#: More than so many with one key are no duplicates: a switchboard's number, a name such as "Info".
CROWD = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """Two that may be one; the older stands first."""

    one: Contact
    other: Contact
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrganizationPair:
    """Two organizations that may be one; the older stands first."""

    one: Organization
    other: Organization
    reasons: tuple[str, ...]


# A name's words in the order of the alphabet, an address's local part without tag and dots, a number's digits.
# `brand` is the label before the public suffix, roughly: what it gets wrong is looked at again in Python.
_FIND = text(
    r"""
WITH named AS (
  SELECT c.id, c.organization_id, array_to_string(ARRAY(
    SELECT word FROM regexp_split_to_table(lower(c.name), '[[\:punct\:][\:space\:]]+') word
    WHERE word <> '' ORDER BY word), ' ') AS words
  FROM contacts c WHERE c.team_id = :team
), split AS (
  SELECT a.contact_id AS id, replace(split_part(split_part(a.normalized, '@', 1), '+', 1), '.', '') AS bare,
         split_part(a.normalized, '@', 2) AS domain
  FROM contact_addresses a WHERE a.team_id = :team AND a.normalized LIKE '%@%'
), keys AS (
  SELECT id, 'name' AS kind, words || ' @' || organization_id AS key FROM named
  WHERE words <> '' AND organization_id IS NOT NULL
  UNION ALL SELECT id, 'private', words FROM named WHERE words LIKE '% %'
  UNION ALL SELECT c.id, 'phone', regexp_replace(number, '[^0-9]+', '', 'g')
  FROM contacts c, unnest(string_to_array(c.phone, ', ')) number
  WHERE c.team_id = :team AND length(regexp_replace(number, '[^0-9]+', '', 'g')) >= 7
  UNION ALL SELECT id, 'variant', bare || '@' || domain FROM split WHERE bare <> ''
  UNION ALL SELECT id, 'local', bare || '@' || regexp_replace(
    regexp_replace(domain, '(\.(co|com|org|net|ac|gov|edu|or|ne))?\.[a-z0-9-]+$', ''), '^.*\.', '')
  FROM split WHERE bare <> ''
), few AS (
  SELECT kind, array_agg(DISTINCT id) AS ids FROM keys
  GROUP BY kind, key HAVING count(DISTINCT id) BETWEEN 2 AND :crowd
), said AS (
  SELECT data ->> 'one' AS one, data ->> 'other' AS other FROM events WHERE team_id = :team AND kind = :distinct
)
SELECT a.id, b.id
FROM few CROSS JOIN unnest(ids) a(id) CROSS JOIN unnest(ids) b(id)
JOIN contacts x ON x.id = a.id JOIN contacts y ON y.id = b.id
WHERE a.id < b.id AND (a.id, b.id) > (:one, :other)
  AND (kind <> 'private' OR (x.organization_id IS NULL) <> (y.organization_id IS NULL))
  AND NOT EXISTS (SELECT 1 FROM said WHERE said.one = least(x.key COLLATE "C", y.key)
                                       AND said.other = greatest(x.key COLLATE "C", y.key))
GROUP BY a.id, b.id ORDER BY a.id, b.id LIMIT :limit
"""
)


def find(session: Session, viewer: Viewer, after: str = "", *, limit: int = PAGE) -> tuple[list[Pair], str]:
    """A page of pairs, and the cursor behind it ("" at the end); a cursor is the pair's keys with a dot between.

    A page may be shorter than `limit`: of what shares a key, some has no reason that holds.
    """
    one, other = _ids_at(session, viewer.team_id, after)
    asked = {
        "team": viewer.team_id,
        "crowd": CROWD,
        "distinct": DISTINCT,
        "one": one,
        "other": other,
        "limit": limit + 1,
    }
    _settle_plan(session)
    found = session.execute(_FIND, asked).all()
    ids = {id_ for pair in found[:limit] for id_ in pair}
    query = select(Contact).where(among(Contact.id, ids))
    query = query.options(joinedload(Contact.organization), selectinload(Contact.addresses))
    by_id = {contact.id: contact for contact in session.scalars(query)}
    # Asked in SQL, of the whole team: who may not see one of them (or it was merged meanwhile) is shown no pair.
    pairs = [
        Pair(by_id[a], by_id[b], tuple(reasons(by_id[a], by_id[b])))
        for a, b in found[:limit]
        if a in by_id and b in by_id
    ]
    more = f"{pairs[-1].one.key}.{pairs[-1].other.key}" if pairs and len(found) > limit else ""
    return [pair for pair in pairs if pair.reasons], more


def _settle_plan(session: Session) -> None:
    """PostgreSQL would compile the query, which takes it longer than to run it."""
    session.execute(text("SET LOCAL jit = off"))


def _ids_at(session: Session, team_id: int, cursor: str) -> tuple[int, int]:
    one, _, other = cursor.partition(".")
    if not other:
        return 0, 0
    query = select(Contact.key, Contact.id).where(Contact.team_id == team_id, Contact.key.in_((one, other)))
    ids = dict(session.execute(query).all())
    return ids.get(one, 0), ids.get(other, 0)


def reasons(one: Contact, other: Contact) -> list[str]:
    """Why two contacts may be one person, in words; the best first."""
    return [*_by_name(one, other), *_by_phone(one, other), *_by_address(one, other)]


def _words(name: str) -> list[str]:
    return sorted("".join(char if char.isalnum() else " " for char in name.casefold()).split())


def _by_name(one: Contact, other: Contact) -> list[str]:
    if _words(one.name) != _words(other.name) or not _words(one.name):
        return []
    if one.organization is not None and one.organization_id == other.organization_id:
        return [f"Both are called {one.name} and work at {one.organization.name}"]
    if len(_words(one.name)) > 1 and (one.organization_id is None) != (other.organization_id is None):
        return [f"Both are called {one.name}, and one writes from a private address or has none"]
    return []


def _by_phone(one: Contact, other: Contact) -> list[str]:
    mine = {phones.digits(number): number for number in phones.of(one.phone)}
    theirs = {phones.digits(number) for number in phones.of(other.phone)}
    shared = [number for digits, number in mine.items() if digits and digits in theirs]
    return [f"The same phone number, {phones.shown(shared[0])}"] if shared else []


def _by_address(one: Contact, other: Contact) -> list[str]:
    for mine in one.addresses:
        for theirs in other.addresses:
            if _bare(mine.normalized) != _bare(theirs.normalized) or not _bare(mine.normalized):
                continue
            spelt = f"{mine.address} and {theirs.address}"
            domains = domain_of(mine.normalized), domain_of(theirs.normalized)
            if domains[0] == domains[1]:
                return [f"{spelt} differ only in dots or in what follows the +"]
            if _related(*domains):
                return [f"{spelt}: the same name at domains that belong together"]
    return []


def _bare(normalized: str) -> str:
    return normalized.partition("@")[0].partition("+")[0].replace(".", "")


def _related(one: str, other: str) -> bool:
    """Whether two domains look like one company's: mail.acme.com and acme.com, acme.de and acme.co.uk."""
    if is_free_mail(one) or is_free_mail(other):
        return False
    registered = organization_domain(f"x@{one}"), organization_domain(f"x@{other}")
    return None not in registered and str(registered[0]).split(".")[0] == str(registered[1]).split(".")[0]


def say_distinct(session: Session, viewer: Viewer, one: Contact, other: Contact) -> None:
    """Remember that two contacts are two people: they are not shown as duplicates again."""
    _say(session, viewer, DISTINCT, one.key, other.key)


def _say(session: Session, viewer: Viewer, kind: str, *keys: str) -> None:
    first, second = sorted(keys, key=str.encode)
    data = {"one": first, "other": second}
    events.record(session, viewer.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, data=data)


# -- organizations

_FIND_ORGANIZATIONS = text(
    r"""
WITH keys AS (
  SELECT o.id, 'name' AS kind, btrim(regexp_replace(
    regexp_replace(lower(o.name), '[[\:punct\:][\:space\:]]+', ' ', 'g'),
    '( (inc|llc|ltd|limited|corp|co|company|gmbh|ag|kg|se|sa|sas|sarl|srl|spa|bv|nv|oy|ab|as|plc|group))+ *$', ''
  )) AS key
  FROM organizations o WHERE o.team_id = :team
  UNION ALL SELECT d.organization_id, 'domain', split_part(d.domain, '.', 1)
  FROM organization_domains d WHERE d.team_id = :team
), few AS (
  SELECT kind, array_agg(DISTINCT id) AS ids FROM keys WHERE key <> ''
  GROUP BY kind, key HAVING count(DISTINCT id) BETWEEN 2 AND :crowd
), said AS (
  SELECT data ->> 'one' AS one, data ->> 'other' AS other FROM events WHERE team_id = :team AND kind = :distinct
)
SELECT a.id, b.id, bool_or(kind = 'name'), bool_or(kind = 'domain')
FROM few CROSS JOIN unnest(ids) a(id) CROSS JOIN unnest(ids) b(id)
JOIN organizations x ON x.id = a.id JOIN organizations y ON y.id = b.id
WHERE a.id < b.id
  AND NOT EXISTS (SELECT 1 FROM said WHERE said.one = least(x.key COLLATE "C", y.key)
                                       AND said.other = greatest(x.key COLLATE "C", y.key))
GROUP BY a.id, b.id ORDER BY a.id, b.id LIMIT :limit
"""
)


def find_organizations(session: Session, viewer: Viewer, *, limit: int = PAGE) -> list[OrganizationPair]:
    """Organizations that may be one: the first of them; others follow once these are settled."""
    asked = {"team": viewer.team_id, "crowd": CROWD, "distinct": DISTINCT_ORGANIZATIONS, "limit": limit}
    _settle_plan(session)
    found = session.execute(_FIND_ORGANIZATIONS, asked).all()
    ids = {id_ for row in found for id_ in row[:2]}
    by_id = {one.id: one for one in session.scalars(select(Organization).where(among(Organization.id, ids)))}
    domains = organizations.domains(session, ids)
    pairs = []
    for one, other, by_name, by_domain in found:
        if one not in by_id or other not in by_id:
            continue
        told = ["The same name, but for its spelling"] if by_name else []
        if by_domain:
            told.append(f"Domains that look alike: {_named(domains[one])} and {_named(domains[other])}")
        pairs.append(OrganizationPair(by_id[one], by_id[other], tuple(told)))
    return pairs


def _named(domains: Sequence[str]) -> str:
    return ", ".join(domains[:3])


def say_distinct_organizations(session: Session, viewer: Viewer, one: Organization, other: Organization) -> None:
    """Remember that two organizations are two."""
    _say(session, viewer, DISTINCT_ORGANIZATIONS, one.key, other.key)
