"""The table of the API's methods, and the way of a call from the bearer token to its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gmail_sync.sandbox import masks
from gmail_sync.sandbox.errors import ApiError, not_found, unauthenticated
from gmail_sync.sandbox.faults import ConnectionDropped
from gmail_sync.sandbox.http import Request, Response, json_response, parse_query
from gmail_sync.sandbox.routes import drafts, labels, mailbox, messages, threads
from gmail_sync.sandbox.routes.call import Call, Handler, Route, read_body

if TYPE_CHECKING:
    from gmail_sync.sandbox.mailbox import SandboxMailbox
    from gmail_sync.sandbox.sandbox import Sandbox

#: Scopes by their last word; "" is https://mail.google.com/ (discovery document).
_READ = "gmail.modify gmail.readonly"
_META = "gmail.metadata gmail.modify gmail.readonly"
_WRITE = "gmail.modify"
_LABELS = "gmail.labels gmail.modify"
_COMPOSE = "gmail.compose gmail.modify gmail.addons.current.action.compose"
_ADDON = "gmail.addons.current.message.action gmail.addons.current.message.readonly"
_INSERT = "gmail.insert gmail.modify"
_LIST = "maxResults pageToken q labelIds includeSpamTrash"
_FORMAT = "format metadataHeaders"
_DATED = "internalDateSource deleted neverMarkSpam processForCalendar"


def _route(
    method_id: str, place: str, handler: Handler, scopes: str, parameters: str = "", *, upload: bool = False
) -> Route:
    http_method, template = place.split(" ")
    allowed = frozenset({"", *scopes.split()})
    return Route(method_id, http_method, template, handler, allowed, frozenset(parameters.split()), upload)


ROUTES = (
    _route("getProfile", "GET profile", mailbox.profile, f"{_META} gmail.compose"),
    _route("watch", "POST watch", mailbox.watch, _META),
    _route("stop", "POST stop", mailbox.stop, _META),
    _route(
        "history.list", "GET history", mailbox.history, _META,
        "startHistoryId historyTypes labelId maxResults pageToken",
    ),
    _route("labels.list", "GET labels", labels.listed, f"{_META} gmail.labels"),
    _route("labels.get", "GET labels/{id}", labels.get, f"{_META} gmail.labels"),
    _route("labels.create", "POST labels", labels.create, _LABELS),
    _route("labels.update", "PUT labels/{id}", labels.update, _LABELS),
    _route("labels.patch", "PATCH labels/{id}", labels.patch, _LABELS),
    _route("labels.delete", "DELETE labels/{id}", labels.delete, _LABELS),
    _route("messages.list", "GET messages", messages.listed, _META, _LIST),
    _route("messages.send", "POST messages/send", messages.send, f"{_COMPOSE} gmail.send", upload=True),
    _route("messages.import", "POST messages/import", messages.import_, _INSERT, _DATED, upload=True),
    _route("messages.batchModify", "POST messages/batchModify", messages.batch_modify, _WRITE),
    _route("messages.batchDelete", "POST messages/batchDelete", messages.batch_delete, ""),
    _route(
        "messages.get", "GET messages/{id}", messages.get,
        f"{_META} {_ADDON} gmail.addons.current.message.metadata", _FORMAT,
    ),
    _route("messages.insert", "POST messages", messages.insert, _INSERT, _DATED, upload=True),
    _route("messages.modify", "POST messages/{id}/modify", messages.modify, _WRITE),
    _route("messages.trash", "POST messages/{id}/trash", messages.trash, _WRITE),
    _route("messages.untrash", "POST messages/{id}/untrash", messages.untrash, _WRITE),
    _route("messages.delete", "DELETE messages/{id}", messages.delete, ""),
    _route(
        "attachments.get", "GET messages/{messageId}/attachments/{id}", messages.attachment, f"{_READ} {_ADDON}"
    ),
    _route("threads.list", "GET threads", threads.listed, _META, _LIST),
    _route("threads.get", "GET threads/{id}", threads.get, f"{_META} {_ADDON}", _FORMAT),
    _route("threads.modify", "POST threads/{id}/modify", threads.modify, _WRITE),
    _route("threads.trash", "POST threads/{id}/trash", threads.trash, _WRITE),
    _route("threads.untrash", "POST threads/{id}/untrash", threads.untrash, _WRITE),
    _route("threads.delete", "DELETE threads/{id}", threads.delete, ""),
    _route("drafts.list", "GET drafts", drafts.listed, f"{_READ} gmail.compose", _LIST),
    _route("drafts.create", "POST drafts", drafts.create, _COMPOSE, upload=True),
    _route("drafts.send", "POST drafts/send", drafts.send, _COMPOSE, upload=True),
    _route("drafts.get", "GET drafts/{id}", drafts.get, f"{_READ} gmail.compose", "format"),
    _route("drafts.update", "PUT drafts/{id}", drafts.update, _COMPOSE, upload=True),
    _route("drafts.delete", "DELETE drafts/{id}", drafts.delete, _COMPOSE),
)  # fmt: skip
_PATTERNS = [(route.pattern, route) for route in ROUTES]
_SCOPE = re.compile(r"https://(?:www\.googleapis\.com/auth/|mail\.google\.com/)")


def find(request: Request) -> tuple[Route, dict[str, str]]:
    """The method that a request means, and the arguments in its path. Raises ApiError 404."""
    for pattern, route in _PATTERNS:
        if route.http_method == request.method and (match := pattern.fullmatch(request.path)):
            return route, match.groupdict()
    raise not_found("Method not found.")


def handle(sandbox: Sandbox, request: Request) -> Response:
    """Answer one API call; errors become Google's. Raises ConnectionDropped for faults that ask for it."""
    try:
        return _answer(sandbox, _overridden(request))
    except ApiError as error:
        return json_response(error.body(), error.status, error.headers)


