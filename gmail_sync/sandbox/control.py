"""The sandbox's own verbs over HTTP, under /sandbox/: what the Python interface does, for other processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gmail_sync.sandbox import addon
from gmail_sync.sandbox.errors import ApiError, invalid, not_found
from gmail_sync.sandbox.faults import Fault
from gmail_sync.sandbox.http import Request, Response, json_response
from gmail_sync.sandbox.payload import decode

if TYPE_CHECKING:
    from gmail_sync.sandbox.sandbox import Sandbox

Body = dict[str, Any]
Verb = Callable[["Sandbox", Body], Any]
_SWITCHES = ("endpoint", "audience", "service_account", "subscription")


def handle(sandbox: Sandbox, request: Request) -> Response:
    """Answer a request below /sandbox/."""
    try:
        return json_response(_dispatch(sandbox, request) or {})
    except ApiError as error:
        return json_response(error.body(), error.status)
    except KeyError as error:
        return json_response(not_found(f"no such user or field: {error}").body(), 404)
    except (TypeError, ValueError) as error:
        return json_response(invalid(str(error)).body(), 400)


def _dispatch(sandbox: Sandbox, request: Request) -> Any:
    name = request.path.removeprefix("/sandbox/").strip("/")
    if request.method == "GET" and name.startswith("credentials/"):
        return sandbox.credentials(name.removeprefix("credentials/"))
    verb = _VERBS.get((request.method, name))
    if verb is None:
        raise not_found(f"no such verb: {request.method} /sandbox/{name}")
    return verb(sandbox, _body(request))


def _body(request: Request) -> Body:
    if request.method != "POST":
        return {}
    if "json" not in request.headers.get("content-type", "") and request.body:  # keeps other sites' forms out
        raise invalid("the body must be application/json")
    body = json.loads(request.body or b"{}")
    if not isinstance(body, dict):
        raise invalid("the body must be an object")
    return body


def _raw(body: Body) -> bytes:
    """The message: `raw` in base64url, or `text` as it stands."""
    return decode(body["raw"]) if "raw" in body else str(body["text"]).encode()


def _status(sandbox: Sandbox, _: Body) -> Body:
    users = [{"address": box.address, "name": box.name} for box in sandbox.mailboxes()]
    client = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    panel = {"addon_service_account": addon.SERVICE_ACCOUNT, "addon_client_id": addon.CLIENT_ID}
    return {"url": sandbox.url, "users": users} | client | panel


def _users(sandbox: Sandbox, body: Body) -> Body:
    mailbox = sandbox.add_user(body["address"], body.get("name", ""))
    return {"address": mailbox.address, "name": mailbox.name}


def _deliver(sandbox: Sandbox, body: Body) -> None:
    sandbox.deliver(_raw(body), body["rcpt_to"])


def _insert(sandbox: Sandbox, body: Body) -> Body:
    moment = body.get("internal_date")
    message_id = sandbox.mailbox(body["user"]).insert(
        _raw(body),
        label_ids=body.get("label_ids", ["INBOX"]),
        internal_date=datetime.fromisoformat(moment) if moment else None,
        thread_id=body.get("thread_id"),
    )
    return {"id": message_id}


def _draft(sandbox: Sandbox, body: Body) -> Body:
    """Keep what somebody writes in Gmail's own page: a new draft, or `id`'s new content."""
    drafts = sandbox.mailbox(body["user"]).drafts
    kept = drafts.update(body["id"], _raw(body), None) if body.get("id") else drafts.create(_raw(body), None)
    return {"id": kept["id"], "message_id": kept["message"]["id"]}


def _modify(sandbox: Sandbox, body: Body) -> None:
    sandbox.mailbox(body["user"]).modify(body["id"], body.get("add", ()), body.get("remove", ()))


def _trash(sandbox: Sandbox, body: Body) -> None:
    sandbox.mailbox(body["user"]).trash(body["id"])


def _untrash(sandbox: Sandbox, body: Body) -> None:
    sandbox.mailbox(body["user"]).untrash(body["id"])


def _delete(sandbox: Sandbox, body: Body) -> None:
    sandbox.mailbox(body["user"]).delete(body["id"])


def _add_fault(sandbox: Sandbox, body: Body) -> None:
    sandbox.faults.add(Fault(**body))


def _clear_faults(sandbox: Sandbox, _: Body) -> None:
    sandbox.faults.clear()


def _stats(sandbox: Sandbox, _: Body) -> Body:
    stats = sandbox.stats
    return {
        address: {
            "units": stats.units(address),
            "units_total": stats.units_total(address),
            "calls": stats.calls(address),
            "refused": stats.refused(address),
        }
        for address in stats.addresses()
    }


def _reset_stats(sandbox: Sandbox, _: Body) -> None:
    sandbox.stats.reset()


def _expire_history(sandbox: Sandbox, body: Body) -> None:
    sandbox.mailbox(body["user"]).expire_history()


def _revoke(sandbox: Sandbox, body: Body) -> None:
    sandbox.mailbox(body["user"]).revoke()


def _pushes(sandbox: Sandbox, body: Body) -> Body:
    for name in _SWITCHES:
        if name in body:
            setattr(sandbox.pushes, name, body[name])
    sandbox.pushes.mode = {name: value for name, value in body.items() if name not in _SWITCHES}
    return {name: getattr(sandbox.pushes, name) for name in _SWITCHES} | sandbox.pushes.mode


def _quota(sandbox: Sandbox, body: Body) -> Body:
    for name in ("units_per_minute", "concurrent_requests"):
        if name in body:
            setattr(sandbox.quota, name, int(body[name]))
    if "sends_per_day" in body:
        sandbox.sends_per_day = int(body["sends_per_day"])
    return {
        "units_per_minute": sandbox.quota.units_per_minute,
        "concurrent_requests": sandbox.quota.concurrent_requests,
        "sends_per_day": sandbox.sends_per_day,
    }


_VERBS: dict[tuple[str, str], Verb] = {
    ("GET", ""): _status,
    ("POST", "addon"): addon.from_control,
    ("GET", "users"): _status,
    ("POST", "users"): _users,
    ("POST", "deliver"): _deliver,
    ("POST", "insert"): _insert,
    ("POST", "draft"): _draft,
    ("POST", "modify"): _modify,
    ("POST", "trash"): _trash,
    ("POST", "untrash"): _untrash,
    ("POST", "delete"): _delete,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "stats"): _stats,
    ("POST", "stats/reset"): _reset_stats,
    ("POST", "expire-history"): _expire_history,
    ("POST", "revoke"): _revoke,
    ("GET", "pushes"): _pushes,
    ("POST", "pushes"): _pushes,
    ("GET", "quota"): _quota,
    ("POST", "quota"): _quota,
}
