"""Gmail, as far as the side panel goes: it posts what a user does, signed as Google does, and shows the cards.

Every card it gets has to be one of Google's. Buttons, lines and choices are found by their words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import Any

from flask import Flask
from google.apps import card_v1
from google.protobuf import json_format

from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.addon import AddOn, Form, Seen

Json = dict[str, Any]


class Panel:
    """The side panel of one user's Gmail."""

    def __init__(self, app: Flask, sandbox: Sandbox, address: str, *, zone: str = "Europe/London") -> None:
        self.app, self.address = app, address
        self.url = app.extensions["addon"].url
        self.browser = app.test_client()
        self.google = AddOn(sandbox, post=self.send, zone=zone)
        self.seen = Seen()
        self.cards: list[Json] = []  #: on top of each other
        self.says = ""  #: what the last answer told in passing
        self.opened = ""  #: the page that the last answer opened
        self.inserted: list[Json] = []  #: what the last answer put into the draft
        self.status, self.answer = 0, {}

    def send(self, url: str, event: Json) -> tuple[int, Json]:
        """Post an event."""
        path = url.removeprefix(self.url)
        answer = self.browser.post(path, json=event)
        assert answer.mimetype == "application/json", answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in answer.headers
        return answer.status_code, answer.json

    # -- what the user does

    def home(self) -> Panel:
        """Open the panel without a mail."""
        return self._trigger("/addon/home", Seen())

    def open(self, message_id: str, thread_id: str = "") -> Panel:
        """Open a mail: its id as the API has it."""
        return self._trigger("/addon/open", Seen(message_id, thread_id))

    def compose(
        self, to: Sequence[str] = (), *, cc: Sequence[str] = (), bcc: Sequence[str] = (), subject: str = ""
    ) -> Panel:
        """Open the panel beside a mail that is being written."""
        return self._trigger("/addon/compose", Seen(to=list(to), cc=cc, bcc=bcc, subject=subject))

    def press(self, what: str, given: Mapping[str, Any] | None = None, **params: str) -> Panel:
        """Press the button or line with this text, or the only one of this action.

        given: what the form holds, by the inputs' names, in the place of what the card says; a text, several, or
        Google's own JSON (see `moment`). params: in the place of what the button carries.
        """
        return self.act(self.action(what), given, **params)

    def choose(self, label: str, option: str) -> Panel:
        """Choose an option by its text, of a choice that acts at once."""
        choice = self.choice(label)
        chosen = [one["value"] for one in choice["items"] if one["text"] == option]
        assert chosen, f"{option!r} is not among {[one['text'] for one in choice['items']]}"
        return self.act(choice["onChangeAction"], {choice["name"]: chosen[:1]})

    def act(self, action: Json, given: Mapping[str, Any] | None = None, **params: str) -> Panel:
        """Do what an action of a card says."""
        carried = {one["key"]: one["value"] for one in action.get("parameters", ())}
        form = Form(carried | params, self.form() | dict(given or {}))
        # Gmail tells of the draft when the panel is opened beside it, and is not to be relied on afterwards.
        self._take(*self.google.post(self.address, action["function"], self._still(), form))
        return self

    def _still(self) -> Seen:
        return Seen(self.seen.message_id, self.seen.thread_id)

    def do(self, name: str, given: Mapping[str, Any] | None = None, **params: str) -> Panel:
        """Post an action that no card offers."""
        form = Form({"do": name, **params}, dict(given or {}))
        self._take(*self.google.post(self.address, f"{self.url}/addon/act", self.seen, form))
        return self

    def _trigger(self, path: str, seen: Seen) -> Panel:
        self.seen, self.cards = seen, []
        self._take(*self.google.post(self.address, f"{self.url}{path}", seen))
        return self

    # -- what Gmail makes of the answer

    def _take(self, status: int, answer: Json) -> None:
        self.status, self.answer = status, answer
        self.says, self.opened, self.inserted = "", "", []
        if status != 200:
            return
        assert len(answer) == 1, answer
        rendered = answer.get("renderActions", answer)
        action = rendered.get("action", {})
        assert set(action) <= {"navigations", "notification", "link"}, action
        for step in action.get("navigations", ()):
            self._navigate(step)
        self.says = action.get("notification", {}).get("text", "")
        self.opened = action.get("link", {}).get("url", "")
        markup = rendered.get("hostAppAction", {}).get("gmailAction", {}).get("updateDraftActionMarkup", {})
        self.inserted = markup.get("updateBody", {}).get("insertContents", [])

    def _navigate(self, step: Json) -> None:
        (kind, given) = next(iter(step.items()))
        if kind == "popToRoot":
            del self.cards[1:]
            return
        valid(given)
        if kind == "updateCard":
            del self.cards[-1:]
        else:
            assert kind == "pushCard", step
        self.cards.append(given)

    # -- what the user sees

    @property
    def card(self) -> Json:
        """The card on top."""
        assert self.cards, self.answer
        return self.cards[-1]

    @property
    def widgets(self) -> list[Json]:
        """Its widgets, from the top."""
        return [widget for section in self.card["sections"] for widget in section["widgets"]]

    @property
    def text(self) -> str:
        """All its words, a line each, as somebody reads them."""
        return "\n".join(_read(text) for text in _texts(self.card))

    @property
    def buttons(self) -> list[str]:
        """The texts of its buttons."""
        return [button["text"] for button in self._buttons()]

    def link(self, text: str) -> str:
        """The page that a button or line leads to."""
        found = self._pressable(text)["openLink"]["url"]
        assert isinstance(found, str)
        return found

    def action(self, what: str) -> Json:
        """What pressing this text does, or the action of this name."""
        for action in _actions(self.card):
            if {"key": "do", "value": what} in action["parameters"]:
                return action
        pressed = self._pressable(what)
        assert "action" in pressed, f"{what!r} opens a page: {pressed}"
        found: Json = pressed["action"]
        return found

    def choice(self, label: str) -> Json:
        """The choice with this label, or name."""
        return self._input("selectionInput", label)

    def chosen(self, label: str) -> list[str]:
        """The texts of what is chosen in it."""
        return [one["text"] for one in self.choice(label)["items"] if one["selected"]]

    def options(self, label: str) -> list[str]:
        """The texts that one may choose from."""
        return [one["text"] for one in self.choice(label)["items"]]

    def input(self, label: str) -> Json:
        """The text input with this label, or name."""
        return self._input("textInput", label)

    def picker(self, label: str) -> Json:
        """The date picker with this label, or name."""
        return self._input("dateTimePicker", label)

    def form(self) -> Json:
        """What the card's form holds before anybody changes it."""
        found: Json = {}
        for widget in self.widgets:
            if "textInput" in widget:
                found[widget["textInput"]["name"]] = [widget["textInput"].get("value", "")]
            elif "selectionInput" in widget:
                items = widget["selectionInput"]["items"]
                found[widget["selectionInput"]["name"]] = [one["value"] for one in items if one["selected"]]
            elif "valueMsEpoch" in widget.get("dateTimePicker", {}):
                picker = widget["dateTimePicker"]
                found[picker["name"]] = moment(int(picker["valueMsEpoch"]), picker["type"])
        return {name: value for name, value in found.items() if value}

    def _input(self, kind: str, label: str) -> Json:
        found = [widget[kind] for widget in self.widgets if kind in widget]
        for one in found:
            if label in (one["label"], one["name"]):
                return dict(one)
        raise AssertionError(f"{label!r} is not among {[one['label'] for one in found]}")

    def _buttons(self) -> Iterator[Json]:
        for widget in self.widgets:
            yield from widget.get("buttonList", {}).get("buttons", ())
            if button := widget.get("decoratedText", {}).get("button"):
                yield button
        footer = self.card.get("fixedFooter", {})
        yield from (footer[name] for name in ("primaryButton", "secondaryButton") if name in footer)

    def _pressable(self, text: str) -> Json:
        lines = [widget["decoratedText"] for widget in self.widgets if "decoratedText" in widget]
        for one in [*self._buttons(), *lines]:
            if _read(one["text"]) == text and "onClick" in one and not one.get("disabled"):
                return dict(one["onClick"])
        raise AssertionError(f"{text!r} can't be pressed; there is {self.buttons}, in\n{self.text}")


