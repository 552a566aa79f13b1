"""The door to Gmail: transport, budget, errors. The only importer of googleapiclient.

The transport is a `requests` session behind a small adapter, since httplib2 silently repeats a POST whose
answer was lost, and hands answers to the wrong caller when shared between threads. Nothing here is ever
repeated behind the caller's back but what only reads.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import google.auth.exceptions
import httplib2
import requests
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import BatchError, HttpError
from googleapiclient.http import BatchHttpRequest, MediaInMemoryUpload

from gmail_sync.budget import Budget, NoBudget
from gmail_sync.errors import (
    AuthRevoked,
    Conflict,
    GmailError,
    HistoryExpired,
    NeedsAttention,
    NotFound,
    Permanent,
    Transient,
)

PAGE_SIZE = 500  # the most that messages.list and history.list give
BATCH_SIZE = 50  # what Google recommends; 100 is the most
CONCURRENCY = 10  # requests of one user at a time that Gmail puts up with
TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
ATTEMPTS = 4  # of a reading call, before the job is put off
LONGEST_BACKOFF = 64.0  # seconds
QUOTA_REASONS = {
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "quotaExceeded",
    "backendError",
    "RATE_LIMIT_EXCEEDED",  # as `details` names them
    "RESOURCE_EXHAUSTED",
}
ATTENTION_REASONS = {
    "dailyLimitExceeded": "Gmail's daily limit for this project is used up",
    "domainPolicy": "Your Workspace's administrators have switched off Gmail's API for this app",
    "accessNotConfigured": "The Gmail API is not enabled in the Google Cloud project",
    "insufficientPermissions": "Tracker was not given the rights it needs; connect again and tick every box",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": "Tracker was not given the rights it needs; connect again",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A page of `messages.list`: pairs of message and thread id, and where it goes on."""

    ids: tuple[tuple[str, str], ...]
    next_page_token: str | None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of `history.list`; `history_id` counts only on the last."""

    records: tuple[Mapping[str, Any], ...]
    next_page_token: str | None
    history_id: int


@dataclass(frozen=True, slots=True)
class Got:
    """One answer of a batch: the messages it brought, or why there are none."""

    id: str
    messages: tuple[Mapping[str, Any], ...] = ()
    error: GmailError | None = None


class Transport:
    """A `requests` session in the shape of `httplib2.Http`."""

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        redirections: int = 0,
        connection_type: Any = None,
    ) -> tuple[httplib2.Response, bytes]:
        """One request, sent once. Raises what `requests` raises."""
        answer = self._session.request(
            method, uri, data=body, headers=dict(headers or {}), timeout=TIMEOUT, allow_redirects=False
        )
        fields = {name.lower(): value for name, value in answer.headers.items()}
        fields["status"] = str(answer.status_code)
        response = httplib2.Response(fields)
        response.reason = answer.reason
        return response, answer.content

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


@cache
def _discovery(api_url: str) -> dict[str, Any]:
    path = resources.files("googleapiclient.discovery_cache") / "documents" / "gmail.v1.json"
    # client_options' api_endpoint would move ordinary calls but not batches; these two move both.
    return {**json.loads(path.read_text("utf-8")), "rootUrl": f"{api_url}/", "baseUrl": f"{api_url}/"}


class Gmail:
    """One mailbox's door to Gmail. May be used by several threads."""

    def __init__(self, credentials: Credentials, api_url: str, budget: Budget | NoBudget) -> None:
        session = AuthorizedSession(credentials)
        # A pool as wide as the ceiling, and no retry of urllib3's own.
        session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=CONCURRENCY, max_retries=0))
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=CONCURRENCY, max_retries=0))
        self._transport = Transport(session)
        self._users = build_from_document(_discovery(api_url), http=self._transport).users()
        # Each call of `messages()` would build the resource anew, some milliseconds every time.
        self._messages, self._threads = self._users.messages(), self._users.threads()
        self._batch_url = f"{api_url}/batch/gmail/v1"
        self._places = threading.BoundedSemaphore(CONCURRENCY)
        self._budget = budget

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def users(self) -> Any:
        """The API's `users` resource, for rooms that make requests of their own: `read` or `once` asks them."""
        return self._users

    def read(self, method: str, request: Any) -> Any:
        """Ask what only reads, or may safely be repeated, trying again while Gmail says *wait*."""
        return self._read(method, request)

    def once(self, method: str, request: Any) -> Any:
        """Ask a single time, whatever comes of it.

        A `Transient` (but `QuotaWait`, which comes before) does not say whether it was carried out.
        """
        self._budget.acquire({method: 1})
        try:
            with self._places:
                return request.execute(num_retries=0)
        except Exception as error:
            decided = _decide(error)
            if isinstance(decided, Transient):
                self._budget.block(decided.retry_after)
            raise decided from error

    def headers(self, ids: Sequence[str], names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Messages by id in format `metadata`, in one batch; those that Gmail does not hand out are missing."""
        found: dict[str, Mapping[str, Any]] = {}

        def keep(request_id: str, answer: Any, error: Exception | None) -> None:
            if error is None:
                found[request_id] = answer

        batch = BatchHttpRequest(callback=keep, batch_uri=self._batch_url)
        for id_ in ids:
            asked = self._messages.get(userId="me", id=id_, format="metadata", metadataHeaders=list(names))
            batch.add(_bare(asked), request_id=id_)
        if ids:
            self._call({"messages.get": len(ids)}, lambda: batch.execute(http=self._transport))
        return found

    @staticmethod
    def upload(raw: bytes) -> Any:
        """A message as it is uploaded: `raw` inside JSON is only for small ones."""
        return MediaInMemoryUpload(raw, mimetype="message/rfc822", resumable=False)

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Within the block, wait this long for quota: for a listing that would have to begin anew."""
        before = self._budget
        self._budget = replace(before, patience=seconds) if isinstance(before, Budget) else before
        try:
            yield
        finally:
            self._budget = before

    def profile(self) -> tuple[str, int]:
        """The mailbox's address and its newest history id."""
        found = self._read("getProfile", self._users.getProfile(userId="me"))
        return found["emailAddress"], int(found["historyId"])

    def label_ids(self) -> list[str]:
        """The ids of the mailbox's labels."""
        found = self._read("labels.list", self._users.labels().list(userId="me", fields="labels/id"))
        return [label["id"] for label in found.get("labels", ())]

    def labels(self) -> dict[str, str]:
        """The labels that people made, by their ids: the whole paths, levels parted by "/"."""
        found = self._read("labels.list", self._users.labels().list(userId="me", fields="labels(id,name,type)"))
        return {one["id"]: one["name"] for one in found.get("labels", ()) if one.get("type") == "user"}

    def create_label(self, path: str, colors: tuple[str, str] | None) -> str:
        """Make a label, with its background and text colour; its id.

        Raises `Conflict` for a name in use, which it also is where an answer was lost and this was asked again.
        """
        shown = {"labelListVisibility": "labelShow", "messageListVisibility": "show"}
        body = {"name": path, **shown, **_color(colors)}
        made = self._read("labels.create", self._users.labels().create(userId="me", body=body))
        return str(made["id"])

    def patch_label(self, label_id: str, path: str | None, colors: tuple[str, str] | None) -> None:
        """Change a label's path, colours, or both; None leaves it. Raises `Conflict`, `NotFound`."""
        body = {**({"name": path} if path is not None else {}), **_color(colors)}
        self._read("labels.patch", self._users.labels().patch(userId="me", id=label_id, body=body))

    def delete_label(self, label_id: str) -> None:
        """Remove a label, and it from all mail. Raises `NotFound`."""
        self._read("labels.delete", self._users.labels().delete(userId="me", id=label_id))

    def carries(self, label_id: str) -> bool:
        """Whether any mail carries a label, drafts, spam and trash aside. Raises `NotFound`."""
        request = self._messages.list(
            userId="me", maxResults=1, labelIds=[label_id], q="-in:drafts", fields="messages(id)"
        )
        return bool(self._read("messages.list", request).get("messages"))

    def relabel(self, method: str, ids: Sequence[str], add: Sequence[str], remove: Sequence[str]) -> None:
        """Add and remove labels: `messages.modify`, `threads.modify` of one, `messages.batchModify` of many.

        May be repeated. Raises `NotFound`, but not for a batch, which passes over what is not there.
        """
        body = {"addLabelIds": list(add), "removeLabelIds": list(remove)}
        if method == "messages.batchModify":
            request = self._messages.batchModify(userId="me", body={"ids": list(ids), **body})
        else:
            resource = self._threads if method == "threads.modify" else self._messages
            request = resource.modify(userId="me", id=ids[0], body=body)
        self._read(method, request)

    def list_messages(
        self, *, page_token: str | None = None, label_id: str = "", after: datetime | None = None,
        include_spam_trash: bool = False,
    ) -> Page:  # fmt: skip
        """A page of message ids, newest first."""
        request = self._messages.list(
            userId="me",
            maxResults=PAGE_SIZE,
            pageToken=page_token,
            labelIds=[label_id] if label_id else None,
            q=f"after:{int(after.timestamp())}" if after else None,
            includeSpamTrash=include_spam_trash,
            fields="messages(id,threadId),nextPageToken",
        )
        found = self._read("messages.list", request)
        ids = tuple((message["id"], message["threadId"]) for message in found.get("messages", ()))
        return Page(ids, found.get("nextPageToken"))

    def history(self, start: int, page_token: str | None = None) -> HistoryPage:
        """A page of what changed after `start`. Raises `HistoryExpired`."""
        request = self._users.history().list(
            userId="me", startHistoryId=str(start), maxResults=PAGE_SIZE, pageToken=page_token
        )
        try:
            found = self._read("history.list", request)
        except NotFound as error:
            raise HistoryExpired(f"Gmail no longer knows what happened since {start}") from error
        return HistoryPage(
            tuple(found.get("history", ())), found.get("nextPageToken"), int(found.get("historyId", start))
        )

    def get(self, threads: Sequence[str], messages: Sequence[str]) -> Iterator[Got]:
        """Whole threads and single messages, at most `BATCH_SIZE`, in one batch.

        Yields an answer for each; those that Gmail put off carry a `Transient`. Raises what concerns them all.
        """
        answers: list[Got] = []

        def keep(request_id: str, answer: Any, error: Exception | None) -> None:
            if error is not None:
                answers.append(Got(request_id, error=_decide(error)))
            elif request_id in wanted_threads:
                answers.append(Got(request_id, tuple(answer.get("messages", ()))))
            else:
                answers.append(Got(request_id, (answer,)))

        wanted_threads = {f"t:{id_}" for id_ in threads}
        batch = BatchHttpRequest(callback=keep, batch_uri=self._batch_url)
        for id_ in threads:
            batch.add(_bare(self._threads.get(userId="me", id=id_, format="full")), request_id=f"t:{id_}")
        for id_ in messages:
            batch.add(_bare(self._messages.get(userId="me", id=id_, format="full")), request_id=f"m:{id_}")
        self._call(
            {"threads.get": len(threads), "messages.get": len(messages)},
            lambda: batch.execute(http=self._transport),
        )
        waits = [got.error.retry_after for got in answers if isinstance(got.error, Transient)]
        if waits:
            self._budget.block(max(waits))
        for got in answers:
            if isinstance(got.error, NeedsAttention):
                raise got.error
            yield Got(got.id[2:], got.messages, got.error)

    def watch(self, topic: str) -> tuple[int, datetime]:
        """Ask for pushes to a Pub/Sub topic; the history id now, and when the watch ends (7 days)."""
        found = self._read("watch", self._users.watch(userId="me", body={"topicName": topic}))
        ends = datetime.fromtimestamp(int(found["expiration"]) / 1000, UTC)
        return int(found["historyId"]), ends

    def _read(self, method: str, request: Any) -> Any:
        """A call that only reads (or may safely be repeated), tried again while Gmail says *wait*."""
        return self._call({method: 1}, lambda: request.execute(num_retries=0))

    def _call(self, calls: Mapping[str, int], perform: Callable[[], Any]) -> Any:
        attempt = 0
        while True:
            self._budget.acquire(calls)
            try:
                with self._places:
                    return perform()
            except Exception as error:
                decided = _decide(error, attempt)
                attempt += 1
                if not isinstance(decided, Transient):
                    raise decided from error
                self._budget.block(decided.retry_after)
                if attempt >= ATTEMPTS:
                    raise decided from error


def _color(colors: tuple[str, str] | None) -> dict[str, Any]:
    return {} if colors is None else {"color": {"backgroundColor": colors[0], "textColor": colors[1]}}


def _bare(request: Any) -> Any:
    """A part of a batch without what the batch itself says already (who asks, which encodings): the library
    spends a fifth of a reading's time on folding these lines."""
    request.headers = {"accept": "application/json"}
    return request


def _decide(error: Exception, attempt: int = 0) -> GmailError:
    """What an exception of the libraries below means for us."""
    if isinstance(error, GmailError):
        return error
    if isinstance(error, HttpError):
        return _decide_status(error, attempt)
    if isinstance(error, google.auth.exceptions.RefreshError) and not error.retryable:
        return AuthRevoked("Gmail no longer accepts Tracker's access: it was revoked or has expired")
    if isinstance(error, (requests.RequestException, google.auth.exceptions.GoogleAuthError, BatchError)):
        return Transient(f"No answer from Gmail: {type(error).__name__}", backoff(attempt))
    raise error


def _decide_status(error: HttpError, attempt: int) -> GmailError:
    status, reasons, message = int(error.resp.status), _reasons(error), str(error.reason or "")
    for reason in reasons & set(ATTENTION_REASONS):
        return NeedsAttention(ATTENTION_REASONS[reason])
    if status == 401:
        return AuthRevoked("Gmail no longer accepts Tracker's access: it was revoked or has expired")
    if status == 404:
        return NotFound(message)
    if status == 409:
        return Conflict(f"Gmail refused ({status}): {message}")
    if status in (408, 429) or status >= 500 or (status == 403 and reasons & QUOTA_REASONS):
        return Transient(f"Gmail asks to wait ({status})", retry_after(error, attempt))
    return Permanent(f"Gmail refused ({status}): {message}")


def _reasons(error: HttpError) -> set[str]:
    try:
        body = json.loads(error.content)["error"]
        listed = {str(entry.get("reason")) for entry in body.get("errors", ())}
        detailed = {str(entry.get("reason")) for entry in body.get("details", ())}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()
    return listed | detailed


def retry_after(error: HttpError, attempt: int) -> float:
    """Seconds to wait: as the header or the message says, else exponential with jitter."""
    header = str(error.resp.get("retry-after", ""))
    if header.isdigit():
        return min(float(header), 900.0)
    named = re.search(r"[Rr]etry after (\d{4}-\d\d-\d\dT[\d:.]+Z)", str(error.content))
    if named:
        try:
            moment = datetime.fromisoformat(named[1].replace("Z", "+00:00"))
        except ValueError:
            return backoff(attempt)
        return min(max((moment - datetime.now(UTC)).total_seconds(), 0.1), 900.0)
    return backoff(attempt)


def backoff(attempt: int) -> float:
    """min(2ⁿ + jitter, 64 s), from 1 s (Gmail API, "Resolve errors")."""
    return min(2.0**attempt + random.random(), LONGEST_BACKOFF)  # noqa: S311 - jitter is no secret
