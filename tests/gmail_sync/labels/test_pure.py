"""Names, colours and calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gmail_sync.budget import UNITS
from gmail_sync.labels import calls, colors, names, tell
from gmail_sync.labels.calls import Change
from gmail_sync.labels.names import Named
from gmail_sync.labels.state import State
from gmail_sync.labels.steps import Patch
from gmail_sync.sandbox.labels import PALETTE
from gmail_sync.sandbox.quota import UNITS as CHARGED

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=260)


@given(st.lists(words, max_size=8))
def test_every_name_has_a_path_of_its_own_that_gmail_takes(given_names: list[str]) -> None:
    found = names.paths(Named(number, "Boxes/Sales", name) for number, name in enumerate(given_names))
    assert len({names.key(path) for path in found.values()}) == len(given_names)
    for path in found.values():
        assert names.size(path) <= names.LIMIT
        assert path.count("/") == 2
        assert path == path.strip()


@given(words)
def test_a_name_comes_back_from_its_path(name: str) -> None:
    told = " ".join(name.replace("\x00", "").split())
    if 0 < names.size(told) <= 150 and names.LIKE_SLASH not in told and not told.startswith("\uff20"):
        assert names.spoken(names.last(f"Boxes/Sales/{names.segment(name, 200)}")) == told


def test_two_boxes_of_one_name_and_who_keeps_it() -> None:
    wanted = [Named(1, "B", "Acme"), Named(2, "B", "acme", "B/acme"), Named(3, "B", "Acme", "B/Acme (2)")]
    assert names.paths(wanted) == {2: "B/acme", 3: "B/Acme (2)", 1: "B/Acme (3)"}
    assert names.paths([Named(1, "B", "Acme")], ["b/ACME"]) == {1: "B/Acme (2)"}
    assert names.paths([Named(1, "B", "Acme")], refused=[(1, "B/Acme")]) == {1: "B/Acme (2)"}


def test_labels_that_swap_their_names_go_by_a_third() -> None:
    state = State(listed={"L1": "B/a", "L2": "B/b"})
    told = tell.in_order([Patch(1, "L1", "B/b", None), Patch(2, "L2", "B/a", None)], state)
    held = dict(state.listed)
    for patch in told:
        assert patch.path is not None
        assert patch.path not in held.values()
        held[patch.gmail_id] = patch.path
    assert held == {"L1": "B/b", "L2": "B/a"}


@given(st.from_regex(r"#[0-9a-f]{6}", fullmatch=True))
def test_a_colour_is_one_that_gmail_has_and_can_be_written_on(color: str) -> None:
    found = colors.nearest(color)
    assert found in PALETTE
    assert colors.text_on(found) in PALETTE
    assert colors.contrast(found, colors.text_on(found)) >= 4.5


def test_the_palette_is_gmails_and_its_own_colours_stay() -> None:
    assert frozenset(colors.PALETTE) == PALETTE
    assert all(colors.nearest(color) == color for color in PALETTE)


def test_what_calls_cost_is_what_gmail_charges() -> None:
    methods = [name for name in UNITS if name.startswith("labels.") or name.endswith(("odify",))]
    assert {name: UNITS[name] for name in methods} == {name: CHARGED[name] for name in methods}


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60), st.booleans())
def test_calls_are_the_cheapest_and_say_all(sizes: list[int], removes: bool) -> None:
    changes = [
        Change(
            f"t{n}",
            frozenset({"L"}),
            frozenset({"O"} if removes else ()),
            tuple(f"m{n}.{i}" for i in range(size)),
            size == 1,
        )
        for n, size in enumerate(sizes)
    ]
    found = calls.plan(changes)
    single = sum(5 if size == 1 else 10 for size in sizes)
    assert sum(call.units for call in found) <= min(single, 50 * (-(-sum(sizes) // 901)))
    assert sorted(thread for call in found for thread in call.threads) == sorted(one.thread_id for one in changes)
    assert all(len(call.ids) <= calls.BATCH for call in found)