def moment(milliseconds: int, kind: str = "DATE_AND_TIME") -> Json:
    """What Gmail's date picker gives: the wall time as if it were UTC's."""
    if kind == "DATE_ONLY":
        return {"dateInput": {"msSinceEpoch": str(milliseconds)}}
    return {"dateTimeInput": {"hasDate": True, "hasTime": True, "msSinceEpoch": str(milliseconds)}}


def valid(card: Json) -> None:
    """Fail if this is no card of Google's, or holds more than it shows."""
    json_format.ParseDict(card, card_v1.Card.pb()())
    assert card["sections"], "a card needs a section"
    for section in card["sections"]:
        assert 0 < len(section["widgets"]) <= 101, "Gmail shows a hundred widgets in a section"
    assert len(str(card)) < 400_000


def _actions(part: Any) -> Iterator[Json]:
    if isinstance(part, dict):
        for name in ("action", "onChangeAction"):
            if isinstance(part.get(name), dict):
                yield part[name]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from _actions(one)


_WORDS = ("text", "topLabel", "bottomLabel", "title", "subtitle", "label", "hintText", "value", "header")


def _texts(part: Any) -> Iterator[str]:
    """What is there to be read: no actions and no values of options."""
    if isinstance(part, list):
        for one in part:
            yield from _texts(one)
    if isinstance(part, dict):
        for name, value in part.items():
            if isinstance(value, str) and name in _WORDS and not (name == "value" and "selected" in part):
                yield value
            elif name not in ("onClick", "onChangeAction"):
                yield from _texts(value)


def _read(text: str) -> str:
    """As it is shown: what Google takes for markup is gone, so a test sees it if something was not escaped."""
    return unescape(re.sub(r"<br>", "\n", text)) if "<" not in text.replace("<br>", "") else f"MARKUP {text}"
