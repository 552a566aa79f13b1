"""What Gmail does with cards, for the preview: their pile, what is pressed in them, what their form holds. Pure.

Source: https://developers.google.com/workspace/add-ons/guides/alternate-runtimes and the card reference.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import nh3
from markupsafe import Markup

Json = dict[str, Any]
DEEPEST = 10  #: cards on the pile
PRESSED = ("onClick", "onChangeAction")
INPUTS = ("textInput", "selectionInput", "dateTimePicker", "switchControl")
WORDS = {"b", "i", "u", "s", "strong", "em", "strike", "br", "a"}  #: what Gmail shows of HTML in a card's text
WRITTEN = WORDS | {"p", "div", "span", "ul", "ol", "li", "blockquote"}
SHOWN_OF_A_TOKEN, SHOWN_OF_A_MAIL = 6, 1_500
QUOTED = re.compile(r"\n(?:>|On [^\n]{1,200}\n?[^\n]{0,200} wrote:\n)")
WHEN = {"DATE_AND_TIME": "%Y-%m-%dT%H:%M", "DATE_ONLY": "%Y-%m-%d", "TIME_ONLY": "%H:%M"}


@dataclass(slots=True)
class Answered:
    """What an answer makes of the panel."""

    pile: list[Json]
    says: str = ""  #: told in passing
    opens: str = ""  #: an address, in a tab of its own
    inserted: list[str] = field(default_factory=list)  #: HTML that goes into the mail that is being written


def answered(pile: Sequence[Json], answer: Json) -> Answered:
    """What Gmail does with the answer of a trigger (`action`) or of a button (`renderActions`)."""
    rendered = answer.get("renderActions", answer)
    action = rendered.get("action", {})
    found = Answered(navigated(pile, action.get("navigations", [])))
    found.says = str(action.get("notification", {}).get("text", ""))
    found.opens = web_address(action.get("link", {}).get("url", ""))
    markup = rendered.get("hostAppAction", {}).get("gmailAction", {}).get("updateDraftActionMarkup", {})
    for one in markup.get("updateBody", {}).get("insertContents", []):
        found.inserted.append(str(one.get("content", "")))
    return found


def navigated(pile: Sequence[Json], steps: Sequence[Json]) -> list[Json]:
    """The pile of cards after these steps, the top one last."""
    cards = list(pile)
    for step in steps:
        if step.get("popToRoot"):
            del cards[1:]
        elif step.get("pop"):
            cards = cards[:-1] or cards
        elif "popToCard" in step:
            named = [at for at, card in enumerate(cards) if card.get("name") == step["popToCard"]]
            cards = cards[: named[-1] + 1] if named else cards
        elif "updateCard" in step:
            cards[-1:] = [step["updateCard"]]
        elif "pushCard" in step:
            cards.append(step["pushCard"])
    return cards[:1] + cards[1:][1 - DEEPEST :]  # the first one is where everything goes back to


def numbered(card: Json) -> Json:
    """A card in which everything that can be pressed carries its number, as `press`."""
    made = copy.deepcopy(card)
    for number, one in enumerate(_pressable(made)):
        one["press"] = number
    return made


def pressed(card: Json, number: int) -> Json | None:
    """The `onClick` or `onChangeAction` with this number."""
    return next((one for at, one in enumerate(_pressable(card)) if at == number), None)


def _pressable(part: Any) -> Iterator[Json]:
    if isinstance(part, list):
        for one in part:
            yield from _pressable(one)
    elif isinstance(part, dict):
        for name, one in part.items():
            if name in PRESSED and isinstance(one, dict):
                yield one
            else:
                yield from _pressable(one)


def action_of(click: Json) -> Json | None:
    """What a pressed thing asks us for: its function and parameters; None where Gmail acts by itself."""
    found: Json | None = click if "function" in click else click.get("action")
    return found


def parameters_of(action: Json) -> dict[str, str]:
    """What the button carries, as the event tells it."""
    return {str(one.get("key", "")): str(one.get("value", "")) for one in action.get("parameters", [])}


# -- what was typed


def form_inputs(card: Json, values: Callable[[str], Sequence[str]]) -> Json:
    """The event's `formInputs`: every input of the card. `values` gives what the page's form holds by name."""
    found: Json = {}
    for kind, one in _inputs(card):
        name = str(one.get("name", ""))
        given = [value[:10_000] for value in values(name)][:200]
        told = _moment(one, given) if kind == "dateTimePicker" else _strings(kind, given)
        if told:
            found.setdefault(name, {}).update(told)
    return found


def _strings(kind: str, given: Sequence[str]) -> Json:
    """A text that is empty is told as such; a choice of nothing is not told at all."""
    if kind == "textInput" or given:
        return {"stringInputs": {"value": list(given) or [""]}}
    return {}


def _moment(picker: Json, given: Sequence[str]) -> Json:
    """A day and a time as Gmail tells them: milliseconds of the wall time, as if it were UTC's."""
    kind = picker.get("type", "DATE_AND_TIME")
    try:
        at = datetime.strptime(given[0][:16] if given else "", WHEN[kind]).replace(tzinfo=UTC)
    except (ValueError, KeyError):
        return {}
    if kind == "TIME_ONLY":
        return {"timeInput": {"hours": at.hour, "minutes": at.minute}}
    since = {"msSinceEpoch": str(int(at.timestamp() * 1000))}
    return {"dateInput": since} if kind == "DATE_ONLY" else {
        "dateTimeInput": {**since, "hasDate": True, "hasTime": True}
    }  # fmt: skip


