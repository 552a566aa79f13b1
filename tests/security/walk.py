"""A walk through everything that the pages answer, as one person: the addresses come from the URL map."""

# ruff: noqa: E501 - lists of names
from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Request
from sqlalchemy import text
from sqlalchemy.orm import Session
from werkzeug.http import parse_cookie
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from tests.security.canary import BOX, MAIL, TYPED
from tests.tracker.web.factories_web import CHARLIE

#: Not asked: they would wait for Google.
NOT_ASKED = {"gmail_drafts.index", "gmail_drafts.show", "gmail_drafts.queue"}
WORDS = re.compile(f"{MAIL}|{BOX}", re.IGNORECASE)

#: Which table's keys a route's `<key>` is, by where its address begins; the longest that fits.
KEYS = {
    "/b/": "boxes", "/p/": "pipelines", "/c/": "conversations", "/m/": "messages", "/messages/": "messages",
    "/contacts/": "contacts", "/organizations/": "organizations", "/outbox/": "scheduled_emails",
    "/bell/": "notifications", "/bell/browsers/": "push_subscriptions", "/mailboxes/": "mailboxes",
    "/reads/": "tracked_emails", "/templates/": "mail_templates", "/filings/": "filings",
    "/sequences/": "sequence_runs", "/sequences/plans/": "sequence_plans", "/pipelines/": "pipelines",
    "/sequences/after/": "scheduled_emails", "/team/": "users", "/team/invitations/": "invitations",
    "/outbox/of/": "boxes",
    "/sharing/conversations/": "conversations", "/sharing/grants/": "sharing_grants",
    "/sharing/mailboxes/": "mailboxes", "/sharing/pipelines/": "pipelines",
    "/sharing/requests/": "access_requests", "/me/sessions/": "sign_ins", "/me/keys/": "api_keys", "/tracking/mailboxes/": "mailboxes",
}  # fmt: skip
#: And of other names in addresses.
NAMES = {
    "activity": "activities", "task": "tasks", "field": "fields", "stage": "stages", "view": "saved_views",
    "made": "imports", "mailbox": "mailboxes", "conversation": "conversations", "contact": "contacts",
    "box": "boxes", "other": "boxes", "at": "stages", "message": "messages", "user": "users", "person": "users",
    "pipeline": "pipelines",
}  # fmt: skip
#: What is no key.
PLAIN = {
    "filename": ["app.css"], "number": ["0", "1"], "column": ["name"], "kind": ["note", "box", "contact"],
    "name": ["contacts", "timeline", "tasks", "fields", "mail", "conversations", "stage"], "draft": ["r1"],
    "token": ["unknown"],
}  # fmt: skip


#: Where all that there is goes through the walk; of the rest one each is enough.
PRIVATE = ("messages", "conversations", "boxes", "contacts", "organizations", "notifications", "pipelines")
#: Pages that tell the most, to which a short walk goes with what is shared and with what is not.
MAIN = ("/b/<key>", "/c/<key>", "/p/<key>", "/p/<key>/table", "/contacts/<key>", "/m/<key>")
#: What of it comes first, where a walk goes to a few of each only: what Alice keeps to herself.
FIRST = {
    "messages": f"subject LIKE '%{MAIL}%' DESC",
    "conversations": f"id IN (SELECT conversation_id FROM messages WHERE subject LIKE '%{MAIL}%') DESC",
    "boxes": f"name LIKE '%{BOX}%' DESC",
    "contacts": "name = 'Dana Okafor' DESC",
}


class Noting(Request):
    """A request that notes whether the page looks at what it is asked."""

    looked = False

    @property
    def args(self) -> Any:  # type: ignore[override]
        """What stands behind the question mark."""
        Noting.looked = True
        return super().args


class Eyes:
    """One person's browser. Its cookie stays as it is: signing out, and what was said, are for one answer only."""

    def __init__(self, app: Flask, cookie: str) -> None:
        self.client = app.test_client(use_cookies=False)
        self.client.environ_base["HTTP_ACCEPT"] = "text/html"
        self.name = app.config["SESSION_COOKIE_NAME"]
        self.headers = {"Cookie": f"{self.name}={cookie}"} if cookie else {}
        self.signed = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]

    def get(self, address: str) -> TestResponse:
        """Open a page."""
        Noting.looked = False
        return self.client.get(address, headers=self.headers)

    def post(self, address: str, data: Mapping[str, str]) -> TestResponse:
        """Send a form, as htmx does."""
        return self.client.post(address, data=data, headers={**self.headers, "HX-Request": "true"})

    def kept(self, answer: TestResponse) -> str:
        """What an answer lays into the cookie: the next page says it."""
        found = (
            parse_cookie(one.partition(";")[0]).get(self.name) for one in answer.headers.getlist("Set-Cookie")
        )
        return json.dumps([self.signed.loads(one) for one in found if one], default=str)

    def leak(self, address: str, answer: TestResponse, words: re.Pattern[str] = WORDS) -> str:
        """What an answer tells that it must not, and where it stands; or that it broke."""
        place = address.split("?")[0]
        if answer.status_code >= 500:
            return f"{place}: {answer.status}"
        said = f"{answer.headers}\n{self.kept(answer)}\n{answer.get_data(as_text=True)}"
        found = words.search(said)
        return f"{place}: …{said[max(0, found.start() - 90) : found.end() + 30]!r}" if found else ""

    def found(self, addresses: Iterable[str], words: re.Pattern[str] = WORDS) -> list[str]:
        """What the pages at these addresses tell."""
        return [told for one in addresses if (told := self.leak(one, self.get(one), words))]

    def everywhere(self, walk: Walk, words: re.Pattern[str] = WORDS) -> list[str]:
        """What every page tells; those that look at what they are asked are asked the walk's questions too."""
        leaks, questions = [], list(walk.questions())
        for rule in walk.rules("GET"):
            for address in walk.filled(rule):
                leaks.append(self.leak(address, self.get(address), words))
                if Noting.looked:
                    leaks += self.found((address + one for one in questions), words)
        return [one for one in leaks if one]


