"""Days off: by country with the reason, and the team's own, whatever somebody's calendar holds."""

# ruff: noqa: F811 - fixtures of the pages are imported
from __future__ import annotations

import http.server
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session
from urllib3.util.ssl_match_hostname import CertificateError

from config import teams
from scheduler.calendars import ics, ics_days, outside, team_days
from scheduler.calendars.days_off import days_off
from scheduler.calendars.outside import Answer, Refused
from scheduler.calendars.team_days import DaysError
from tests.tracker.domain import a_team
from tests.tracker.web.conftest import Team, app, browser, team, write  # noqa: F401 - fixtures
from tests.tracker.web.factories_web import browser_of
from tracker import people
from tracker.db import Sessions

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
FIRST, LAST = date(2026, 11, 1), date(2027, 12, 31)


# -- by country


@pytest.mark.parametrize(
    ("country", "day", "why"),
    [
        ("US", date(2026, 11, 26), "Thanksgiving Day"),
        ("us", date(2026, 11, 27), None),
        ("JP", date(2026, 11, 23), "Labor Thanksgiving Day"),
        ("SA", date(2026, 11, 27), "Friday"),
        ("SA", date(2026, 11, 29), None),  # a Sunday
        ("CN", date(2026, 2, 14), None),  # a Saturday that is worked before the new year
        ("DE", date(2026, 12, 25), "Christmas Day"),
        (None, date(2026, 12, 25), None),
        (None, date(2026, 11, 28), "Saturday"),
        ("XX", date(2026, 11, 28), "Saturday"),
    ],
)
def test_weekends_and_holidays_with_their_reason(country: str | None, day: date, why: str | None) -> None:
    assert days_off(country)(day) == why


def test_the_teams_own_days_come_first() -> None:
    free = days_off("US", {date(2026, 11, 26): "Trade fair", date(2026, 11, 24): "Move"})
    assert free(date(2026, 11, 26)) == "Trade fair"
    assert free(date(2026, 11, 24)) == "Move"


# -- from an iCalendar


def calendar(*events: str) -> str:
    inside = "".join(f"BEGIN:VEVENT\r\n{event}\r\nEND:VEVENT\r\n" for event in events)
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{inside}END:VCALENDAR\r\n"


def event(start: str, *more: str, name: str = "Off") -> str:
    return "\r\n".join([f"UID:{start}{name}@x", f"DTSTART;VALUE=DATE:{start}", f"SUMMARY:{name}", *more])


def days(*events: str) -> list[str]:
    return [day.strftime("%Y%m%d") for day in sorted(ics_days.read(calendar(*events), FIRST, LAST).days)]


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (event("20261224"), ["20261224"]),
        (event("20261224", "DTEND;VALUE=DATE:20261227"), ["20261224", "20261225", "20261226"]),
        (event("20261224", "DURATION:P2D"), ["20261224", "20261225"]),
        (event("20261224", "DTEND;VALUE=DATE:20261224"), ["20261224"]),
        (event("20261224", "STATUS:CANCELLED"), []),
        ("UID:1\r\nDTSTART:20261224T090000Z\r\nSUMMARY:A call", []),
        (event("20010601", "RRULE:FREQ=YEARLY"), ["20270601"]),
        (event("20261127", "RRULE:FREQ=WEEKLY;COUNT=3"), ["20261127", "20261204", "20261211"]),
        (event("20261102", "RRULE:FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20261110"), ["20261102", "20261104", "20261109"]),
        (event("20261126", "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH"), ["20261126", "20271125"]),
        (event("20261130", "RRULE:FREQ=MONTHLY;BYDAY=-1MO;COUNT=2"), ["20261130", "20261228"]),
        (event("20261130", "RRULE:FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=3"), ["20261130", "20261231", "20270131"]),
        (event("20240229", "RRULE:FREQ=YEARLY"), []),
        (event("20261201", "RRULE:FREQ=DAILY;INTERVAL=2;UNTIL=20261206"), ["20261201", "20261203", "20261205"]),
        (event("19700101", "RRULE:FREQ=DAILY;INTERVAL=400"), ["20261213"]),
        (event("20261201", "RRULE:FREQ=DAILY;COUNT=3", "EXDATE;VALUE=DATE:20261202"), ["20261201", "20261203"]),
        (event("20261201", "RRULE:FREQ=SECONDLY"), ["20261201"]),
        (event("20261231", "RRULE:FREQ=MONTHLY;BYMONTHDAY=31,-1,31;COUNT=2"), ["20261231", "20270131"]),
        (event("20261207", "RRULE:FREQ=MONTHLY;BYDAY=6MO"), ["20261207"]),
        (event("20261201", "RRULE:FREQ=YEARLY;BYSETPOS=1;BYDAY=MO"), ["20261201"]),
    ],
)  # fmt: skip
def test_whole_days_and_their_repetitions(made: str, found: list[str]) -> None:
    assert days(made) == found