def _overridden(request: Request) -> Request:
    """A long GET comes as a POST with its query in the body (googleapiclient, beyond 2,048 characters)."""
    method = request.headers.get("x-http-method-override", "").upper()
    if not method or request.method != "POST":
        return request
    query = request.query | parse_query(request.body.decode("utf-8", "replace"))
    return Request(method, request.path, query, request.headers)


def _answer(sandbox: Sandbox, request: Request) -> Response:
    route, args = find(request)
    user, scopes = authenticate(sandbox, request)
    fault = sandbox.faults.strike(route.method_id, user.address)
    if args["userId"] not in ("me", user.address) and args["userId"].lower() != user.address.lower():
        raise ApiError(403, "forbidden", f"Delegation denied for {user.address}")
    route.check(request, scopes)
    mask = masks.parse(request.one("fields")) if request.one("fields") else {}
    body, media = read_body(request, bool(args.get("upload")))
    with sandbox.quota.in_flight(user.address):
        sandbox.quota.charge(user.address, route.method_id)
        call = Call(sandbox, user, request, args, scopes, body, media)
        answer = _run(sandbox, route, call)
    if fault:
        raise ConnectionDropped(route.method_id)
    return json_response(masks.apply(mask, answer))


def _run(sandbox: Sandbox, route: Route, call: Call) -> dict[str, Any] | None:
    """Execute a method. A write is one transaction; a send has its own, so that its hooks run outside."""
    if route.http_method == "GET" or route.method_id.endswith(".send"):
        return route.handler(call)
    with sandbox.store.transaction():
        return route.handler(call)


def authenticate(sandbox: Sandbox, request: Request) -> tuple[SandboxMailbox, frozenset[str]]:
    """Whose access token a request bears, and its Gmail scopes. Raises ApiError 401."""
    grant = sandbox.tokens.find("access", request.bearer)
    if grant is None:
        raise unauthenticated()
    return sandbox.mailbox_by_id(grant.user_id), short_scopes(grant.scopes)


def short_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Scopes by their last word, as in the table; others than Google's are left out."""
    return frozenset(_SCOPE.sub("", scope) for scope in scopes if _SCOPE.match(scope))
