"""The front before Flask: doors by their paths, and WSGI behind ASGI exactly as it was before a WSGI server."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import requests

from config import teams
from config.app import create_app
from config.asgi import Front, create_front
from config.settings import load
from config.wsgi import LARGEST, ROOMY, SMALL, Behind
from scheduler.web import compose as web_compose
from tests.config.running import Running, answers, environment, free_port
from tests.loops import apart
from tests.tracker.web.factories_web import browser_of
from tracker import csv_files
from tracker.db import Sessions, transaction
from tracker.web import imports

local: ContextVar[str] = ContextVar("local", default="")


def ask(
    app: Callable[..., Iterable[bytes]], *body: bytes, path: str = "/", leaves: bool = False, **given: Any
) -> list[dict[str, Any]]:
    """What an application behind the bridge sends in answer to a request whose body comes in these parts."""
    headers = given.pop("headers", [])
    if body and not any(name == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", str(sum(map(len, body))).encode())]
    scope = {
        "type": "http", "method": "POST" if body else "GET", "path": path, "query_string": b"",
        "http_version": "1.1", "scheme": "https", "server": ("tracker.example.com", 443),
        "client": ("203.0.113.7", 5), "headers": headers, **given,
    }  # fmt: skip
    parts = list(body)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"} if leaves else {"type": "http.request", "body": b""}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts) or leaves}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def whole() -> None:
        bridge = Behind(app, 2, roomy=("/compose", "/outbox/"))
        try:
            await bridge(scope, receive, send)
        finally:
            bridge.close()

    apart(whole())
    return sent


def body_of(sent: list[dict[str, Any]]) -> bytes:
    """The body of an answer; its last message says that it is the last."""
    assert [one.get("more_body", False) for one in sent[1:]] == [True] * (len(sent) - 2) + [False]
    return b"".join(one["body"] for one in sent[1:])


def test_a_request_is_what_wsgi_says() -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.update(environ, read=environ["wsgi.input"].read())
        start("201 Created", [("X-One", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [b"made", b" it"]

    headers = [
        (b"host", b"tracker.example.com"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"accept", b"x"),
        (b"accept", b"y"), (b"x_forwarded_for", b"forged"), (b"content-type", b"text/plain"),
    ]  # fmt: skip
    sent = ask(app, b"ab", b"cd", path="/\xe9", raw_path=b"/%C3%A9%FF", query_string=b"q=\xff", headers=headers)
    assert sent[0]["status"] == 201
    assert sent[0]["headers"] == [(b"x-one", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    assert body_of(sent) == b"made it"
    assert seen["read"] == b"abcd"
    assert seen["PATH_INFO"].encode("latin-1") == b"/\xc3\xa9\xff"
    wanted = {
        "REQUEST_METHOD": "POST", "QUERY_STRING": "q=\xff", "CONTENT_LENGTH": "4", "CONTENT_TYPE": "text/plain",
        "REMOTE_ADDR": "203.0.113.7", "wsgi.url_scheme": "https", "HTTP_COOKIE": "a=1; b=2", "HTTP_ACCEPT": "x,y",
        "SERVER_NAME": "tracker.example.com", "SERVER_PORT": "443",
    }  # fmt: skip
    assert {name: seen[name] for name in wanted} == wanted
    assert "HTTP_X_FORWARDED_FOR" not in seen


def test_a_large_answer_comes_in_parts_in_one_context_and_is_closed() -> None:
    closed: list[bool] = []

    class Parts:
        def __iter__(self) -> Iterator[bytes]:
            for number in range(5):
                assert local.get() == "mine"
                yield bytes([number]) * SMALL

        def close(self) -> None:
            closed.append(True)

    def app(_: Any, start: Any) -> Parts:
        local.set("mine")
        start("200 OK", [])
        return Parts()

    sent = ask(app)
    assert len(sent) > 5
    assert len(body_of(sent)) == 5 * SMALL
    assert closed == [True]


def test_an_error_is_told_without_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def app(_: Any, __: Any) -> list[bytes]:
        raise RuntimeError("secret")

    sent = ask(app)
    assert sent[0]["status"] == 500
    assert b"secret" not in body_of(sent)
    assert "secret" in caplog.text


def test_a_large_body_may_be_refused_unread_and_can_be_read_as_it_comes() -> None:
    def refuses(_: Any, start: Any) -> list[bytes]:
        start("413 Too Large", [])
        return [b""]

    def reads(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [str(len(environ["wsgi.input"].read())).encode()]

    part = b"x" * SMALL
    assert ask(refuses, part, part)[0]["status"] == 413
    assert body_of(ask(reads, part, part, b"end")) == str(2 * SMALL + 3).encode()
    chunked = [(b"transfer-encoding", b"chunked"), (b"content-length", b"0")]
    assert body_of(ask(reads, b"some", b"more", headers=chunked)) == b"8"


def test_of_a_body_that_nobody_takes_only_so_much_is_read_that_it_can_be_refused() -> None:
    def reads(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [str(len(environ["wsgi.input"].read())).encode()]

    part = b"x" * (LARGEST // 4)
    chunked = [(b"transfer-encoding", b"chunked"), (b"content-length", b"0")]
    assert body_of(ask(reads, *[part] * 9, headers=chunked)) == str(5 * len(part)).encode()
    assert body_of(ask(reads, part, headers=[(b"content-length", b"99999999")])) == b"0"


@pytest.mark.parametrize(("path", "most"), [
    ("/compose", ROOMY), ("/outbox/k/edit", ROOMY), ("/outbox", LARGEST), ("/sign-in", LARGEST),
    ("/b/compose", LARGEST),
])  # fmt: skip
def test_only_mail_with_its_files_may_be_large(path: str, most: int) -> None:
    def reads(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [str(len(environ["wsgi.input"].read())).encode()]

    whole, rest = b"x" * most, b"more"
    assert body_of(ask(reads, whole, path=path)) == str(most).encode()
    assert body_of(ask(reads, whole, rest, path=path)) == b"0"


@pytest.mark.parametrize(
    "header", [(b"content-length", b"100"), (b"content-length", b"3000000"), (b"transfer-encoding", b"chunked")]
)
def test_a_client_that_leaves_while_it_sends_takes_no_thread(header: tuple[bytes, bytes]) -> None:
    called: list[bool] = []

    def app(_: Any, __: Any) -> list[bytes]:
        called.append(True)
        return []

    chunked = [(b"content-length", b"0")] if header[0] == b"transfer-encoding" else []
    assert ask(app, b"half", headers=[header, *chunked], leaves=True) == []
    assert called == []


def test_the_front_has_room_where_mail_with_files_is_sent_and_there_only(database_url: str) -> None:
    settings = load(database_url=database_url, secret_key="k" * 40)
    behind = create_front(settings).rest
    assert isinstance(behind, Behind)
    rules = create_app(settings).url_map.iter_rules()
    sent = {rule.rule for rule in rules if "POST" in (rule.methods or ()) and rule.endpoint.startswith("compose.")}
    assert sent == {"/compose", "/compose/preview", "/outbox/<key>/edit"}
    assert [path for path in sent if not path.startswith(behind.roomy)] == []
    assert not "/outbox".startswith(behind.roomy)
    assert not "/p/key/import".startswith(behind.roomy)
    assert csv_files.MOST_BYTES + imports.ROOM < LARGEST < web_compose.LARGEST_FORM < ROOMY
    behind.close()


def test_requests_go_to_the_door_of_their_path() -> None:
    async def work() -> None:
        def door(name: str) -> Any:
            async def app(scope: Any, receive: Any, send: Any) -> None:
                taken.append((name, scope["path"]))

            return app

        async def nothing() -> None:
            pass

        taken: list[tuple[str, str]] = []
        front = Front({"/live": door("live"), "/o/": door("pixel")}, door("rest"), nothing, nothing)
        for path in ("/live", "/live/since", "/o/abc", "/o", "/other", "/"):
            await front({"type": "http", "path": path}, None, None)
        assert [name for name, _ in taken] == ["live", "rest", "pixel", "rest", "rest", "rest"]

    apart(work())


@pytest.fixture
def server(database_url: str, folder: Path) -> Iterator[tuple[Running, str]]:
    """The real server."""
    port = free_port()
    env = environment(folder / "var", database_url=database_url, secret_key="k" * 40, port=port)
    running = Running(env, "serve", log=folder / "serve.log")
    url = f"http://127.0.0.1:{port}"
    running.wait_for(lambda: answers(f"{url}/healthz"), 60)
    yield running, url
    running.stop(signal.SIGTERM)


def test_the_server_takes_what_it_took_before(server: tuple[Running, str]) -> None:
    running, url = server
    assert requests.post(f"{url}/sign-in", data=b"x" * 3_000_000, timeout=10).status_code == 413
    assert requests.head(f"{url}/sign-in", timeout=10).status_code == 200
    assert requests.get(f"{url}/%ff%00", timeout=10).status_code in (302, 404)
    assert requests.get(f"{url}/live?topics=tasks", timeout=10).status_code == 401
    static = requests.get(f"{url}/static/vendor/htmx.min.js", timeout=10)
    assert len(static.content) == int(static.headers["Content-Length"]) > 40_000
    assert "Traceback" not in running.log.read_text()


def test_the_server_stops_at_once_while_streams_are_open(
    server: tuple[Running, str], database_url: str, sessions: Sessions
) -> None:
    running, url = server
    with transaction(sessions) as session:
        alice = teams.found(session, "Team", "alice@team.example", "Alice")
    app = create_app(load(database_url=database_url, secret_key="k" * 40))
    cookie = browser_of(app, alice).get_cookie(app.config["SESSION_COOKIE_NAME"])
    assert cookie is not None
    with requests.get(
        f"{url}/live?topics=tasks", headers={"Cookie": f"{cookie.key}={cookie.value}"}, stream=True, timeout=20
    ) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == b"event: hello"
        began = time.monotonic()
        assert running.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
        assert list(lines)[-1] == b""  # the end, in good order
    assert "Traceback" not in running.log.read_text()


def test_slow_senders_hold_no_thread(server: tuple[Running, str]) -> None:
    _, url = server
    port = int(url.rsplit(":", 1)[1])
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    bodies = (
        b"Content-Length: 1000\r\n\r\n",
        b"Content-Length: 1000000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
    )
    for number, connection in enumerate(slow):
        connection.sendall(b"POST /sign-in HTTP/1.1\r\nHost: x\r\n" + bodies[number % 3] + b"half")
    time.sleep(0.3)
    assert requests.get(f"{url}/healthz", timeout=5).ok
    for connection in slow:
        connection.close()