def test_an_event_of_a_series_that_was_moved_counts_where_it_is_now() -> None:
    series = event("20261201", "RRULE:FREQ=DAILY;COUNT=2").replace("20261201Off@x", "s")
    moved = event("20261210", "RECURRENCE-ID;VALUE=DATE:20261202").replace("20261210Off@x", "s")
    assert days(series, moved) == ["20261201", "20261210"]


def test_a_rule_that_is_not_understood_is_told() -> None:
    found = ics_days.read(calendar(event("20261201", "RRULE:FREQ=HOURLY", name="Odd")), FIRST, LAST)
    assert found.problems == ("“Odd” repeats in a way that is not understood: only 2026-12-01 counts",)


HOSTILE = {
    "nothing": "",
    "a page": "<html>" * 1000,
    "nested": "BEGIN:VCALENDAR\r\n" + "BEGIN:VEVENT\r\n" * 50_000,
    "parameters": calendar(f"DTSTART{';A=B' * 200_000}:20261224"),
    "quotes": calendar("SUMMARY;X=" + '"' * 100_000 + ":x"),
    "escapes": calendar("SUMMARY:" + "\\" * 900_000),
    "exceptions": calendar(event("20261201", "RRULE:FREQ=DAILY", *["EXDATE:" + "20260101," * 200] * 300)),
    "endless": calendar(*[event("19000101", "RRULE:FREQ=DAILY;COUNT=10000")] * 300),
    "never": calendar(*[event("19000101", "RRULE:FREQ=MONTHLY;BYMONTHDAY=99")] * 300),
    "products": calendar(
        *[
            event(
                "19000101",
                f"RRULE:FREQ=YEARLY;BYMONTH={','.join(map(str, range(1, 13)))};BYDAY="
                + ",".join(
                    f"{n}{day}"
                    for n in (*range(1, 6), *range(-5, 0))
                    for day in ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
                ),
                name=str(number),
            )
            for number in range(400)
        ]
    ),
    "same again": calendar(
        *[
            event("19000101", f"RRULE:FREQ=YEARLY;BYMONTH={'1,' * 199}1;BYDAY={'1MO,' * 199}1MO", name=str(number))
            for number in range(200)
        ]
    ),
    "long": calendar(event("20261201", "DURATION:P99999999D")),
    "at the end": calendar(event("99991231", "DURATION:P10D", "RRULE:FREQ=WEEKLY")),
    "zone": "BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nBEGIN:STANDARD\r\nDTSTART:19000101T000000\r\n"
    "TZOFFSETTO:+0100\r\nTZOFFSETFROM:+0200\r\nRRULE:FREQ=SECONDLY\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
    "BEGIN:VEVENT\r\nDTSTART;TZID=X:20261201T090000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_calendars_cost_little(text: str) -> None:
    began = time.process_time()
    try:
        found = ics_days.read(text[: ics.MOST_BYTES], FIRST, LAST)
    except ics.Unreadable:
        found = None
    assert found is None or len(found.days) < 500
    assert time.process_time() - began < 3


@given(st.lists(st.sampled_from(
    ["BEGIN:VCALENDAR", "END:VCALENDAR", "BEGIN:VEVENT", "END:VEVENT", "DTSTART;VALUE=DATE:20261224", "DTSTART:x",
     "DTEND;VALUE=DATE:00010101", "RRULE:FREQ=YEARLY;UNTIL=x", "RRULE:FREQ=MONTHLY;BYDAY=9XX", "EXDATE:,,",
     "UID:\x00",
     "RRULE:;;", "DURATION:-P1D", "SUMMARY;ENCODING=BASE64:%%%", "RECURRENCE-ID:1", " folded", "X", "SEQUENCE:a"]
), max_size=25))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_no_text_breaks_the_reader(lines: list[str]) -> None:
    try:
        found = ics_days.read("BEGIN:VCALENDAR\r\n" + "\r\n".join(lines), FIRST, LAST)
    except ics.Unreadable:
        return
    assert all(FIRST <= day <= LAST and why for day, why in found.days.items())


# -- fetching


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1",
     "fe80::1",
     "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"],
)  # fmt: skip
def test_addresses_inside_are_not_public(address: str) -> None:
    assert not outside.is_public(address)


