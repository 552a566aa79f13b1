"""How well the UTC offset of somebody's next mail is predicted from those before it, on real mail.

    python -m bench.zones                    # ../shared/mail/ham.mbox.gz beside the project
    python -m bench.zones path/to/any.mbox.gz
    python -m bench.zones --table            # with what was predicted wrongly, by kind, for docs/time-zones.md

For each sender with at least five messages, each message after the first is predicted from those that came in
before it, and from the country code of the sender's domain. Beside it stand the two obvious ways: the offset of
the last message, and the most frequent one so far. Messages that name no offset ("-0000", RFC 5322 §3.3) are
neither predicted nor learnt from. Nothing is chosen by sender, and no result is known before its prediction.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email import policy
from email.parser import BytesParser
from pathlib import Path

from gmail_sync.mime_headers import written_date
from gmail_sync.sandbox import mbox
from scheduler.zones import places as zone_places
from scheduler.zones.offsets import DOMAIN, Hint, Sighting, next_offset
from scheduler.zones.rules import EARLIEST
from tracker.addresses import domain_of, parse_addresses

MAIL = Path(__file__).parents[2] / "shared" / "mail" / "ham.mbox.gz"
FEWEST = 5
AHEAD = timedelta(days=2)  # see gmail_sync.parse
WAYS = ("Tracker", "last offset seen", "most frequent offset")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One message: what was predicted from which, and what came."""

    sender: str
    before: Sequence[Sighting]
    actual: Sighting
    told: Mapping[str, int]  #: by the way of predicting


def senders(path: Path) -> dict[str, list[Sighting]]:
    """The messages of each sender with at least five, in the order of their dates; those that name an offset."""
    parser = BytesParser(policy=policy.compat32)
    found: dict[str, dict[str, Sighting]] = defaultdict(dict)
    for number, entry in enumerate(mbox.read(path)):
        headers = parser.parsebytes(entry.raw, headersonly=True)
        addresses = parse_addresses([str(value) for value in headers.get_all("From", [])])
        written = written_date(str(headers.get("Date", "")))
        if addresses and written.instant is not None:
            came = mbox.separator_date(entry.separator)
            ahead = came is not None and came.year >= EARLIEST and written.instant > came + AHEAD
            at = came if came is not None and ahead else written.instant
            known_by = str(headers.get("Message-ID", number)).strip()
            found[addresses[0].normalized].setdefault(known_by, Sighting(at, written.utc_offset))
    often = {sender: mails.values() for sender, mails in found.items() if len(mails) >= FEWEST}
    return {
        sender: sorted((one for one in mails if one.offset is not None), key=lambda one: one.at)
        for sender, mails in often.items()
    }


def predictions(sender: str, mails: Sequence[Sighting]) -> Iterator[Prediction]:
    """Each message after the first, predicted from those before it and from the sender's domain."""
    place = zone_places.of_domain(domain_of(sender))
    hints = [Hint(place.zones, DOMAIN)] if place else []
    for number in range(1, len(mails)):
        before, actual = mails[:number], mails[number]
        offsets = [one.offset or 0 for one in before]
        told = (next_offset(before, hints, actual.at), offsets[-1], most_frequent(offsets))
        yield Prediction(sender, before, actual, dict(zip(WAYS, told, strict=True)))


def most_frequent(offsets: Sequence[int]) -> int:
    """The most frequent offset, of several that are as frequent the last seen."""
    counts = Counter(offsets)
    return max(reversed(offsets), key=lambda offset: counts[offset])


def kind(one: Prediction, later: Sequence[Sighting]) -> str:
    """What happened, of a message that was predicted wrongly: told with what came after it, in hindsight."""
    actual, last = one.actual.offset or 0, one.before[-1].offset or 0
    seen = {each.offset for each in one.before}
    following = [each.offset for each in later[:3]]
    if actual == 0 or one.told["Tracker"] == 0:
        return "UTC, as machines stamp it, began or ended"
    if actual in seen or len(seen) > 1:
        return "goes back and forth between two offsets"
    if abs(actual - last) == 60:
        return "an hour more or less: a clock change that the likeliest zone does not have, or has"
    return "elsewhere for a message or two" if last in following else "moved, or another machine"


def main() -> None:
    """Predict, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mail", nargs="?", type=Path, default=Path(os.environ.get("BENCH_MAIL", MAIL)))
    parser.add_argument("--table", action="store_true", help="what was predicted wrongly, by kind")
    chosen = parser.parse_args()
    if not chosen.mail.exists():
        print(f"Skipped: there is no mailbox at {chosen.mail}; name one as the argument or in BENCH_MAIL")
        return
    start = time.perf_counter()
    mails = senders(chosen.mail)
    made = {sender: list(predictions(sender, those)) for sender, those in mails.items()}
    report([one for those in made.values() for one in those], len(mails), time.perf_counter() - start)
    if chosen.table:
        wrong(made, mails)


def report(made: Sequence[Prediction], number: int, seconds: float) -> None:
    """Print each way's accuracy: of all messages, and of those whose offset differs from the one before."""
    changed = [one for one in made if one.actual.offset != one.before[-1].offset]
    print(
        f"{len(made):,} messages of {number} senders, {len(changed)} with another offset than the last"
        f" ({seconds:.0f} s)"
    )
    print(f"\n{'':24}{'right':>8}{'wrong':>8}{'accuracy':>11}{'of those that changed':>24}")
    for way in WAYS:
        right = sum(one.told[way] == one.actual.offset for one in made)
        caught = sum(one.told[way] == one.actual.offset for one in changed)
        share = f"{right / len(made):.2%}" if made else "-"
        print(f"{way:24}{right:>8,}{len(made) - right:>8,}{share:>11}{caught:>15} of {len(changed)}")


def wrong(made: Mapping[str, Sequence[Prediction]], mails: Mapping[str, Sequence[Sighting]]) -> None:
    """Print what was predicted wrongly, by kind, with an example's offsets; no sender is named."""
    found: dict[str, list[Prediction]] = defaultdict(list)
    for sender, those in made.items():
        for number, one in enumerate(those):
            if one.told["Tracker"] != one.actual.offset:
                found[kind(one, mails[sender][number + 2 :])].append(one)
    print("\n| kind | messages | senders | predicted, came |\n|---|---|---|---|")
    for words, those in sorted(found.items(), key=lambda item: -len(item[1])):
        pairs = Counter((hours(one.told["Tracker"]), hours(one.actual.offset or 0)) for one in those)
        told = "; ".join(
            f"{said}, {came}" + (f" ({n}×)" if n > 1 else "") for (said, came), n in pairs.most_common(6)
        )
        print(f"| {words} | {len(those)} | {len({one.sender for one in those})} | {told} |")


def hours(offset: int) -> str:
    """An offset as it is written: +02:00."""
    return f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"


if __name__ == "__main__":
    main()
