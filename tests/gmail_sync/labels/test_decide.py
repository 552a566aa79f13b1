"""The decision about one thread and one box, as laws: it settles, it does not echo, the later wins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gmail_sync.labels.decide import ADDED, ARRIVED, REMOVED, Outcome, Pair, decide, decide_all

BEGINNING = datetime(2026, 11, 21, 9, tzinfo=UTC)


def at(minute: int) -> datetime:
    """A minute of that morning."""
    return BEGINNING + timedelta(minutes=minute)


def test_a_label_put_on_in_gmail_files() -> None:
    assert decide(Pair(True, False, False, how=ADDED, heard_at=at(1))) is Outcome.TO_TRACKER


def test_a_label_taken_off_in_gmail_takes_out() -> None:
    pair = Pair(False, True, True, how=REMOVED, heard_at=at(1), decided_at=at(0))
    assert decide(pair) is Outcome.TO_TRACKER


def test_what_is_filed_in_tracker_is_labelled() -> None:
    assert decide(Pair(False, True, False, decided_at=at(0))) is Outcome.TO_GMAIL


def test_a_word_said_in_tracker_after_gmail_was_heard_wins() -> None:
    pair = Pair(True, False, False, how=ADDED, heard_at=at(1), decided_at=at(2))
    assert decide(pair) is Outcome.TO_GMAIL


def test_a_label_put_on_and_off_again_after_tracker_filed_wins() -> None:
    pair = Pair(False, True, False, how=REMOVED, twice=True, heard_at=at(2), decided_at=at(1))
    assert decide(pair) is Outcome.TO_TRACKER


def test_our_own_voice_is_no_wish() -> None:
    # Cut off after Gmail was told to put it on; meanwhile somebody took the thread out.
    pair = Pair(True, False, False, pushing=True, how=ADDED, heard_at=at(3), decided_at=at(2))
    assert decide(pair) is Outcome.TO_GMAIL


def test_a_label_that_left_with_its_mail_takes_nothing_out() -> None:
    assert decide(Pair(False, True, True, how=ARRIVED, heard_at=at(3), decided_at=at(1))) is Outcome.TO_GMAIL


def test_a_filter_does_not_bring_back_what_somebody_took_out() -> None:
    pair = Pair(True, False, False, how=ARRIVED, heard_at=at(3), decided_at=at(1), taken_out=True)
    assert decide(pair) is Outcome.TO_GMAIL


def test_of_two_threads_of_one_conversation_the_last_word_counts() -> None:
    put_on = Pair(True, False, False, how=ADDED, heard_at=at(1))
    and_off = Pair(False, False, False, how=REMOVED, twice=True, heard_at=at(2))
    assert decide_all([put_on, and_off]).to_tracker is None
    assert decide_all([put_on, replace(and_off, heard_at=at(0))]).to_tracker is True


@dataclass
class Play:
    """One thread and one box on a table: what somebody does on either side, and syncs that may be cut off."""

    gmail: bool = False
    tracker: bool = False
    base: bool = False
    pushing: bool | None = None
    how: str | None = None
    twice: bool = False
    heard_at: datetime | None = None
    decided_at: datetime | None = None
    minute: int = 0
    unheard: list[bool] = field(default_factory=list)
    last: bool = False  #: what the one who spoke last wants
    doubt: bool = False

    def now(self) -> datetime:
        """A minute later each time."""
        self.minute += 1
        return at(self.minute)

    def label(self) -> None:
        """Somebody changes the label."""
        self.gmail = not self.gmail
        self.unheard.append(self.gmail)

    def file(self, into: bool) -> None:
        """Somebody files, or takes out."""
        self.tracker, self.decided_at, self.last = into, self.now(), into

    def hear(self) -> None:
        """History is caught up with."""
        for on in self.unheard:
            how = ADDED if on else REMOVED
            self.twice = self.twice or (self.how is not None and self.how != how)
            self.how, self.heard_at, self.last = how, self.now(), on
        self.unheard.clear()

    def sync(self, cut: int) -> None:
        """A sync; cut off after hearing (1), before Gmail is told (2), after it is (3), or not at all (0)."""
        if self.pushing is not None and self.unheard:
            self.doubt = True  # whether it was us or somebody else, who said the same
        self.hear()
        if cut == 1:
            return
        pair = Pair(
            self.gmail, self.tracker, self.base, self.pushing, self.how, self.twice, self.heard_at, self.decided_at
        )
        match decide(pair):
            case Outcome.TO_TRACKER:
                self.tracker, self.decided_at = self.gmail, self.heard_at
            case Outcome.TO_GMAIL:
                self.pushing = self.tracker
                if cut == 2:
                    return
                self.gmail = self.tracker
                if cut == 3:
                    self.unheard.append(self.gmail)  # our own change stands in the history as well
                    return
        self.base, self.pushing, self.how, self.twice, self.heard_at = self.gmail, None, None, False, None


steps = st.lists(
    st.one_of(
        st.just(("label", 0)),
        st.tuples(st.just("file"), st.integers(0, 1)),
        st.tuples(st.just("sync"), st.sampled_from([0, 0, 0, 1, 2, 3])),
    ),
    max_size=14,
)


@given(steps)
def test_any_interleaving_settles_and_the_later_wins(todo: list[tuple[str, int]]) -> None:
    play = Play()
    for what, number in todo:
        if what == "label":
            play.label()
        elif what == "file":
            play.file(bool(number))
        else:
            play.sync(number)
    play.sync(0)
    assert play.gmail == play.tracker == play.base
    before = play.gmail, play.tracker
    play.sync(0)
    assert (play.gmail, play.tracker) == before
    assert play.doubt or play.tracker == play.last
