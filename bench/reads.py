"""How right the verdicts are: `python -m bench.reads` judges the corpus and writes the tables of docs/reads.md.

`--check` only says whether they are up to date. `--wrong` lists what was judged wrong, of the part that is not
held out (what is held out is not to be looked at by who changes the rules).
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from webhooks.hits import Kind
from webhooks.tracks import Confidence
from webhooks.verdicts import MACHINES, RULES, Known, RawHit, Reading, Seen, Sent, Verdict, judge

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "webhooks" / "reads" / "corpus"
PAGE = ROOT / "docs" / "reads.md"
BEGIN, END = "<!-- made by python -m bench.reads -->", "<!-- end -->"
SENT_AT = datetime(2025, 3, 3, 9, 0, tzinfo=UTC)
_TIME = re.compile(r"(-?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
READERS = frozenset({"proxy", "person"})  #: labels that mean that somebody read


@dataclass(frozen=True, slots=True)
class Scenario:
    """One mail, its hits with the truth of each, and what should be said of it."""

    name: str
    sent: Sent
    known: Known
    hits: tuple[RawHit, ...]
    truth: dict[str, str]  #: by the hit's key
    read: bool
    whole: Confidence

    @property
    def held_out(self) -> bool:
        """Not looked at while the rules were tuned."""
        return int(hashlib.sha256(self.name.encode()).hexdigest(), 16) % 3 == 0

    def judged(self) -> Reading:
        """What the rules say."""
        return judge(self.sent, self.hits, self.known)


def span(written: str) -> timedelta:
    """`1d2h`, `-5m`, `3s`. Raises `ValueError`."""
    found = _TIME.fullmatch(written.lstrip("+"))
    if found is None:
        raise ValueError(f"{written!r} is no span of time")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
    made = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return -made if found[1] else made


@cache
def corpus() -> tuple[Scenario, ...]:
    """All scenarios, file by file."""
    agents = tomllib.loads((CORPUS / "agents.toml").read_text())["agents"]
    files = sorted(path for path in CORPUS.glob("*.toml") if path.name != "agents.toml")
    return tuple(one for path in files for one in _scenarios(path, agents))


def _scenarios(path: Path, agents: dict[str, str]) -> Iterator[Scenario]:
    for given in tomllib.loads(path.read_text())["scenario"]:
        hits = tuple(_hit(number, one, agents) for number, one in enumerate(given["hits"]))
        answered = SENT_AT + span(given["answered"]) if "answered" in given else None
        sent = Sent(
            SENT_AT if given.get("sent", True) else None,
            "alice",
            given.get("recipients", 1),
            given.get("links", 0),
            answered,
        )
        truth = {hit.key: one["is"] for hit, one in zip(hits, given["hits"], strict=True)}
        yield Scenario(given["name"], sent, _known(given), hits, truth, given["read"], Confidence(given["whole"]))


def _hit(number: int, given: dict[str, Any], agents: dict[str, str]) -> RawHit:
    headers: dict[str, str] = {name: given[name] for name in ("referer", "purpose", "method") if name in given}
    agent = agents[given["by"]] if "by" in given else None
    kind = Kind.CLICK if "link" in given else Kind.OPEN
    return RawHit(
        f"{number:04}",
        SENT_AT + span(given["t"]),
        kind,
        given.get("from"),
        agent,
        headers,
        given.get("user"),
        given.get("repeats", 0),
        given.get("link"),
    )


def _known(given: dict[str, Any]) -> Known:
    own = given.get("own", {})
    addresses = {
        address: (Seen(who, who.title(), SENT_AT + span(since), SENT_AT + span(until)),)
        for address, who, since, until in own.get("addresses", ())
    }
    views = tuple((who, SENT_AT + span(at)) for who, at in own.get("views", ()))
    return Known(addresses, views, tuple(ip_network(one) for one in given.get("networks", ())))


@dataclass(frozen=True, slots=True)
class Score:
    """Of a class: how many were called so rightly, wrongly, and were missed."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Of those that were called so, the part that was."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Of those that were so, the part that was called so."""
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0


def score(pairs: Iterable[tuple[bool, bool]]) -> Score:
    """Of (truth, said) pairs."""
    counted = Counter(pairs)
    return Score(counted[True, True], counted[False, True], counted[True, False])


def hit_pairs(scenarios: Sequence[Scenario]) -> list[tuple[str, Verdict]]:
    """Each hit's truth and verdict."""
    return [
        (one.truth[key], said.verdict) for one in scenarios for key, said in one.judged().hits.items()
    ]  # fmt: skip


def mail_pairs(scenarios: Sequence[Scenario]) -> list[tuple[Confidence, Confidence]]:
    """What should be said of each mail, and what is."""
    return [(one.whole, one.judged().confidence) for one in scenarios]


