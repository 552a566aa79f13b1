r"""``{{fields}}`` in a mail: found, checked, filled in. Pure, and no language: a name, and what stands in for it.

``{{first_name}}`` is filled in; ``{{first_name|there}}`` is "there" where nothing is known. ``\{{`` is two braces.
"""

from __future__ import annotations

import difflib
import html as escapes
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from scheduler import rich_text

#: What can be filled in besides the fields of boxes, and what it is.
KNOWN: Mapping[str, str] = {
    "first_name": "the recipient’s first name",
    "last_name": "their last name",
    "full_name": "their whole name",
    "email": "their address",
    "title": "what they do there",
    "phone": "their phone number",
    "location": "where they are",
    "company": "their organization",
    "company.location": "where it is",
    "company.website": "its website",
    "box.name": "the box’s name",
    "box.stage": "its stage",
    "box.pipeline": "its pipeline",
    "box.owner": "who has it",
    "my_name": "your name",
    "my_first_name": "your first name",
    "my_email": "your address",
}
FIELD = "field:"  #: before the name of a pipeline's field: {{field:Value}}
_SPLIT = re.compile(r"(\\\{\{|\{\{[^{}]*\}\}|\{\{|\}\})")
_IN_HTML = re.compile(r"\{\{[^{}]*\}\}")
_TAG = re.compile(r"<[^<>]*>")
_WHOLE = re.compile(r"\{\{([^{}|]*)(?:\|([^{}]*))?\}\}")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A field in a text. `name` is in its normal form; `fallback` is None where there is none."""

    name: str
    fallback: str | None
    written: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A mail with its fields filled in, and the names of those that nothing is known for."""

    subject: str
    html: str
    missing: tuple[str, ...]


def normal(name: str) -> str:
    """A field's name as it is compared: `{{ First name }}` is `first_name`."""
    name = " ".join(name.split())
    if name.lower().startswith(FIELD):
        return FIELD + name[len(FIELD) :].strip().casefold()
    return name.lower().replace(" ", "_").replace("-", "_")


def mended(markup: str) -> str:
    """Cleaned HTML whose fields no tag comes in between, as editors put them: {{first<b>_name</b>}}."""
    return rich_text.clean(_IN_HTML.sub(lambda found: _TAG.sub("", found[0]), markup))


def escaped(text: str) -> str:
    r"""A text or HTML that says the same once it is filled in: what somebody else wrote is no field."""
    return text.replace("{{", r"\{{")


def found_in(text: str) -> list[Placeholder]:
    """The fields of a plain text, in order."""
    return [one for one in _pieces(text) if isinstance(one, Placeholder)]


def problems(subject: str, html: str, fields: Iterable[str] = ()) -> list[str]:
    """What is wrong with the fields of a mail, in words that say where. `fields` are pipelines', by name."""
    known = {*KNOWN, *(FIELD + name.casefold() for name in fields)}
    told = [f"Subject: {words}" for words in _wrong(subject, known)]
    for number, line in enumerate(rich_text.to_plain(html).split("\n"), 1):
        told += [f"Line {number}: {words}" for words in _wrong(line, known)]
    return told


def fill(subject: str, html: str, values: Mapping[str, str]) -> Filled:
    """Fill a mail in; `html` is cleaned before and after. A field without value and fallback stays as written."""
    missing: dict[str, None] = {}

    def known(one: Placeholder) -> str | None:
        value = values.get(one.name) or one.fallback
        if value is None:
            missing[one.name] = None
        return value

    line = _written(subject, known, _as_it_is)
    body = _written(mended(html), lambda one: known(_unescaped(one)), escapes.escape)
    return Filled(" ".join(line.split()), rich_text.clean(body), tuple(missing))


def _written(text: str, known: Callable[[Placeholder], str | None], escape: Callable[[str], str]) -> str:
    told = []
    for piece in _pieces(text):
        if isinstance(piece, str):
            told.append("{{" if piece == r"\{{" else piece)
            continue
        value = known(piece)
        told.append(piece.written if value is None else escape(value))
    return "".join(told)


def _as_it_is(value: str) -> str:
    return value


def _unescaped(one: Placeholder) -> Placeholder:
    fallback = None if one.fallback is None else escapes.unescape(one.fallback)
    return Placeholder(normal(escapes.unescape(one.name)), fallback, one.written)


def _pieces(text: str) -> Iterable[str | Placeholder]:
    for piece in _SPLIT.split(text):
        found = _WHOLE.fullmatch(piece)
        if found:
            fallback = None if found[2] is None else found[2].strip()
            yield Placeholder(normal(found[1]), fallback, piece)
        elif piece:
            yield piece


def _wrong(text: str, known: Iterable[str]) -> Iterable[str]:
    for piece in _pieces(text):
        if piece == "{{":
            yield r"“{{” is never closed; write “}}” behind the name, or “\{{” for two braces"
        elif isinstance(piece, Placeholder) and piece.name not in known:
            close = difflib.get_close_matches(piece.name, list(known), 1, 0.6)
            hint = f"; did you mean {{{{{close[0]}}}}}?" if close else r"; for braces as they are write “\{{”"
            yield f"there is no field {piece.written}{hint}"