def test_addresses_of_the_internet_are_public() -> None:
    assert outside.is_public("93.184.216.34")
    assert outside.is_public("2606:2800:220:1::")


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x.test/a.ics", "file:///etc/passwd", "https://", "https://a:b@x.test/", "https://x.test:port/",
     "https://x.test/a b", "https://x.test/\r\nHost: y", "javascript:1", "https://[::1", "https://" + "x" * 3000],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_words(url: str) -> None:
    with pytest.raises(Refused):
        outside.checked(url)


Handle = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def served() -> Iterator[Callable[[Handle], str]]:
    """Serves one handler on a loopback port."""
    servers = []

    def serve(handle: Handle) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            do_GET = handle  # noqa: N815 - the library's name

            def log_message(self, *_: object) -> None:
                """Quiet."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/days.ics"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def answer(body: bytes, status: int = 200, **headers: str) -> Handle:
    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return handle


def test_nothing_is_fetched_from_inside_unless_settings_allow(served: Callable[[Handle], str]) -> None:
    url = served(answer(b"days", ETag='"1"'))
    with pytest.raises(Refused, match="private network"):
        outside.fetch(url)
    assert outside.fetch(url, private=True) == Answer(b"days", '"1"')


def test_a_redirect_is_held_to_the_same_rules(
    served: Callable[[Handle], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    url = served(answer(b"", 302, Location="http://169.254.169.254/latest"))
    monkeypatch.setattr(
        "tracker.outside.is_public", lambda address: asked.append(address) or address == "127.0.0.1"
    )
    with pytest.raises(Refused, match="private network"):
        outside.fetch(url)
    assert asked == ["127.0.0.1", "169.254.169.254"]
    with pytest.raises(Refused, match="begins with"):
        outside.fetch(served(answer(b"", 302, Location="file:///etc/passwd")))
    with pytest.raises(Refused, match="what is no address"):
        outside.fetch(served(answer(b"", 302, Location="http://[")))
    with pytest.raises(Refused, match="on and on"):
        outside.fetch(served(answer(b"", 301, Location="/again")))


def test_what_is_too_large_or_refused_is_told(served: Callable[[Handle], str]) -> None:
    for handle, words in (
        (answer(b"x" * (outside.MOST_BYTES + 1)), "larger than 1 MB"),
        (answer(b"", 404), "answers 404"),
        (answer(b"short", **{"Content-Length": "50"}), "in the middle"),
    ):
        with pytest.raises(Refused, match=words):
            outside.fetch(served(handle), private=True)
    assert outside.fetch(served(answer(b"", 304)), etag='"1"', private=True) == Answer(None, '"1"')


def test_who_drips_is_cut_off(served: Callable[[Handle], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "SECONDS", 0.3)
    stopped = threading.Event()

    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        with suppress(OSError):
            while not stopped.wait(0.02):
                request.wfile.write(b"X-A: b\r\n")
                request.wfile.flush()
                request.send_header("X-B", "c")

    began = time.monotonic()
    with pytest.raises(Refused):
        outside.fetch(served(drip), private=True)
    stopped.set()
    assert time.monotonic() - began < 3


def test_a_name_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(Refused, match="is not known"):
        outside.fetch("https://nowhere.test/x.ics")


# -- the team's


ONE = calendar(event("20261224", name="Party")).encode()


def test_an_uploaded_file_counts_at_once_and_moves_with_time(session: Session) -> None:
    alice = a_team(session)
    viewer = people.viewer_of(alice, "test")
    yearly = calendar(event("20000601", "RRULE:FREQ=YEARLY", name="Picnic")).encode()
    team_days.upload(session, viewer, "days.ics", yearly, NOW)
    assert team_days.of_team(session, alice.team_id) == {date(2027, 6, 1): "Picnic"}
    assert team_days.free_for(session, alice.team_id, None)(date(2027, 6, 1)) == "Picnic"
    with pytest.raises(DaysError, match="no iCalendar"):
        team_days.upload(session, viewer, "x.ics", b"hello", NOW)
    assert team_days.of_team(session, alice.team_id)


def test_a_feed_is_fetched_every_day_and_keeps_its_days_when_it_breaks(sessions: Sessions) -> None:
    with sessions() as session, session.begin():
        alice = a_team(session)
        team_days.subscribe(session, people.viewer_of(alice, "test"), "webcal://cal.test/secret/x.ics", NOW)
    asked: list[tuple[str, str]] = []
    answers: list[Answer | Refused] = [
        Answer(ONE, '"1"'), Answer(None, '"1"'), Refused("cal.test answers 500"), Answer(b"<html>", ""),
    ]  # fmt: skip

    def fetch(url: str, *, etag: str, private: bool) -> Answer:
        asked.append((url, etag))
        found = answers.pop(0)
        if isinstance(found, Refused):
            raise found
        return found

    def look(hours: float) -> tuple[int, str | None, dict[date, str]]:
        number = team_days.refresh(sessions, NOW + timedelta(hours=hours), fetch=fetch)
        with sessions() as session:
            kept = team_days.calendar_of(session, alice.team_id)
            assert kept is not None
            assert kept.name == "cal.test"
            return number, kept.problem, team_days.of_team(session, alice.team_id)

    party = {date(2026, 12, 24): "Party"}
    assert look(0) == (1, None, party)
    assert look(1) == (0, None, party)
    assert look(24) == (1, None, party)
    assert asked == [("https://cal.test/secret/x.ics", ""), ("https://cal.test/secret/x.ics", '"1"')]
    assert look(48) == (1, "cal.test answers 500", party)
    number, problem, kept = look(51)
    assert (number, kept) == (1, party)
    assert problem is not None
    assert "no iCalendar" in problem
    assert look(52) == (0, problem, party)


def test_a_certificate_of_another_host_is_told(
    served: Callable[[Handle], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(_: object) -> None:
        raise CertificateError("hostname 'x.test' doesn't match 'y.test'")

    monkeypatch.setattr(outside.HTTPConnection, "connect", connect)
    with pytest.raises(Refused, match="certificate of another host"):
        outside.fetch(served(answer(b"")), private=True)


def test_a_calendar_that_breaks_us_does_not_stop_the_others(sessions: Sessions) -> None:
    with sessions() as session, session.begin():
        viewers = [people.viewer_of(teams.found(session, "T", f"a@{one}.example", "A"), "test") for one in "ab"]
        for number, viewer in enumerate(viewers):
            team_days.subscribe(session, viewer, f"https://{number}.test/", NOW + timedelta(seconds=number - 9))

    def fetch(url: str, **_: object) -> Answer:
        if "0.test" in url:
            raise RuntimeError
        return Answer(ONE, "")

    assert team_days.refresh(sessions, NOW, fetch=fetch) == 2
    with sessions() as session:
        broken = team_days.calendar_of(session, viewers[0].team_id)
        assert broken is not None
        assert "tried again" in (broken.problem or "")
        assert team_days.of_team(session, viewers[1].team_id) == {date(2026, 12, 24): "Party"}


def test_another_calendar_that_was_set_meanwhile_stays(sessions: Sessions) -> None:
    with sessions() as session, session.begin():
        viewer = people.viewer_of(a_team(session), "test")
        team_days.subscribe(session, viewer, "https://old.test/x.ics", NOW)

    def fetch(url: str, **_: object) -> Answer:
        with sessions() as session, session.begin():
            team_days.upload(session, viewer, "new.ics", ONE, NOW)
        return Answer(calendar(event("20261201", name="Old")).encode(), "")

    team_days.refresh(sessions, NOW, fetch=fetch)
    with sessions() as session:
        assert team_days.of_team(session, viewer.team_id) == {date(2026, 12, 24): "Party"}


def test_the_page_takes_a_file_and_says_what_is_wrong(app, browser: FlaskClient, team: Team) -> None:
    def send(data: bytes) -> str:
        form = {"file": (io.BytesIO(data), "fair.ics"), "_place": "days"}
        return browser.post("/calendar/days-off", data=form, follow_redirects=True).text

    day = (datetime.now(UTC) + timedelta(days=20)).strftime("%Y%m%d")
    assert "1 days off are taken from fair.ics" in send(calendar(event(day, name="Fair <b>")).encode())
    assert "Fair &lt;b&gt;" in browser.get("/calendar").text
    assert "That is no iCalendar" in send(b"PK\x03\x04")
    refused = browser.post("/calendar/days-off", data={"url": "ftp://x", "_place": "days"})
    assert refused.status_code == 422
    assert "Expected an address that begins with" in refused.text
    assert 'value="ftp://x"' in refused.text
    gina = browser_of(app, team.gina)
    assert gina.post("/calendar/days-off", data={"url": "https://x.test/a.ics"}).status_code == 403
    assert "are forgotten" in browser.post("/calendar/days-off/remove", follow_redirects=True).text
