"""The corpus: labelled before the rules, with a third held out. Numbers may rise, and not fall."""

from __future__ import annotations

import pytest

from bench import reads
from webhooks.verdicts import Verdict

#: What the rules of version 2 reached: (precision, recall) of "read" for hits and for mails, tuned and held out.
#: Of hits version 1 recalled more (0.92, 0.95), before the corpus had people who open three links in tabs.
FLOOR = {False: ((0.88, 0.89), (0.90, 0.92)), True: ((0.97, 0.89), (0.95, 0.91))}


def test_the_corpus_has_two_hundred_hits_and_a_third_of_it_is_held_out() -> None:
    hits = sum(len(one.hits) for one in reads.corpus())
    held = sum(len(one.hits) for one in reads.part(True))
    assert hits >= 200
    assert hits / 4 < held < hits / 2
    assert len({one.name for one in reads.corpus()}) == len(reads.corpus())


@pytest.mark.parametrize("held_out", [False, True], ids=["tuned", "held out"])
def test_no_number_falls(held_out: bool) -> None:
    for made, floor in zip((reads.reads_of_hits, reads.reads_of_mails), FLOOR[held_out], strict=True):
        found = made(reads.part(held_out))
        assert (found.precision, found.recall) >= floor
        assert found.recall >= floor[1]


def test_no_prefetch_is_a_read_and_gmails_real_opens_are_not_lost() -> None:
    pairs = reads.hit_pairs(reads.corpus())
    assert {said for truth, said in pairs if truth == "prefetch"} == {Verdict.PREFETCH}
    proxied = [said for truth, said in pairs if truth == "proxy"]
    assert proxied.count(Verdict.PROXY) / len(proxied) > 0.97


def test_the_page_is_up_to_date() -> None:
    assert reads.PAGE.read_text() == reads.page(), "run python -m bench.reads"
