"""The doors' parts: real addresses, limits, the journal, the statement, settings."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import resource
import signal
from collections import Counter
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from config.settings import SettingsError, load
from tests.loops import apart
from tests.tracker.domain import NOW
from tests.webhooks.doors.serving import NOBODY, hits, track
from tracker.db import Sessions, plain_url
from webhooks import hit_journal
from webhooks.client_address import client_address, networks
from webhooks.hit_journal import Full, Journal
from webhooks.hit_limits import TOKEN_HITS, TOKEN_MOST, Limits
from webhooks.hit_record import Hit, a_hit, uuid7, words
from webhooks.hit_store import Store, latest
from webhooks.hit_writer import Writer

OURS = networks("10.0.0.0/8, 2001:db8::1 192.0.2.7")
anyone = st.ip_addresses().map(str)
proxies = st.sampled_from(["10.0.0.1", "10.200.3.4", "2001:db8::1", "192.0.2.7", "::ffff:10.1.1.1"])
junk = st.text(st.characters(blacklist_characters=","), max_size=20)


# -- who asks


def bare(address: str) -> str:
    """As we write it."""
    found = ip_address(address.partition("%")[0])
    return str(getattr(found, "ipv4_mapped", None) or found)


def ours(address: str) -> bool:
    """Whether it is a proxy of ours."""
    return any(ip_address(bare(address)) in one for one in OURS)


@given(anyone.filter(lambda one: not ours(one)), st.lists(st.one_of(anyone, junk), max_size=5), st.booleans())
def test_a_stranger_is_who_it_is_whatever_it_says(peer: str, says: list[str], listed: bool) -> None:
    assert client_address(peer, says, OURS if listed else ()) == bare(peer)


@given(
    proxies, anyone.filter(lambda one: not ours(one)), st.lists(proxies, max_size=8), st.lists(junk, max_size=4)
)
def test_our_proxies_say_who_asks_and_nothing_left_of_that_counts(
    peer: str, who: str, between: list[str], invented: list[str]
) -> None:
    assert client_address(peer, [*invented, who, *between], OURS) == bare(who)
    assert client_address(peer, [", ".join([*invented, who, *between])], OURS) == bare(who)


@given(st.one_of(st.none(), junk, anyone), st.lists(st.one_of(junk, anyone, proxies), max_size=40))
def test_what_comes_out_is_an_address_or_nothing(peer: str | None, says: list[str]) -> None:
    found = client_address(peer, says, OURS)
    assert found is None or str(ip_address(found)) == found


@pytest.mark.parametrize(("said", "found"), [
    ("203.0.113.5:4711", "203.0.113.5"), ('"[2001:db8::9]:80"', "2001:db8::9"), ("[2001:db8::9]", "2001:db8::9"),
    ("::ffff:203.0.113.5", "203.0.113.5"), ("fe80::1%eth0", "fe80::1"), ("unknown", None), ("1.2.3.4, ", None),
    ("", "10.0.0.1"), ("10.0.0.3, 10.0.0.2", "10.0.0.3"), ("x" * 3000 + ", 203.0.113.5", "203.0.113.5"),
])  # fmt: skip
def test_proxies_write_addresses_in_many_ways(said: str, found: str | None) -> None:
    assert client_address("10.0.0.1", [said], OURS) == found


def test_proxies_are_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRACKER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TRACKER_TRUSTED_PROXIES", "10.0.0.1 10.0.0.0/33")
    with pytest.raises(SettingsError, match=r"TRACKER_TRUSTED_PROXIES: '10.0.0.0/33' is no address"):
        load()
    monkeypatch.setenv("TRACKER_TRUSTED_PROXIES", "10.0.0.1 ::1/128")
    assert len(networks(load().trusted_proxies)) == 2


# -- limits


def new(_: bool) -> Hit:
    """A hit without anything in it."""
    return Hit(uuid7(random.random()), "{}")


asked = st.tuples(
    st.sampled_from("ab"), st.sampled_from(["1.1.1.1", "2.2.2.2", None]), st.sampled_from("xy"),
    st.sampled_from([0.0, 0.01, 0.6, 5.0, 4000.0]),
)  # fmt: skip


@given(st.lists(asked, max_size=300))
def test_each_is_kept_or_counted_and_the_first_of_each_is_kept(
    given_hits: list[tuple[str, str | None, str, float]],
) -> None:
    limits, now, kept, seen = Limits(), 0.0, dict[str, Hit](), set[tuple[str, str | None, str]]()
    for token, address, agent, pause in given_hits:
        now += pause
        before = len(kept)
        hit = limits.admit(token, address, agent, now, new)
        kept[hit.key] = hit
        if (token, address, agent) not in seen:
            assert len(kept) == before + 1
        seen.add((token, address, agent))
    assert sum(1 + hit.repeats for hit in kept.values()) == len(given_hits)


def test_of_one_token_only_so_many_are_kept_in_an_hour() -> None:
    limits = Limits()
    keys = Counter(limits.admit("t", f"1.1.{n % 9}.1", f"x {n}", n * 2.0, new).key for n in range(1000))
    assert len(keys) == TOKEN_HITS
    assert limits.admit("t", None, "x", 3601.0, new).key not in keys
    assert limits.admit("other", None, "x", 1.0, new).key not in keys


def test_a_reader_who_comes_after_a_scanner_is_kept_and_there_is_a_bound_to_that() -> None:
    limits = Limits()
    for n in range(TOKEN_HITS):
        limits.admit("t", f"1.1.{n}.1", "scan", n * 0.1, new)
    reader = limits.admit("t", "66.249.84.1", "proxy", 1800.0, new)
    assert limits.admit("t", "66.249.84.1", "proxy", 1900.0, new) is reader
    keys = {limits.admit("t", f"1.2.{n // 250}.{n % 250}", "x", 2000.0 + n, new).key for n in range(1000)}
    assert len(keys) == TOKEN_MOST - TOKEN_HITS - 1  # the others are counted on the last of them


def test_a_flood_from_one_address_is_counted_but_a_new_token_is_kept() -> None:
    limits, floods = Limits(), list[bool]()

    def noting(flood: bool) -> Hit:
        floods.append(flood)
        return new(flood)

    kept = {limits.admit(f"t{n}", f"2001:db8::{n:x}", "x", 0.5, noting).key for n in range(200)}  # one /64
    assert len(kept) == 200
    assert floods == [False] * 50 + [True] * 150
    again = {limits.admit(f"t{n}", f"2001:db8::{n:x}", "x", 1.6, noting).key for n in range(200)}
    assert len(again - kept) == 50  # the others: the same from an address that floods us


def test_what_is_remembered_is_bounded() -> None:
    limits = Limits(most=100)
    for n in range(5000):
        limits.admit(f"t{n}", f"10.0.{n // 250}.{n % 250}", "x", n, new)
    assert max(map(len, (limits._same, limits._tokens, limits._addresses))) <= 100


# -- records and the journal


def test_a_line_is_small_whatever_headers_come() -> None:
    fat = {f"sec-{n}": "\xe4" * 200 for n in range(18)}
    hit = a_hit(
        "open", NOBODY, NOW, None, "\U0001f600" * 500, {"method": "GET", **fat, "purpose": "prefetch"}, None
    )
    said = json.loads(hit.line())
    assert len(hit.line()) < 3000
    assert said["agent"] == "?" * 500
    assert said["headers"]["method"] == "GET"
    usual = a_hit("open", NOBODY, NOW, None, "Grüße", {"via": "é"}, None)
    assert (json.loads(usual.line())["agent"], json.loads(usual.line())["headers"]) == ("Grüße", {"via": "é"})


@given(st.binary(max_size=60), st.integers(1, 20))
def test_words_are_what_postgresql_takes(value: bytes, most: int) -> None:
    said = words(value, most)
    assert len(said) <= most
    assert said.encode() is not None
    assert not {"\0", "\n", "\r"} & set(said)


def test_words_are_utf_8_or_latin_1() -> None:
    assert words("dé".encode(), 9) == words(b"d\xe9", 9) == "dé"
    assert words("€".encode() * 100, 7) == "€" * 7
    assert words(b"x" + "€".encode() * 100, 1) == "x"


def lines(number: int) -> list[str]:
    """So many hits."""
    return [a_hit("open", NOBODY, NOW, None, f"é {n}", {}, None).line() for n in range(number)]


def read(path: Path) -> list[str]:
    """What a journal holds."""
    with hit_journal.left(path) as left:
        assert left is not None
        return [line for batch in left.batches(2) for line in batch]


def test_wherever_a_journal_is_torn_what_was_whole_is_read(tmp_path: Path) -> None:
    journal, made = Journal(tmp_path), lines(5)
    journal.append(made)
    journal.close()
    path = hit_journal.waiting(tmp_path)[0]
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        assert read(path) == made[: whole[:end].count(b"\n")]
    path.write_bytes(whole.replace(b"\n", b"torn\n", 1))
    assert read(path) == made[1:]
    assert path.stat().st_mode & 0o077 == 0


def test_a_journal_is_somebodys_until_it_is_closed_and_only_one_takes_it_in(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(lines(1))
    path = hit_journal.waiting(tmp_path)[0]
    with hit_journal.left(path) as left:
        assert left is None
    journal.close()
    with hit_journal.left(path) as first, hit_journal.left(path) as second:
        assert second is None
        assert first is not None
        first.remove()
    with hit_journal.left(path) as left:
        assert left is None


def test_a_full_journal_says_so_and_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, made = Journal(tmp_path, most_bytes=2000), lines(20)
    journal.append(made[:4])
    assert not journal.half_full
    with pytest.raises(Full, match="reached"):
        journal.append(made)
    other = Journal(tmp_path, most_bytes=2000)
    with pytest.raises(Full, match="reached"):
        other.append(made[:8])  # all files together
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk on fire")))
        with pytest.raises(Full, match="on fire"):
            journal.append(made[4:5])
    journal.append(made[5:6])
    journal.close()
    assert read(hit_journal.waiting(tmp_path)[0]) == [*made[:4], made[5]]


def test_what_a_full_disk_cuts_short_is_not_said_to_be_kept_and_harms_nothing_after_it(tmp_path: Path) -> None:
    journal, made = Journal(tmp_path), lines(20)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        journal.append(made[:1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(Full, match="can't be written"):
            journal.append(made[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    journal.append(made[5:6])
    journal.close()
    assert [one for path in hit_journal.waiting(tmp_path) for one in read(path)] == [made[0], made[5]]


def test_a_file_that_can_not_be_repaired_is_left_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, made = Journal(tmp_path), lines(3)
    journal.append(made[:1])

    def refuse(*_: object) -> None:
        raise OSError("disk on fire")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", refuse)
        patch.setattr("os.ftruncate", refuse)
        with pytest.raises(Full):
            journal.append(made[1:2])
    assert not journal.is_open
    journal.append(made[2:])
    journal.close()
    assert len(hit_journal.waiting(tmp_path)) == 2


def test_a_file_that_is_being_made_is_nobodys_to_take_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Path]] = []
    lock = fcntl.flock

    def slowly(file: Any, how: int) -> None:
        seen.append(hit_journal.waiting(tmp_path))
        if len(seen) == 1:  # somebody tidies up: it is made again
            for path in tmp_path.iterdir():
                path.unlink()
        lock(file, how)

    old = tmp_path / f"1-1.journal{hit_journal.UNBORN}"
    old.touch()
    os.utime(old, (1, 1))
    monkeypatch.setattr(fcntl, "flock", slowly)
    journal = Journal(tmp_path)
    journal.append(lines(1))
    assert seen == [[], []]
    assert len(list(tmp_path.iterdir())) == 1


# -- the statement


def test_what_is_taken_in_again_only_counts_up(sessions: Sessions, session: Session, database_url: str) -> None:
    made = track(sessions)
    click = a_hit("click", made.links[0], NOW, "2001:db8::1", "\\u0000 'x'", {"via": '"\\'}, "someone")
    nobody = a_hit("open", NOBODY, NOW, None, None, {}, None)
    other_door = a_hit("open", made.links[0], NOW, None, None, {}, None)

    async def work() -> None:
        store = Store(plain_url(database_url), "test")
        await store.connect()
        for repeats in (3, 0, 5, 4):
            click.repeats = repeats
            links = await store.keep([one.line() for one in (click, nobody, other_door)])
            assert links == {click.key: made.urls[0]}
        refused = click.line().replace('"2001:db8::1"', '"nonsense"').replace(click.key, uuid7(1.0))
        good = a_hit("open", made.pixels[0], NOW + timedelta(1), None, None, {}, None)
        assert await store.keep([refused, good.line()]) == {}
        await store.close()

    apart(work())
    found = hits(session)
    assert [(one.kind, one.repeats) for one in found] == [("click", 5), ("open", 0)]
    assert (found[0].agent, found[0].headers, found[0].user_key) == ("\\u0000 'x'", {"via": '"\\'}, "someone")


def test_a_database_that_only_takes_its_time_is_not_waited_for(
    sessions: Sessions, session: Session, database_url: str, tmp_path: Path
) -> None:
    token = track(sessions).pixels[0]

    async def work() -> None:
        writer = Writer(plain_url(database_url), tmp_path / "hits")
        for store in writer.stores:
            store.patience = 0.3
        await writer.start()
        session.execute(text("LOCK TABLE hit_arrivals IN ACCESS EXCLUSIVE MODE"))
        outcome = await asyncio.wait_for(writer.keep(a_hit("open", token, NOW, None, "slow", {}, None)), 5)
        assert not outcome.asked
        session.rollback()
        async with asyncio.timeout(20):
            while hit_journal.waiting(tmp_path / "hits"):
                await asyncio.sleep(0.05)
        await writer.stop()
        assert writer.lost == 0

    apart(work())
    assert [one.agent for one in hits(session)] == ["slow"]


def a_writer(database_url: str, journal: Journal) -> Writer:
    """One that has nothing to do yet."""
    return Writer(plain_url(database_url), journal.folder, journal)


def some(number: int, token: str = NOBODY) -> list[Hit]:
    """So many hits."""
    return [a_hit("open", token, NOW, None, f"agent {n}", {}, None) for n in range(number)]


def test_whoever_gives_up_leaves_the_others_waiting(database_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        writer = a_writer(database_url, Journal(tmp_path))
        await writer.start()

        async def one() -> bool:
            return (await writer.keep(some(1)[0])).asked

        first, second = asyncio.create_task(one()), asyncio.create_task(one())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first, second}, timeout=5)
        assert first.cancelled()
        assert second.result()
        await writer.stop()

    apart(work())


def test_more_than_the_database_takes_goes_to_the_journal(
    sessions: Sessions, session: Session, database_url: str, tmp_path: Path
) -> None:
    token = track(sessions).pixels[0]

    async def work() -> None:
        writer = a_writer(database_url, Journal(tmp_path))
        await writer.start()
        session.execute(text("LOCK TABLE hit_arrivals IN ACCESS EXCLUSIVE MODE"))
        waiting = {id(kept): kept for kept in map(writer.keep, some(4000, token))}
        done, _ = await asyncio.wait(waiting.values(), timeout=1)
        assert len(done) >= 4  # while the first commit still waits for its two seconds
        assert not any(one.result().asked for one in done)
        session.rollback()
        await asyncio.wait(waiting.values())
        async with asyncio.timeout(20):
            while hit_journal.waiting(tmp_path):
                await asyncio.sleep(0.05)
        await writer.stop()

    apart(work())
    assert len({one.agent for one in hits(session)}) == len(hits(session)) == 4000


def test_what_nothing_can_keep_is_answered_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        writer = a_writer("postgresql://nobody@/none?host=/nowhere", Journal(tmp_path, most_bytes=10))
        await writer.start()
        outcomes = [await writer.keep(one) for one in some(3)]
        assert not any(one.asked for one in outcomes)
        assert writer.lost == 3
        await writer.stop()

    apart(work())
    assert caplog.text.count("Hits are lost") == 1


def test_of_lines_with_the_same_key_the_last_counts() -> None:
    hit = a_hit("open", NOBODY, NOW, None, None, {}, None)
    first = hit.line()
    hit.repeats = 2
    other = a_hit("open", NOBODY, NOW, None, None, {}, None)
    assert latest([first, other.line(), hit.line()]) == [hit.line(), other.line()]
