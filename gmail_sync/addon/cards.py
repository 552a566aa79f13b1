"""The panel's words as Google's cards: pure, bounded, and everything that people wrote escaped.

Source: https://developers.google.com/workspace/add-ons/reference/rpc/google.apps.card.v1
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import urlsplit

from tracker import panel
from tracker.panel import Action, Button, Card, Choosing, Line, Section, Widget

Json = dict[str, Any]

DO = "do"  #: the parameter that names the action
WIDGETS = 100  #: Google shows no more in a section; we, in a card
BUTTONS, OPTIONS, SUGGESTIONS, SECTIONS = 10, 100, 100, 30
PARAMS = 50
SHORT, LONG, VALUE = 200, 4_000, 20_000  # characters
MORE = "There is more than Gmail can show here. Open it in Tracker to see all of it."
_KINDS = {
    Choosing.DROPDOWN: "DROPDOWN", Choosing.RADIO: "RADIO_BUTTON", Choosing.SWITCHES: "SWITCH",
    Choosing.BOXES: "CHECK_BOX",
}  # fmt: skip
_ICON = re.compile(r"[a-z0-9_]{1,50}")


def draw(card: Card, act: str, carried: Mapping[str, str] | None = None) -> Json:
    """A card as Google's JSON.

    act: the address that actions are posted to. carried: what each of them brings along beside its own.
    """
    return _Drawer(act, dict(carried or {})).card(card)


# -- answers


def first(card: Json) -> Json:
    """The answer to a trigger."""
    return {"action": {"navigations": [{"pushCard": card}]}}


def instead(card: Json, says: str = "", *, from_the_start: bool = False) -> Json:
    """The answer to a click: a card in the place of the present one, or of all that are on top of each other."""
    root = [{"popToRoot": True}] if from_the_start else []
    return _answer({"navigations": [*root, {"updateCard": card}]}, says)


def on_top(card: Json, says: str = "") -> Json:
    """The answer to a click: a card on top of the present one."""
    return _answer({"navigations": [{"pushCard": card}]}, says)


def told(says: str) -> Json:
    """The answer to a click: words in passing; the card stays as it is."""
    return _answer({}, says)


def opened(url: str) -> Json:
    """The answer to a click: a page of the browser."""
    return _answer({"link": _link(url)}, "")


def inserted(html: str, *, keep: bool) -> Json:
    """The answer to a click: something is put into the mail that is being written, where the cursor is."""
    content = {"content": html, "contentType": "IMMUTABLE_HTML" if keep else "MUTABLE_HTML"}
    body = {"insertContents": [content], "type": "IN_PLACE_INSERT"}
    return {"renderActions": {"hostAppAction": {"gmailAction": {"updateDraftActionMarkup": {"updateBody": body}}}}}


def _answer(action: Json, says: str) -> Json:
    told = {"notification": {"text": shortened(says, 500)}} if says else {}
    return {"renderActions": {"action": action | told}}


# -- text


def shortened(text: str, limit: int) -> str:
    """A text of at most so many characters, with a sign that it goes on."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _plain(text: str, limit: int = SHORT) -> str:
    """For where Google shows characters as they stand, on one line."""
    return shortened(" ".join(text.split()), limit)


def _marked(text: str, limit: int = LONG) -> str:
    """For where Google reads a subset of HTML: no character of the text is taken for it."""
    return escape(shortened(text.strip(), limit), quote=False).replace("\r\n", "\n").replace("\n", "<br>")


def _link(url: str) -> Json:
    if urlsplit(url).scheme not in ("https", "http"):
        raise ValueError("A panel opens web pages only")
    return {"url": url, "openAs": "FULL_SIZE", "onClose": "NOTHING"}


# -- cards