def told(leaks: Iterable[str]) -> str:
    """A leak of each place, and how many there are."""
    by_place: dict[str, list[str]] = defaultdict(list)
    for one in leaks:
        by_place[re.sub(r"/[\w-]{16}\b", "/…", one.split(":")[0])].append(one)
    return "".join(f"\n{place} ({len(some)}): {some[0]}" for place, some in by_place.items())


@dataclass(slots=True)
class Walk:
    """Every address that the URL map knows, filled in from what there is."""

    app: Flask
    keys: dict[str, list[str]]
    secret: str = ""
    most: int = 9  #: addresses of one route
    asks: int = 2  #: of the questions that pages take

    def rules(self, method: str) -> list[Rule]:
        """The routes that take this method."""
        found = [one for one in self.app.url_map.iter_rules() if method in (one.methods or ())]
        asked = (one for one in found if "static" not in one.endpoint and one.endpoint not in NOT_ASKED)
        return sorted(asked, key=lambda one: one.rule)

    def filled(self, rule: Rule) -> list[str]:
        """Its addresses. Raises `LookupError` with the name of what nobody knows how to fill in."""
        names = sorted(rule.arguments)
        choices = [self._values(rule, name) for name in names]
        adapter = self.app.url_map.bind("localhost")
        found = itertools.islice(itertools.product(*choices), max(self.most, 2 * (rule.rule in MAIN)))
        return [adapter.build(rule.endpoint, dict(zip(names, one, strict=True))) for one in found]

    def _values(self, rule: Rule, name: str) -> Sequence[Any]:
        if name == "secret":
            return [self.secret]
        if name in PLAIN:
            return [int(one) for one in PLAIN[name]] if "int:" + name in rule.rule else PLAIN[name]
        table = NAMES.get(name) or _longest(rule.rule)
        if table is None:
            raise LookupError(f"{rule.endpoint} ({rule.rule}): nothing is known to fill in for <{name}>")
        found = self.keys.get(table) or ["nothing-there"]
        return found if table in PRIVATE else found[:1]

    def questions(self) -> Iterator[str]:
        """Query strings with what pages take from them, for each of the things that are Alice's alone."""
        columns = ("messages", "conversations", "contacts", "boxes")
        rows = itertools.zip_longest(*(self.keys[one] for one in columns), fillvalue="")
        for message, conversation, contact, box in itertools.islice(rows, 0, 4 * self.asks, 4):
            asked = {
                "q": TYPED, "typed": TYPED, "name": TYPED, "to": TYPED, "reply": message, "all": "1",
                "message": message, "conversation": conversation, "conversations": conversation, "key": conversation,
                "only": conversation, "contact": contact, "box": box, "show": "all",
            }  # fmt: skip
            yield "?" + urlencode(asked)


def _longest(rule: str) -> str | None:
    fitting = [one for one in KEYS if rule.startswith(one)]
    return KEYS[max(fitting, key=len)] if fitting else None


def all_keys(session: Session, team_id: int) -> dict[str, list[str]]:
    """The keys of everything of a team, by table."""
    query = text(
        "SELECT table_name FROM information_schema.columns WHERE column_name IN ('id', 'key', 'team_id') "
        "AND table_schema = 'public' GROUP BY 1 HAVING count(*) = 3"
    )
    return {
        table: list(
            session.scalars(
                text(f"SELECT key FROM {table} WHERE team_id = :t ORDER BY {FIRST.get(table, 'id')}, id"),
                {"t": team_id},
            )
        )
        for table in session.scalars(query).all()
    }


def form(walk: Walk, turn: int) -> Mapping[str, str]:
    """What forms take, all in one: each route reads what it knows."""

    def key(table: str) -> str:
        found = walk.keys.get(table) or [""]
        return found[turn % len(found)]

    return {
        "q": TYPED, "typed": TYPED, "name": "Something", "title": "Something", "text": "Something", "subject": "Re: this",
        "to": CHARLIE, "address": CHARLIE, "box": key("boxes"), "chosen": key("boxes"), "key": key("conversations"),
        "conversation": key("conversations"), "conversations": key("conversations"), "only": key("conversations"),
        "choice": f"{key('conversations')} {key('boxes')}", "contact": key("contacts"), "contacts": key("contacts"),
        "message": key("messages"), "reply": key("messages"), "all": "1", "stage": key("stages"),
        "pipeline": key("pipelines"), "pipelines": key("pipelines"), "scope": "pipeline", "level": "1", "inside": "1",
        "grant": key("sharing_grants"), "mailbox": key("mailboxes"), "loser": key("boxes"), "survivor": key("boxes"),
        "other": key("boxes"), "user": key("users"), "owner": key("users"), "until": "tomorrow", "due": "tomorrow",
        "value": TYPED, "what": "look", "action": "archive",
    }  # fmt: skip