def part(held_out: bool | None) -> list[Scenario]:
    """The held-out third, the rest, or all."""
    return [one for one in corpus() if held_out is None or one.held_out == held_out]


def reads_of_hits(scenarios: Sequence[Scenario]) -> Score:
    """A hit counts as a reader's: said with likely or better, and true."""
    return score(
        (truth in READERS, said in (Verdict.PROXY, Verdict.PERSON)) for truth, said in hit_pairs(scenarios)
    )


def reads_of_mails(scenarios: Sequence[Scenario]) -> Score:
    """A mail is called read (likely or better), and somebody had read it."""
    return score((one.read, one.judged().confidence.rank >= Confidence.LIKELY.rank) for one in scenarios)


def _line(name: str, made: Score, held: Score) -> str:
    return f"| {name} | {_cells(made)} | {_cells(held)} |"


def _cells(one: Score) -> str:
    return f"{one.right + one.missed} | {one.precision:.0%} | {one.recall:.0%}"


HEAD = "| {} | tuned | precision | recall | held out | precision | recall |\n|---|--:|--:|--:|--:|--:|--:|"


def tables() -> str:
    """The tables of docs/reads.md, as Markdown."""
    made, held = part(False), part(True)
    hits = sum(len(one.hits) for one in corpus())
    lines = [
        f"Rules {RULES}: {len(corpus())} mails with {hits} hits, of which {len(held)} mails with"
        f" {sum(len(one.hits) for one in held)} hits are held out.",
        "",
        HEAD.format("what is told"),
        _line("a hit was a reader’s (likely or better)", reads_of_hits(made), reads_of_hits(held)),
        _line("a mail was read (likely or better)", reads_of_mails(made), reads_of_mails(held)),
        "",
        HEAD.format("each hit was"),
    ]
    for verdict in (one for one in Verdict if one != Verdict.UNCLEAR):
        lines.append(_line(verdict.value, *(_of_verdict(some, verdict) for some in (made, held))))
    lines += ["", HEAD.format("of a mail is said")]
    for confidence in Confidence:
        lines.append(_line(confidence.value, *(_of_mail(some, confidence) for some in (made, held))))
    return "\n".join([*lines, "", *_confusion(), "", *_surprises()])


def _of_verdict(scenarios: Sequence[Scenario], verdict: Verdict) -> Score:
    return score((truth == verdict, said == verdict) for truth, said in hit_pairs(scenarios))


def _of_mail(scenarios: Sequence[Scenario], confidence: Confidence) -> Score:
    return score((truth == confidence, said == confidence) for truth, said in mail_pairs(scenarios))


def _confusion() -> list[str]:
    """Hits of the whole corpus: what they were (rows) and what was said (columns)."""
    counted = Counter(hit_pairs(corpus()))
    columns = list(Verdict)
    lines = ["| was \\ said | " + " | ".join(columns) + " |", "|---" + "|--:" * len(columns) + "|"]
    for truth in (one for one in Verdict if one != Verdict.UNCLEAR):
        cells = (str(counted[truth.value, said] or "·") for said in columns)
        lines.append(f"| {truth} | " + " | ".join(cells) + " |")
    return lines


def _surprises() -> list[str]:
    """Mails that were called read and were not, or the other way round, by name."""
    lines = [
        "Mails of which the wrong thing is told (a read that was none, or none where there was one):",
        "",
    ]
    for one in corpus():
        said = one.judged().confidence
        if (said.rank >= Confidence.LIKELY.rank) != one.read:
            about = "read by somebody" if one.read else "read by nobody"
            lines.append(f"- {one.name}{' (held out)' * one.held_out}: {about}, said *{said}*")
    return lines


def wrong() -> Iterator[str]:
    """What was judged wrong, outside the held-out part."""
    for one in part(False):
        reading = one.judged()
        if reading.confidence != one.whole:
            yield f"{one.name}: should be {one.whole}, is {reading.confidence}"
        for hit in one.hits:
            said = reading.hits[hit.key]
            if said.verdict != one.truth[hit.key]:
                same = "" if (said.verdict in MACHINES) == (one.truth[hit.key] not in READERS) else "  !!"
                truth = one.truth[hit.key]
                yield f"    {one.name} +{hit.at - SENT_AT}: {truth}, said {said.verdict}: {said.why}{same}"


def page() -> str:
    """docs/reads.md as it should be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def main() -> int:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether docs/reads.md is up to date")
    parser.add_argument("--wrong", action="store_true", help="list what is judged wrong")
    asked = parser.parse_args()
    if asked.wrong:
        print("\n".join(wrong()))
        return 0
    if asked.check:
        return 0 if PAGE.read_text() == page() else 1
    print(tables())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