class _Drawer:
    def __init__(self, act: str, carried: Mapping[str, str]) -> None:
        self.act, self.carried = act, carried
        self.left = WIDGETS

    def card(self, card: Card) -> Json:
        header = {"title": _plain(card.title) or "Tracker"}
        if card.subtitle:
            header["subtitle"] = _plain(card.subtitle)
        drawn: Json = {"header": header, "sections": self.sections(card.sections)}
        if card.name:
            drawn["name"] = _plain(card.name)
        main, other = card.primary or card.secondary, card.secondary if card.primary else None
        if main is not None:
            drawn["fixedFooter"] = {"primaryButton": self.button(main)}
            if other is not None:
                drawn["fixedFooter"]["secondaryButton"] = self.button(other)
        return drawn

    def sections(self, sections: Sequence[Section]) -> list[Json]:
        full = [one for one in sections if one.widgets]
        drawn = [self.section(one) for one in full[:SECTIONS] if self.left > 0]
        if len(drawn) < len(full) or self.left < 0:
            drawn.append({"widgets": [{"textParagraph": {"text": _marked(MORE)}}]})
        return drawn or [{"widgets": [{"textParagraph": {"text": "There is nothing to show here yet."}}]}]

    def section(self, section: Section) -> Json:
        shown = section.widgets[: self.left]
        drawn: Json = {"widgets": [self.widget(one) for one in shown]}
        self.left -= len(section.widgets)  # below zero: something was left out
        if section.title:
            drawn["header"] = _marked(section.title, SHORT)
        if section.folded is not None and section.folded < len(shown):
            drawn |= {"collapsible": True, "uncollapsibleWidgetsCount": max(section.folded, 0)}
        return drawn

    def widget(self, widget: Widget) -> Json:
        match widget:
            case panel.Paragraph():
                return {"textParagraph": {"text": _marked(widget.text) or " "}}
            case panel.Rule():
                return {"divider": {}}
            case panel.Buttons():
                return {"buttonList": {"buttons": [self.button(one) for one in widget.buttons[:BUTTONS]]}}
            case panel.Line():
                return {"decoratedText": self.line(widget)}
            case panel.Choice():
                return {"selectionInput": self.choice(widget)}
            case panel.Input():
                return {"textInput": _input(widget)}
            case panel.Moment():
                return {"dateTimePicker": _moment(widget)}

    def line(self, line: Line) -> Json:
        drawn: Json = {"text": _marked(line.text) or "–", "wrapText": True}
        if line.label:
            drawn["topLabel"] = _marked(line.label, SHORT)
        if line.below:
            drawn["bottomLabel"] = _marked(line.below, LONG)
        if _ICON.fullmatch(line.icon):
            drawn["startIcon"] = {"materialIcon": {"name": line.icon}}
        if pressed := self.pressed(line.action, line.url):
            drawn["onClick"] = pressed
        if line.button is not None:
            drawn["button"] = self.button(line.button)
        return drawn

    def button(self, button: Button) -> Json:
        drawn: Json = {"text": _plain(button.text, 80) or "–"}
        if pressed := self.pressed(button.action, button.url):
            drawn["onClick"] = pressed
        if button.filled:
            drawn["type"] = "FILLED"
        if button.disabled:
            drawn["disabled"] = True
        return drawn

    def choice(self, choice: panel.Choice) -> Json:
        drawn: Json = {
            "name": choice.name,
            "label": _plain(choice.label),
            "type": _KINDS[choice.kind],
            "items": [_option(one) for one in _with_chosen(choice.options)],
        }
        if choice.changed is not None:
            drawn["onChangeAction"] = self.action(choice.changed)
        return drawn

    def pressed(self, action: Action | None, url: str) -> Json | None:
        if action is not None:
            return {"action": self.action(action)}
        return {"openLink": _link(url)} if url else None

    def action(self, action: Action) -> Json:
        assert len(action.params) <= PARAMS, action.name
        everything = {**action.params, **self.carried, DO: action.name}
        return {
            "function": self.act,
            "parameters": [{"key": key, "value": value} for key, value in everything.items()],
            "loadIndicator": "SPINNER",
        }


def _with_chosen(options: Sequence[panel.Option]) -> Iterable[panel.Option]:
    """As many options as can be shown, the chosen ones among them."""
    if len(options) <= OPTIONS:
        return options
    chosen = [one for one in options if one.chosen][:OPTIONS]
    rest = {id(one) for one in [one for one in options if not one.chosen][: OPTIONS - len(chosen)]}
    return [one for one in options if one.chosen or id(one) in rest][:OPTIONS]


def _option(option: panel.Option) -> Json:
    return {"text": _plain(option.text) or "–", "value": option.value, "selected": option.chosen}


def _input(given: panel.Input) -> Json:
    drawn: Json = {
        "name": given.name,
        "label": _plain(given.label),
        "type": "MULTIPLE_LINE" if given.lines else "SINGLE_LINE",
    }
    if given.value:
        drawn["value"] = given.value[:VALUE]
    if given.hint:
        drawn["hintText"] = _plain(given.hint)
    if given.suggestions:
        items = [{"text": _plain(one)} for one in given.suggestions[:SUGGESTIONS] if one.strip()]
        drawn["initialSuggestions"] = {"items": items}
    return drawn


def _moment(given: panel.Moment) -> Json:
    """The picker stands in UTC, so that what is seen and what comes back are the same wall time."""
    drawn: Json = {
        "name": given.name,
        "label": _plain(given.label),
        "type": "DATE_AND_TIME" if given.with_time else "DATE_ONLY",
        "timezoneOffsetDate": 0,
    }
    if given.value:
        wall = datetime.fromisoformat(given.value).replace(tzinfo=UTC)
        drawn["valueMsEpoch"] = str(int(wall.timestamp()) * 1000)
    return drawn