def moment_value(picker: Json) -> str:
    """What stands in a picker, as the page's input takes it."""
    if not picker.get("valueMsEpoch"):
        return ""
    minutes = int(picker.get("timezoneOffsetDate", 0))
    at = datetime.fromtimestamp(int(picker["valueMsEpoch"]) / 1000, UTC) + timedelta(minutes=minutes)
    return at.strftime(WHEN.get(picker.get("type", ""), WHEN["DATE_AND_TIME"]))


def _inputs(part: Any) -> Iterator[tuple[str, Json]]:
    """Every input of a card, with its kind."""
    if isinstance(part, list):
        for one in part:
            yield from _inputs(one)
    elif isinstance(part, dict):
        for kind, one in part.items():
            if kind in INPUTS and isinstance(one, dict):
                yield kind, one
            else:
                yield from _inputs(one)


# -- how it is shown


def words(text: object) -> Markup:
    """A card's text: Gmail shows a little HTML in it, and nothing else of it does anything."""
    return _cleaned(str(text or ""), WORDS)


def written(html: str) -> Markup:
    """What was put into a mail, without its pictures and looks."""
    return _cleaned(html, WRITTEN)


def _cleaned(html: str, tags: set[str]) -> Markup:
    found = nh3.clean(html, tags=tags, attributes={"a": {"href"}}, url_schemes={"https", "http", "mailto"})
    return Markup(found)  # noqa: S704 - cleaned


def fresh(text: str) -> str:
    """What somebody wrote anew in a mail: what it quotes is folded away in Gmail."""
    found = QUOTED.split(text, maxsplit=1)[0].rstrip()
    return found[:SHOWN_OF_A_MAIL] + ("…" if len(found) > SHOWN_OF_A_MAIL else "")


def web_address(url: object) -> str:
    """An address that a browser may be led to, else nothing."""
    text = str(url)
    return text if urlsplit(text).scheme in ("https", "http") else ""


def shortened(part: Any, name: str = "") -> Any:
    """An event without its tokens: none of them is to be read off a page."""
    if isinstance(part, Mapping):
        return {key: shortened(one, str(key)) for key, one in part.items()}
    if isinstance(part, list):
        return [shortened(one, name) for one in part]
    if isinstance(part, str) and name.lower().endswith("token"):
        return f"{part[:SHOWN_OF_A_TOKEN]}… ({len(part)} characters)"
    return part
