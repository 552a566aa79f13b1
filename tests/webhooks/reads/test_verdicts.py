"""Rules by themselves, and the law: a reading is a function of the set of hits."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.reads import SENT_AT, corpus
from webhooks.tracks import Confidence
from webhooks.verdicts import Known, RawHit, Seen, Sent, Verdict, agents, judge, networks
from webhooks.verdicts.news import CLICKED, HOLD, READ, News, Told, held_until, news

PROXY = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
GOOGLES, HOME = "66.249.84.1", "203.0.113.9"
SENT = Sent(SENT_AT, "alice", 1, 3)
NOTHING_KNOWN, NOTHING_TOLD = Known(), Told()


def hit(after: timedelta = timedelta(hours=1), agent: str | None = PROXY, **more: Any) -> RawHit:
    number = more.pop("key", f"{after}{agent}{more.get('link')}")
    columns: dict[str, Any] = {"kind": "click" if "link" in more else "open", "address": GOOGLES, **more}
    return RawHit(number, SENT_AT + after, agent=agent, **columns)


def said(one: RawHit, known: Known = NOTHING_KNOWN, *others: RawHit) -> Verdict:
    return judge(SENT, [one, *others], known).hits[one.key].verdict


def test_the_prefetch_is_no_read_from_google_or_from_nowhere_but_is_unclear_from_elsewhere() -> None:
    for address, verdict in (
        (GOOGLES, Verdict.PREFETCH),
        (None, Verdict.PREFETCH),
        ("127.0.0.1", Verdict.PREFETCH),
        (HOME, Verdict.UNCLEAR),
    ):
        assert said(hit(agent=agents.GMAIL_PREFETCH, address=address)) == verdict


def test_gmails_proxy_behind_a_proxy_of_ours_that_nobody_listed_is_still_a_read() -> None:
    assert said(hit(address="10.0.0.7")) == Verdict.PROXY
    assert said(hit(address="::ffff:66.249.84.1")) == Verdict.PROXY
    assert said(hit(address="nonsense")) == Verdict.PROXY


def test_a_local_address_that_one_of_ours_used_swallows_no_read() -> None:
    known = Known({"127.0.0.1": (Seen("alice", "Alice", SENT_AT, SENT_AT + timedelta(days=9)),)})
    assert said(hit(agent=CHROME, address="127.0.0.1", link=1), known) == Verdict.PERSON


def test_a_known_address_is_ours_only_in_its_span() -> None:
    known = Known({HOME: (Seen("bob", "Bob", SENT_AT, SENT_AT + timedelta(days=1)),)})
    assert said(hit(agent=CHROME, address=HOME), known) == Verdict.OWN
    assert said(hit(timedelta(days=3), CHROME, address=HOME), known) == Verdict.PERSON


def test_whose_view_it_was_is_said() -> None:
    known = Known(own_views=(("alice", SENT_AT + timedelta(hours=1)),))
    reading = judge(SENT, [hit()], known)
    assert reading.hits[hit().key].why == "the sender had the conversation open in that moment"
    assert reading.confidence == Confidence.MACHINE


def test_the_operators_networks_are_scanners() -> None:
    known = Known(scanner_networks=(ip_network("203.0.113.0/24"),))
    assert said(hit(agent=CHROME, address=HOME), known) == Verdict.SCANNER


def test_the_operators_list_says_which_line_is_wrong() -> None:
    assert networks.load(["# ours", "", "203.0.113.0/24  # the sandbox"]) == (ip_network("203.0.113.0/24"),)
    with pytest.raises(ValueError, match="line 2"):
        networks.load(["10.0.0.0/8", "not a network"])


def test_what_is_forgotten_keeps_its_verdict_and_counts_as_before() -> None:
    before = judge(SENT, [hit(), hit(timedelta(days=3))], Known())
    bare = [
        RawHit(one.key, one.at, one.kind, recorded=(before.hits[one.key].verdict, before.hits[one.key].why))
        for one in (hit(), hit(timedelta(days=3)))
    ]
    assert judge(SENT, bare, Known()) == before


def test_a_scanners_burst_does_not_hide_the_reader_who_comes_later() -> None:
    burst = [hit(timedelta(seconds=20 + n), CHROME, address="192.0.2.1", link=n) for n in range(3)]
    reader = hit(timedelta(hours=2), CHROME, address=HOME, link=1)
    assert {said(one, Known(), *burst, reader) for one in burst} == {Verdict.SCANNER}
    assert said(reader, Known(), *burst) == Verdict.PERSON


# -- the law

AGENTS = [PROXY, agents.GMAIL_PREFETCH, agents.APPLE_PRIVACY, CHROME, "curl/8.4.0", "", None, "Barracuda Sentinel"]
HITS = st.lists(
    st.builds(
        lambda seconds, agent, address, link, user: hit(
            timedelta(seconds=seconds), agent, address=address, user_key=user,
            key=f"{seconds}-{agent}-{address}-{link}-{user}", **({} if link is None else {"link": link}),
        ),
        st.one_of(st.integers(-60, 120), st.integers(0, 20 * 86_400)),
        st.sampled_from(AGENTS),
        st.sampled_from([GOOGLES, HOME, "192.0.2.1", None]),
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from([None, None, None, "alice"]),
    ),
    max_size=25,
)  # fmt: skip


@given(hits=HITS, data=st.data())
@settings(max_examples=150, deadline=None)
def test_neither_order_nor_repetition_changes_a_reading(hits: list[RawHit], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(hits))
    again = data.draw(st.lists(st.sampled_from(hits))) if hits else []
    known = Known(own_views=(("bob", SENT_AT + timedelta(minutes=1)),))
    assert judge(SENT, [*shuffled, *again], known) == judge(SENT, hits, known)


@given(hits=HITS)
@settings(max_examples=100, deadline=None)
def test_what_is_said_together_follows_from_the_hits(hits: list[RawHit]) -> None:
    reading = judge(SENT, hits, Known())
    assert set(reading.hits) == {one.key for one in hits}
    assert all(one.why for one in reading.hits.values())
    best = max((one.confidence.rank for one in reading.hits.values()), default=0)
    assert reading.confidence.rank == best
    assert bool(reading.views) == (best >= Confidence.LIKELY.rank)
    assert len(reading.views) + reading.clicked <= 2 * len({one.key for one in hits})


@pytest.mark.parametrize("scenario", corpus()[::9], ids=lambda one: one.name)
def test_the_corpus_says_the_same_backwards(scenario: Any) -> None:
    assert judge(scenario.sent, reversed(scenario.hits), scenario.known) == scenario.judged()


# -- what is told


LATER = SENT_AT + timedelta(days=99)


def told(
    hits: list[RawHit], before: Told = NOTHING_TOLD, now: datetime = LATER, known: Known = NOTHING_KNOWN
) -> tuple[list[News], Told]:
    return news(judge(SENT, hits, known), before, now)


def kinds(made: list[News]) -> list[tuple[str, bool, int | None]]:
    return [(one.kind, one.first, one.again_after_days) for one in made]


def test_the_first_likely_read_is_told_once_and_a_return_after_a_week() -> None:
    first, soon, late = hit(), hit(timedelta(days=2)), hit(timedelta(days=12))
    made, after = told([first])
    assert kinds(made) == [(READ, True, None)]
    assert told([first], after)[0] == []
    made, after = told([first, soon], after)
    assert made == []
    made, after = told([first, soon, late], after)
    assert kinds(made) == [(READ, False, 10)]
    assert told([first, soon, late], after)[0] == []


def test_a_machine_and_a_maybe_tell_nothing() -> None:
    assert told([hit(agent=agents.GMAIL_PREFETCH), hit(agent="Mozilla/5.0"), hit(address=HOME)])[0] == []


def test_a_click_is_told_once_for_a_sitting_and_needs_no_read_beside_it() -> None:
    clicks = [hit(timedelta(hours=1, minutes=n), CHROME, address=HOME, link=n) for n in (0, 4)]
    made, after = told(clicks)
    assert kinds(made) == [(CLICKED, True, None)]
    later = hit(timedelta(hours=4), CHROME, address=HOME, link=2)
    made, after = told([*clicks, later], after)
    assert kinds(made) == [(CLICKED, False, None)]
    assert told([*clicks, later], after)[0] == []


def test_a_scanners_first_click_that_was_told_does_not_swallow_the_readers() -> None:
    burst = [hit(timedelta(seconds=300 + n), CHROME, address="192.0.2.1", link=n) for n in range(3)]
    made, after = told(burst[:1])
    assert kinds(made) == [(CLICKED, True, None)]
    assert told(burst[:2], after) == ([], after)
    made, after = told(burst, after)
    assert (made, after.sittings, after.confidence) == ([], 0, "")
    reader = hit(timedelta(hours=2), CHROME, address=HOME, link=1)
    made, after = told([*burst, reader], after)
    assert kinds(made) == [(CLICKED, True, None)]
    assert told([*burst, reader], after)[0] == []


def test_the_readers_click_is_told_though_it_comes_with_the_rest_of_the_burst() -> None:
    burst = [hit(timedelta(seconds=300 + n), CHROME, address="192.0.2.1", link=n) for n in range(3)]
    after = told(burst[:1])[1]
    reader = hit(timedelta(minutes=8), CHROME, address=HOME, link=1)
    assert [one.kind for one in told([*burst, reader], after)[0]] == [CLICKED]


def test_an_own_view_that_was_told_does_not_swallow_the_read_after_it() -> None:
    mine, hers = hit(timedelta(minutes=2)), hit(timedelta(hours=2))
    known = Known(own_views=(("alice", mine.at + timedelta(seconds=1)),))
    after = told([mine])[1]
    made, after = told([mine], after, known=known)
    assert (made, after.confidence) == ([], "")
    made, after = told([mine, hers], after, known=known)
    assert kinds(made) == [(READ, True, None)]
    assert told([mine, hers], after, known=known)[0] == []


def test_only_a_cold_click_is_held_and_only_for_a_moment() -> None:
    click = hit(timedelta(hours=1), CHROME, address=HOME, link=1)
    soon, then = click.at + timedelta(milliseconds=100), click.at + HOLD
    assert told([click], now=soon) == ([], NOTHING_TOLD)
    assert held_until(judge(SENT, [click], NOTHING_KNOWN), NOTHING_TOLD, soon) == then
    assert kinds(told([click], now=then)[0]) == [(CLICKED, True, None)]
    warm = [hit(timedelta(minutes=59)), click]
    assert (CLICKED, True, None) in kinds(told(warm, now=soon)[0])


def tabs(first: RawHit) -> dict[str, Verdict]:
    """Somebody reads, opens three links in tabs within seven seconds, and comes back the next day."""
    hits = [first] + [hit(timedelta(seconds=640 + n), CHROME, address=HOME, link=n) for n in (0, 3, 7)]
    hits.append(hit(timedelta(days=1), CHROME, address=HOME, link=1))
    reading = judge(SENT, hits, Known())
    return {one.key: reading.hits[one.key].verdict for one in hits}


@pytest.mark.parametrize("agent", [PROXY, CHROME])
def test_three_links_in_tabs_do_not_erase_their_reader(agent: str) -> None:
    opened = hit(timedelta(minutes=10), agent, address=GOOGLES if agent == PROXY else HOME)
    first, *burst, later = tabs(opened).values()
    assert first == (Verdict.PROXY if agent == PROXY else Verdict.PERSON)
    assert set(burst) == {Verdict.UNCLEAR}
    assert later == Verdict.PERSON


def test_what_looks_around_with_a_burst_is_a_scanner_too() -> None:
    burst = [hit(timedelta(seconds=300 + n), CHROME, address=HOME, link=n) for n in range(3)]
    for after, verdict in ((295, Verdict.SCANNER), (330, Verdict.SCANNER), (900, Verdict.PERSON)):
        assert said(hit(timedelta(seconds=after), CHROME, address=HOME), NOTHING_KNOWN, *burst) == verdict


def test_judging_a_thousand_hits_takes_no_time_to_speak_of() -> None:
    opens = [hit(timedelta(seconds=n), CHROME + "x" * n, address=HOME) for n in range(100, 600)]
    clicks = [
        hit(timedelta(seconds=700, milliseconds=n), CHROME, address=HOME, link=n % 2, key=f"{n}")
        for n in range(500)
    ]
    began = time.process_time()
    judge(Sent(SENT_AT, "alice", 1, 2), [*opens, *clicks], Known())
    assert time.process_time() - began < 0.4


def test_a_make_of_phones_is_no_bot() -> None:
    assert not agents.is_bot("Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36 Chrome/146.0 Mobile")
    assert agents.is_bot("Mozilla/5.0 (compatible; Somebot/2.1)")


def test_a_version_of_chrome_is_old_by_the_time_of_the_hit() -> None:
    assert not agents.is_outdated(CHROME, datetime.fromisoformat("2026-06-01T00:00:00+00:00"))
    assert agents.is_outdated(CHROME, datetime.fromisoformat("2028-06-01T00:00:00+00:00"))
