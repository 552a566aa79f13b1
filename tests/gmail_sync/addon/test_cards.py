"""Cards: whatever rooms say, and whatever people wrote, is a card of Google's."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmail_sync.addon import cards, events
from gmail_sync.addon.cards import draw
from gmail_sync.sandbox.addon import Form
from tests.gmail_sync.addon.client import moment, valid
from tracker.panel import (
    Action,
    Button,
    Buttons,
    Card,
    Choice,
    Choosing,
    Input,
    Line,
    Moment,
    Option,
    Paragraph,
    Rule,
    Section,
    Widget,
)

ACT = "https://tracker.example/addon/act"
texts = st.text(max_size=300)
names = st.text("abcdefgh-_.", min_size=1, max_size=20)
actions = st.builds(Action, names, st.dictionaries(names, texts, max_size=3))
buttons = st.builds(
    Button, texts, st.none() | actions, st.sampled_from(["", "https://tracker.example/x"]), st.booleans(),
    st.booleans(),
)  # fmt: skip
options = st.lists(st.builds(Option, texts, texts, st.booleans()), max_size=5)
days = st.dates().map(str) | st.just("")
walls = st.datetimes().map(lambda at: at.isoformat(timespec="minutes")) | st.just("")
widgets: st.SearchStrategy[Widget] = st.one_of(
    st.builds(Line, texts, texts, texts, st.sampled_from(["", "schedule", "<b>", "x" * 90]), st.none() | actions,
              st.sampled_from(["", "https://tracker.example/x"]), st.none() | buttons),
    st.builds(Paragraph, texts),
    st.builds(Rule),
    st.builds(Buttons, st.lists(buttons, min_size=1, max_size=3)),
    st.builds(Choice, names, texts, options, st.sampled_from(Choosing), st.none() | actions),
    st.builds(Input, names, texts, texts, texts, st.booleans(), st.lists(texts, max_size=3)),
    st.builds(Moment, names, texts, days, st.just(False)),
    st.builds(Moment, names, texts, walls, st.just(True)),
)  # fmt: skip
sections = st.builds(Section, texts, st.lists(widgets, max_size=6), st.none() | st.integers(0, 8))
any_card = st.builds(
    Card, texts, st.lists(sections, max_size=4), texts, texts, st.none() | buttons, st.none() | buttons
)


def one(widget: Widget) -> Any:
    """A widget as it is drawn."""
    drawn = draw(Card("A", [Section("", [widget])]), ACT)
    valid(drawn)
    return drawn["sections"][0]["widgets"][0]


def marked(drawn: Any) -> list[str]:
    """The texts that Google reads as HTML."""
    found = [section["header"] for section in drawn["sections"] if "header" in section]
    for widget in (widget for section in drawn["sections"] for widget in section["widgets"]):
        line = widget.get("decoratedText", {})
        found += [line[name] for name in ("text", "topLabel", "bottomLabel") if name in line]
        found += [widget["textParagraph"]["text"]] if "textParagraph" in widget else []
    return found


class TestEveryCard:
    @settings(max_examples=50, deadline=None)
    @given(any_card)
    def test_is_googles(self, card: Card) -> None:
        drawn = draw(card, ACT, {"_at": "thread"})
        valid(json.loads(json.dumps(drawn)))
        for text in marked(drawn):
            assert "<" not in text.replace("<br>", "")
            assert "&" not in text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")

    def test_without_anything_says_so(self) -> None:
        drawn = draw(Card("A", [Section("B", [])]), ACT)
        valid(drawn)
        assert "nothing to show" in str(drawn)

    def test_is_cut_with_words(self) -> None:
        lines = [Line(f"Line {number}") for number in range(150)]
        for shape in ([Section("", lines)], [Section(str(n), lines[:40]) for n in range(5)]):
            drawn = draw(Card("A", shape), ACT)
            valid(drawn)
            widgets = [widget for section in drawn["sections"] for widget in section["widgets"]]
            assert len(widgets) == cards.WIDGETS + 1
            assert widgets[-1]["textParagraph"]["text"] == cards.MORE
        exactly = draw(Card("A", [Section("", lines[: cards.WIDGETS])]), ACT)
        assert cards.MORE not in str(exactly)

    def test_bounds_what_people_wrote(self) -> None:
        long = "x" * 100_000
        card = Card(
            long, [Section(long, [Line(long, long, long), Paragraph(long), Input("n", long, long, long)])], long
        )
        drawn = draw(card, ACT)
        valid(drawn)
        assert len(json.dumps(drawn)) < 50_000


class TestWidgets:
    def test_text_is_escaped_where_google_reads_html_and_only_there(self) -> None:
        line = one(Line("a < b & <b>c</b>\nd", label="<i>", below="&amp;", button=Button("<x> & y")))[
            "decoratedText"
        ]
        assert line["text"] == "a &lt; b &amp; &lt;b&gt;c&lt;/b&gt;<br>d"
        assert (line["topLabel"], line["bottomLabel"]) == ("&lt;i&gt;", "&amp;amp;")
        assert line["button"]["text"] == "<x> & y"
        option = one(Choice("c", "A & B", [Option("1", "C & D")]))["selectionInput"]
        assert (option["label"], option["items"][0]["text"]) == ("A & B", "C & D")
        assert unescape(line["text"]).startswith("a < b & <b>")

    def test_a_button_carries_its_action(self) -> None:
        drawn = draw(
            Card("A", [Section("", [Buttons([Button("Go", Action("x.y", {"key": "k"}), filled=True)])])]),
            ACT, {"_at": "home"},
        )  # fmt: skip
        button = drawn["sections"][0]["widgets"][0]["buttonList"]["buttons"][0]
        action = button["onClick"]["action"]
        assert action["function"] == ACT
        carried = {one["key"]: one["value"] for one in action["parameters"]}
        assert carried == {"do": "x.y", "_at": "home", "key": "k"}
        assert button["type"] == "FILLED"

    def test_a_page_is_opened_in_the_browser(self) -> None:
        (button,) = one(Buttons([Button("Go", url="https://tracker.example/x")]))["buttonList"]["buttons"]
        assert button["onClick"]["openLink"]["url"] == "https://tracker.example/x"

    @pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "x"])
    def test_nothing_else_is_opened(self, url: str) -> None:
        with pytest.raises(ValueError, match="web pages"):
            draw(Card("A", [Section("", [Line("x", url=url)])]), ACT)

    def test_of_more_options_than_can_be_shown_the_chosen_stay(self) -> None:
        many = [Option(str(number), str(number), chosen=number == 250) for number in range(300)]
        items = one(Choice("c", "C", many))["selectionInput"]["items"]
        assert len(items) == cards.OPTIONS
        assert [item["value"] for item in items if item["selected"]] == ["250"]
        assert [item["value"] for item in items[:3]] == ["0", "1", "2"]

    def test_a_choice_may_act_at_once(self) -> None:
        drawn = one(Choice("c", "C", [Option("1", "One")], changed=Action("x.y")))["selectionInput"]
        assert {"key": "do", "value": "x.y"} in drawn["onChangeAction"]["parameters"]

    def test_a_section_is_folded(self) -> None:
        lines = [Line("1"), Line("2"), Line("3")]
        drawn = draw(Card("A", [Section("S", lines, folded=1), Section("T", lines, folded=3)]), ACT)
        assert drawn["sections"][0]["uncollapsibleWidgetsCount"] == 1
        assert "collapsible" not in drawn["sections"][1]

    def test_the_foot_has_a_main_button(self) -> None:
        card = Card("A", [], primary=Button("Yes", Action("x.y")), secondary=Button("No", Action("x.z")))
        foot = draw(card, ACT)["fixedFooter"]
        assert (foot["primaryButton"]["text"], foot["secondaryButton"]["text"]) == ("Yes", "No")
        alone = draw(replace(card, primary=None), ACT)
        valid(alone)
        assert alone["fixedFooter"] == {"primaryButton": foot["secondaryButton"]}


class TestWallTimes:
    """What a picker shows, and what comes back if nobody touches it, are the same wall time."""

    @settings(max_examples=40, deadline=None)
    @given(st.datetimes().map(lambda at: at.isoformat(timespec="minutes")))
    def test_moments(self, wall: str) -> None:
        assert self.back(Moment("m", "M", wall, with_time=True)) == (wall,)

    @settings(max_examples=40, deadline=None)
    @given(st.dates().map(str))
    def test_days(self, day: str) -> None:
        assert self.back(Moment("m", "M", day)) == (day,)

    @staticmethod
    def back(widget: Moment) -> Any:
        drawn = one(widget)["dateTimePicker"]
        assert drawn["timezoneOffsetDate"] == 0
        form = Form({}, {"m": moment(int(drawn["valueMsEpoch"]), drawn["type"])})
        return events.read(json.dumps({"commonEventObject": form.common()}).encode()).given["m"]
