"""The door of the side panel: where Google posts what happened in Gmail, and gets cards.

Both tokens are verified before anything else is looked at (`tokens`); who asks at what is `asking`'s. Which mail
is open is worked out from the event's message id, in the user's own mailbox: nothing else in it opens anything.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from flask import Blueprint, Flask, Response, current_app, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from gmail_sync.addon import asking, cards, events, lookups
from gmail_sync.addon.asking import TITLE, Refusal
from gmail_sync.addon.cards import Json
from gmail_sync.addon.events import Event, EventError
from gmail_sync.addon.pace import Pace
from gmail_sync.addon.tokens import Person, TokenError, Verifier
from tracker.panel import Asked, Card, Done, Inserted, Opened, Outcome, Paragraph, Place, Refused, Section, Shown
from tracker.web import frame

log = logging.getLogger(__name__)

HOME, OPEN, COMPOSE, ACT = "/addon/home", "/addon/open", "/addon/compose", "/addon/act"
PLACES = {HOME: Place.HOME, OPEN: Place.THREAD, COMPOSE: Place.COMPOSE}
EXTENSION = "addon"
WENT_WRONG = "Something went wrong in Tracker, and nothing was changed. Please try again in a moment."
NOT_SHOWN = "It is done, but Tracker can't show it at the moment. Open the panel again."
UNKNOWN = "Tracker does not know this button any more. Open the panel again."
NOT_HERE = "This mail is not in Tracker yet. Open it again in a moment."
TOO_MANY = "That was a lot at once. Please try again in a minute."
NOTHING = "Open a mail, and what Tracker knows of it is shown here."


@dataclass(frozen=True, slots=True)
class Door:
    """What the door is handed."""

    verifier: Verifier
    url: str  #: our public address, without a slash at its end
    wake: Callable[[int], object]  #: queues a mailbox's sync
    pace: Pace = field(default_factory=Pace)


def init_app(app: Flask, door: Door) -> Blueprint:
    """Open the door; returns its blueprint (which wants no CSRF token)."""
    blueprint = Blueprint("addon", __name__)
    for path in (HOME, OPEN, COMPOSE, ACT):
        blueprint.add_url_rule(path, path.rpartition("/")[2], _post, methods=["POST"])
    app.extensions[EXTENSION] = door
    app.register_blueprint(blueprint)
    return blueprint


def _door() -> Door:
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Door)
    return found


# -- in and out


@frame.public
def _post() -> Response:
    request.max_content_length = events.SIZE_LIMIT
    try:
        event = events.read(request.get_data(cache=False))
        person = _verified(event)
    except RequestEntityTooLarge:
        return _refused(400, "The event is too large")
    except EventError as error:
        return _refused(400, str(error))
    except TokenError as error:
        log.info("The side panel's door refused an event: %s", error)
        return _refused(401, str(error))
    return _json(_calmly(person, event))


def _verified(event: Event) -> Person:
    """Who asks, through Google. Raises `TokenError`."""
    door = _door()
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")  # the same token, for Cloud Run
    door.verifier.system(event.system_token or bearer[: events.TOKEN_LIMIT], door.url + request.path)
    return door.verifier.user(event.user_token)


def _refused(status: int, words: str) -> Response:
    return _json({"error": {"code": status, "message": words}}, status)


def _json(body: Json, status: int = 200) -> Response:
    answer = Response(json.dumps(body), status, mimetype="application/json")
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _calmly(person: Person, event: Event) -> Json:
    """The answer, whatever happens: of an error Gmail shows nothing that helps anybody."""
    if not _door().pace.admits(person.subject):
        return _told(TOO_MANY)
    try:
        if request.path == ACT:
            answer = _acted(person, event)
        else:
            answer = cards.first(_drawn(person, event, PLACES[request.path]))
        frame.release()
    except Refusal as refusal:
        _take_back()
        return _instead(refusal.card)
    except Refused as refused:
        _take_back()
        return _told(str(refused))
    except Exception:
        log.exception("The side panel could not answer %s", request.path)
        _take_back()
        return _told(WENT_WRONG)
    return answer


def _take_back() -> None:
    """Nothing of the request stays, nor what was to follow its commit."""
    if "session" in g:
        g.session.rollback()
    g.pop("after_commit", None)


def _instead(card: Card) -> Json:
    drawn = _draw(card)
    return cards.instead(drawn, from_the_start=True) if request.path == ACT else cards.first(drawn)


def _told(words: str) -> Json:
    """Words in passing where something was pressed, a card of them where a card was asked for."""
    if request.path == ACT:
        return cards.told(words)
    return cards.first(_draw(Card(TITLE, [Section("", [Paragraph(words)])])))


def _draw(card: Card, asked: Asked | None = None, place: Place = Place.HOME) -> Json:
    return cards.draw(card, _door().url + ACT, asking.carried(place, asked.writing if asked else None))


# -- what is shown


def _drawn(person: Person, event: Event, place: Place) -> Json:
    asked = asking.ask(person, event, place, _door().url)
    if place is Place.THREAD and asked.conversation is None:
        return _draw(asking.not_here(asked, event, _door().wake), asked, place)
    return _draw(_card(asked, place, frame.frame().panel.sections_of(place, asked)), asked, place)


def _card(asked: Asked, place: Place, sections: Sequence[Section]) -> Card:
    if asked.conversation is not None:
        return Card(lookups.subject(asked) or "(no subject)", sections, name=place.value)
    return Card(TITLE, sections or [Section("", [Paragraph(NOTHING)])], name=place.value)


# -- what is done


def _acted(person: Person, event: Event) -> Json:
    place = asking.place_of(event)
    asked = asking.ask(person, event, place, _door().url)
    do = frame.frame().panel.actions.get(event.params.get(cards.DO, ""))
    if do is None:
        raise Refused(UNKNOWN)
    if place is Place.THREAD and asked.conversation is None:
        raise Refused(NOT_HERE)
    outcome = do(asked)
    return _anew(outcome, person, event, place) if isinstance(outcome, Done) else _answer(outcome, asked, place)


def _answer(outcome: Outcome, asked: Asked, place: Place) -> Json:
    match outcome:
        case Opened():
            return cards.opened(outcome.url)
        case Inserted():
            return cards.inserted(outcome.html, keep=outcome.keep)
        case Shown():
            drawn = _draw(outcome.card, asked, place)
            return cards.on_top(drawn, outcome.says) if outcome.push else cards.instead(drawn, outcome.says)
        case Done():
            raise AssertionError("drawn anew")


def _anew(done: Done, person: Person, event: Event, place: Place) -> Json:
    """What the panel shows now that it is done: committed, and read anew as a page is after its form."""
    frame.release()
    g.pop("session").close()
    ours = {name: text for name, text in event.params.items() if asking.is_ours(name)}
    try:
        card = _drawn(person, replace(event, given={}, params=ours), place)
    except Exception:
        log.exception("The side panel could not show what was done")
        if "session" in g:
            g.session.rollback()
        return cards.told(f"{done.says} {NOT_SHOWN}".strip())
    return cards.instead(card, done.says, from_the_start=True)
