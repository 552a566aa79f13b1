"""The pixel and the links as whoever knocks sees them, over HTTP."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update
from sqlalchemy.orm import Session

from tests.tracker.web.conftest import Team
from tests.webhooks.doors.serving import NOBODY, Server, ask, hits, raw, track
from tests.webhooks.live.streams import cookies
from tracker.db import Sessions, transaction, utc_now
from webhooks import doors
from webhooks.doors import GIF, location
from webhooks.tracks import TrackedEmail


def told(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes]:
    """An answer without the clock."""
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name != "date"}, body


def test_a_pixel_is_the_same_whatever_is_asked(server: Server, sessions: Sessions, session: Session) -> None:
    known = f"/t/{track(sessions).pixels[0]}.gif"
    first = told(ask(server.port, known))
    assert first[0] == 200
    assert first[2] == GIF
    assert len(GIF) == 43
    assert first[1]["cache-control"] == "no-store, no-cache, max-age=0"
    assert first[1]["content-length"] == "43"
    assert "etag" not in first[1]
    odd = ["/t/", "/t/x", "/t/x.png", f"{known}/", f"{known}x", "/t/%00%ff.gif", "/t/../t/", "/t/" + "a" * 4000]
    for path in [f"/t/{NOBODY}.gif", f"{known}?x=1", *odd]:
        assert told(ask(server.port, path)) == first, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"):
        assert told(ask(server.port, known, method)) == first
    assert (
        told(ask(server.port, known, If_None_Match="*", If_Modified_Since="Sat, 1 Jan 2050 00:00:00 GMT")) == first
    )
    assert told(ask(server.port, known, Range="bytes=0-1")) == first
    assert told(ask(server.port, known, "HEAD")) == (200, first[1], b"")
    stored = hits(session)
    assert sum(1 + one.repeats for one in stored) == 5  # GETs and HEADs of the known one
    assert [one.headers["method"] for one in stored] == ["GET", "HEAD"]  # the others were the same within a second


def test_a_hit_is_kept_as_it_came(server: Server, sessions: Sessions, session: Session) -> None:
    token = track(sessions).pixels[0]
    ask(
        server.port, f"/t/{token}.gif", User_Agent="A\tgent é" + "x" * 900, Accept="image/*", Cookie="a=1",
        Referer="r" * 300, X_Forwarded_For="10.9.9.9, 2001:db8::7", Sec_Fetch_Dest="image", X_Other="no",
    )  # fmt: skip
    found = hits(session)[0]
    assert (found.kind, found.link_id, str(found.address)) == ("open", None, "2001:db8::7")
    assert found.agent is not None
    assert found.agent.startswith("A gent éxxx")
    assert len(found.agent) == 500
    assert found.headers == {
        "method": "GET", "accept": "image/*", "accept-encoding": "identity", "referer": "r" * 200,
        "sec-fetch-dest": "image",
    }  # fmt: skip
    assert (found.user_key, found.repeats, found.rules) == (None, 0, 0)
    assert utc_now() - found.at < timedelta(minutes=1)
    assert found.key.version == 7


def test_of_a_mail_that_is_tracked_no_more_nothing_is_kept_and_its_links_lead_on(
    server: Server, sessions: Sessions, session: Session
) -> None:
    made = track(sessions)
    with transaction(sessions) as writing:
        writing.execute(update(TrackedEmail).values(opens=False, clicks=False))
    assert ask(server.port, f"/t/{made.pixels[0]}.gif")[2] == GIF
    assert ask(server.port, f"/l/{made.links[0]}")[1]["location"] == made.urls[0]
    assert hits(session) == []


def test_a_link_leads_where_it_led_and_nowhere_else(server: Server, sessions: Sessions, session: Session) -> None:
    made = track(sessions)
    known = f"/l/{made.links[0]}"
    status, headers, body = ask(server.port, f"{known}?url=https://evil.example")
    assert (status, headers["location"], body) == (302, made.urls[0], b"")
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-robots-tag"] == "noindex, nofollow"
    assert ask(server.port, known, "HEAD", User_Agent="scanner")[1]["location"] == made.urls[0]
    for path in [
        f"/l/{NOBODY}", "/l/", "/l/https://evil.example", "/l//evil.example", f"{known}/../../evil",
        f"/l/{made.pixels[0]}", f"{known}%0d%0aLocation:%20https://evil.example", "/l/%5cevil.example",
        f"{known}.gif", "/l/\xff",
    ]:  # fmt: skip
        answer = raw(
            server.port, b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode("latin-1")
        )
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert head.split()[1] in (b"404", b"400"), path
        assert b"location" not in head
    status, headers, body = ask(server.port, f"/l/{NOBODY}")
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert b"leads nowhere" in body
    assert ask(server.port, known, "POST")[:2][1]["allow"] == "GET, HEAD"
    found = hits(session)
    assert [(one.kind, one.headers["method"], one.agent) for one in found] == [
        ("click", "GET", None),
        ("click", "HEAD", "scanner"),
    ]
    assert all(one.link_id for one in found)


@pytest.mark.parametrize(("url", "there"), [
    ("https://example.com/a?b=%20c#d", b"https://example.com/a?b=%20c#d"),
    ("http://m\xfcnchen.de:8080/\xe9 x", b"http://xn--mnchen-3ya.de:8080/%C3%A9%20x"),
    ("https://example.com/?", b"https://example.com/?"),
    ("https://example.com/\r\nSet-Cookie: a=1", b"https://example.com/Set-Cookie:%20a=1"),
    ("https://example.com/\x00\x0b\u2028x", b"https://example.com/%00%0B%E2%80%A8x"),
    (" HTTPS://Example.com ", b"HTTPS://Example.com"),
    ("javascript:alert(1)", None), ("//example.com", None), ("/etc", None), ("", None), ("http://", None),
    ("data:text/html,x", None), ("http://[::1", None), ("https:example.com", None),
])  # fmt: skip
def test_a_location_is_a_web_address_that_a_header_can_hold(url: str, there: bytes | None) -> None:
    assert location(url) == there


@given(st.one_of(st.text(), st.text().map(lambda rest: f"https://example.com/{rest}")))
def test_no_text_makes_another_header(url: str) -> None:
    there = location(url)
    if there is not None:
        assert there.lower().startswith((b"http://", b"https://"))
        assert all(0x20 < byte < 0x7F for byte in there)


def test_many_of_the_same_are_counted_on_one_row(server: Server, sessions: Sessions, session: Session) -> None:
    token = track(sessions).pixels[0]
    request = f"GET /t/{token}.gif HTTP/1.1\r\nHost: x\r\nUser-Agent: same\r\n\r\n".encode()
    last = request.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert raw(server.port, request * 199 + last).count(GIF) == 200
    found = hits(session)
    assert len(found) <= 5  # a new one each second
    assert sum(1 + one.repeats for one in found) == 200


def test_who_is_signed_in_is_read_from_the_cookie_alone(app: Flask, team: Team) -> None:
    who = doors.signed_in(app)
    whole = cookies(app, team.alice)
    asked: list[object] = []
    app.extensions["frame"] = asked  # whoever asks it for the database fails
    assert who(f"a=b; {whole}; c=d") == team.alice.key
    assert who(f"a=b; {whole}x") is None
    assert who("tracker_session=.eJx; tracker_session") is None
    assert who(f"{whole}; {'x' * 10_000}") is None
    assert who("") is None


def nonsense(rng: random.Random, token: str) -> bytes:
    """A request to one of the doors that nobody in their right mind would make."""
    path = rng.choice(
        [f"/t/{token}.gif", "/t/", "/l/", f"/l/{token}", "/t/\xff", "/t/%", "/t/%zz%00", "/t/" + "é" * 50]
    )
    path += rng.choice(
        ["", "?", "?" + "q" * rng.randrange(8000), "/" * rng.randrange(50), "#", "\x7f", "/..%2f.."]
    )
    method = rng.choice(["GET", "GET", "HEAD", "POST", "get", "G" * 40, "PRI", "TRACE"])
    headers = [b"Host: x", b"Connection: close"]
    for _ in range(rng.randrange(12)):
        name = rng.choice([
            b"User-Agent", b"Cookie", b"X-Forwarded-For", b"Referer", b"Accept", b"Via", b"Content-Length",
            b"Transfer-Encoding", b"Expect", b"Upgrade", b"If-None-Match", rng.randbytes(5), b"From",
        ])  # fmt: skip
        value = rng.choice([
            rng.randbytes(rng.randrange(30)), b"x" * rng.randrange(20_000), b"a=" + rng.randbytes(40), b"\xc3",
            b"\xed\xa0\x80", b"1.2.3.4, " * rng.randrange(300), b"chunked", b"-1", b"\x00", b"[::1]:5", b"\\u0000",
        ])  # fmt: skip
        headers.append(name + b": " + value.replace(b"\n", b"").replace(b"\r", b""))
    body = rng.choice([b"", b"", rng.randbytes(200), b"5\r\nhello"])
    line = f"{method} {path} HTTP/{rng.choice(['1.1', '1.1', '1.0', '9.9'])}".encode("latin-1")
    return b"\r\n".join([line, *headers]) + b"\r\n\r\n" + body


def fuzz(server: Server, token: str, number: int, seed: int) -> None:
    """Each gets what it may get."""
    rng = random.Random(seed)
    for _ in range(number):
        request = nonsense(rng, token)
        answer = raw(server.port, request, 2)
        assert answer.startswith(b"HTTP/1."), request
        status = int(answer.split()[1])
        if request.startswith(b"HEAD /l/"):  # no body tells whose the answer is
            assert status in (302, 404, 400, 414, 431, 418), request[:300]
        elif status >= 400 and GIF not in answer and b"leads nowhere" not in answer and b"is a link" not in answer:
            assert status in (400, 414, 431, 418), request[:300]  # the server's own: not HTTP, or too much
        elif b" /t/" in request.split(b"\r\n")[0]:
            assert status == 200, request
        else:
            assert status in (302, 404, 405), request


def test_nonsense_is_answered_and_leaves_nothing_behind(
    server: Server, sessions: Sessions, session: Session
) -> None:
    made = track(sessions)
    fuzz(server, made.pixels[0], 150, 1)
    before = server.rss
    fuzz(server, made.links[0], 300, 2)
    assert server.rss - before < 24 << 20
    assert ask(server.port, f"/t/{made.pixels[0]}.gif", User_Agent="after all")[0] == 200
    assert "after all" in [one.agent for one in hits(session)]
    assert "Traceback" not in server.words
    assert "ERROR" not in server.words.upper()


@pytest.mark.soak
def test_much_nonsense(server: Server, sessions: Sessions) -> None:
    made = track(sessions)
    fuzz(server, made.pixels[0], 1500, 3)
    before = server.rss
    fuzz(server, made.links[0], 6000, 4)
    assert server.rss - before < 24 << 20
    assert "ERROR" not in server.words.upper()
