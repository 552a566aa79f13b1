"""Large HTML brought into a shape that a parser gets through in linear time.

An HTML5 parser is quadratic in places (tried with html5ever, which nh3 stands on): each new block looks upwards
through all that is open, each paragraph repeats the formatting that was never closed, each attribute is
compared with its sisters, and a million "&" or no-break spaces in one text take 12 seconds. Small HTML can't
hurt and passes as it is. Large HTML is written anew: the same elements in the same order, closed where they
should be, nested to a bound. This is no sanitizer; its output still goes through one.

Pure, linear, never raises.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

#: What html5ever reads in well under a second however it is tangled (characters, tags, tags repeated).
_SMALL = 64 * 1024
_FEW_TAGS = 5_000
_FEW_REPEATS = 500_000

#: Tags written anew; of what follows only the text is kept.
_MAX_TAGS = 100_000
_MAX_DEPTH = 150
_MAX_FORMATTING = 12
_MAX_ATTRIBUTES = 40
_MAX_VALUE = 4_096
#: A picture may stand in its own address (data:).
_MAX_ADDRESS = 512 * 1024
#: Characters that the serializer stumbles over, in one text.
_MAX_COSTLY = 2_000

_FORMATTING = frozenset(
    ("a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u")
)
_INLINE = frozenset(("abbr", "acronym", "bdo", "cite", "del", "ins", "kbd", "q", "samp", "span", "sub", "sup"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_SECTIONS = frozenset(
    ("address", "article", "aside", "center", "div", "figure", "footer", "header", "main", "nav", "section")
)
_BLOCKS = _HEADINGS | _SECTIONS | {"blockquote", "dd", "dl", "dt", "li", "ol", "p", "pre", "table", "ul"}
_TABLE = {
    "tr": ("tbody", "thead", "tfoot", "table"),
    "td": ("tr",),
    "th": ("tr",),
    "caption": ("table",),
} | dict.fromkeys(("tbody", "thead", "tfoot"), ("table",))
_CELLS = frozenset(("td", "th", "caption"))
_BETWEEN_CELLS = frozenset(("table", "tbody", "thead", "tfoot", "tr"))
_SINGLE = frozenset(("br", "hr", "img", "wbr"))
_KNOWN = _FORMATTING | _INLINE | _BLOCKS | _TABLE.keys() | _SINGLE
#: Not only the tags go but all between them.
UNSEEN = frozenset(
    ("script", "style", "title", "noscript", "template", "select", "textarea", "svg", "math", "object", "iframe")
) | frozenset(("applet", "audio", "video", "xmp", "noembed", "noframes", "plaintext"))
_ITEMS = {"li": ("ul", "ol"), "dt": ("dl",), "dd": ("dl",)}

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,40})")
_ATTRIBUTE = re.compile(
    r"""[\s/]*([^\s=<>"'/]{1,64})(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>]*)))?""",
)
_OPENED = re.compile(r"<(?:a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)\b", re.IGNORECASE)
#: Where markup begins; any other "<" is a character like others.
_START = re.compile(r"<(?=/?[a-zA-Z]|[!?/])")
_ANY_TAG = re.compile(r"<[^<>]*>")
_COSTLY = re.compile("[&\u0080-\u00bf]")


def is_small(markup: str) -> bool:
    """Whether a parser gets through `markup` fast, however it is tangled."""
    if len(markup) > _SMALL:
        return False
    tags = markup.count("<")
    return tags <= _FEW_TAGS and len(_OPENED.findall(markup)) * tags <= _FEW_REPEATS


def tidy(markup: str) -> str:
    """`markup` itself when it is small; else the same, closed and nested so that no parser stumbles.

    What is lost: elements that mail has no use for (svg, form controls), more than 150 levels of nesting, more
    than 12 of formatting, misplaced tags, and all tags after the first 100,000.
    """
    return markup if is_small(markup) else _Writer().write(markup)


@dataclass(slots=True)
class _Writer:
    """The elements that are open, and what was written."""

    stack: list[str] = field(default_factory=list)
    out: list[str] = field(default_factory=list)
    formatting: int = 0

    def write(self, markup: str) -> str:
        for closing, name, attributes in _tokens(markup):
            if name == "":
                self.text(attributes)
            elif closing:
                self.close(name)
            else:
                self.open(name, attributes)
        self.pop_to(0)
        return "".join(self.out)

    def text(self, text: str) -> None:
        if self.needs_cell():
            if not text.strip():
                return
            self.open("td", "")
        if len(text) > _MAX_COSTLY and len(_COSTLY.findall(text)) > _MAX_COSTLY:
            self.out.append(_in_pieces(html.unescape(text)))
        else:
            self.out.append(text.replace("<", "&lt;").replace(">", "&gt;"))

    def open(self, name: str, attributes: str) -> None:
        if name in _TABLE:
            if not self.make_room(name):
                return
        elif (
            self.stack and (self.stack[-1] == "table" or self.stack[-1] in _TABLE) and self.stack[-1] not in _CELLS
        ):
            self.open("td", "")
        if name in _BLOCKS and self.stack and self.stack[-1] == "p":
            self.pop_to(len(self.stack) - 1)
        if name in _ITEMS:
            self.end_item(name)
        is_formatting = name in _FORMATTING
        if name not in _SINGLE:
            if len(self.stack) >= _MAX_DEPTH or (is_formatting and self.formatting >= _MAX_FORMATTING):
                return
            self.stack.append(name)
            self.formatting += is_formatting
        self.out.append(f"<{name}{attributes}>")

    def needs_cell(self) -> bool:
        """Whether we stand in a table but in none of its cells, where a parser would move things out of it."""
        return bool(self.stack) and self.stack[-1] in _BETWEEN_CELLS

    def make_room(self, name: str) -> bool:
        """Close down to where a row or cell may stand, and open the row that a cell lacks."""
        table = self.last("table")
        if table is None:
            return False
        parents = _TABLE[name]
        index = len(self.stack) - 1
        while index > table and self.stack[index] not in parents:
            index -= 1
        self.pop_to(index + 1)
        if self.stack[-1] not in parents:
            self.open(parents[0], "")
        return len(self.stack) < _MAX_DEPTH

    def end_item(self, name: str) -> None:
        """A new list item closes the one before it in the same list."""
        siblings = ("li",) if name == "li" else ("dt", "dd")
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] in siblings:
                self.pop_to(index)
                return
            if self.stack[index] in _ITEMS[name] or self.stack[index] in ("table", "td", "th", "blockquote"):
                return

    def close(self, name: str) -> None:
        """Close `name` and all within. Inline tags don't close blocks, and nothing closes a cell from inside."""
        for index in range(len(self.stack) - 1, -1, -1):
            here = self.stack[index]
            if here == name:
                self.pop_to(index)
                return
            if (here in _CELLS or here == "table") and name not in _TABLE and name != "table":
                return
            if here == "table" or (here in _BLOCKS and name not in _BLOCKS and name not in _TABLE):
                return

    def last(self, name: str) -> int | None:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] == name:
                return index
        return None

    def pop_to(self, length: int) -> None:
        while len(self.stack) > length:
            name = self.stack.pop()
            self.formatting -= name in _FORMATTING
            self.out.append(f"</{name}>")


def _in_pieces(text: str) -> str:
    """`text` escaped, as several texts with places to break between them."""
    pieces = (text[start : start + _MAX_COSTLY] for start in range(0, len(text), _MAX_COSTLY))
    return "<wbr>".join(html.escape(piece, quote=False) for piece in pieces)


def _tokens(markup: str) -> Iterator[tuple[bool, str, str]]:
    """Tags as (closing, name, attributes ready to write), texts as (False, "", text)."""
    position = tags = 0
    unclosed: set[str] = set()
    while position < len(markup):
        if tags > _MAX_TAGS:
            yield False, "", _ANY_TAG.sub(" ", markup[position:])
            return
        found = _START.search(markup, position)
        start = found.start() if found else len(markup)
        if start > position:
            yield False, "", markup[position:start]
        if start == len(markup):
            return
        tag = _TAG.match(markup, start)
        if tag is None:
            position = _after_declaration(markup, start)
            continue
        tags += 1
        name = tag[2].lower()
        attributes, position = _attributes(markup, tag.end())
        if name in UNSEEN and not tag[1]:
            position = _after_unseen(markup, position, name, unclosed)
        elif name in _KNOWN:
            yield bool(tag[1]), name, attributes


def _after_declaration(markup: str, start: int) -> int:
    """Where a comment or declaration ends."""
    if markup.startswith("<!--", start):
        end = markup.find("-->", start + 2)
        return len(markup) if end < 0 else end + 3
    end = markup.find(">", start)
    return len(markup) if end < 0 else end + 1


def _after_unseen(markup: str, position: int, name: str, unclosed: set[str]) -> int:
    """Where an unseen element ends; when it never does, only its tag is left out, and no one looks again."""
    if name in unclosed:
        return position
    end = re.compile(f"</{name}\\b[^>]*>?", re.IGNORECASE).search(markup, position)
    if end is None:
        unclosed.add(name)
        return position
    return end.end()


def _attributes(markup: str, position: int) -> tuple[str, int]:
    """The attributes from `position` on, written in quotes, and where the tag ends."""
    kept: dict[str, str] = {}
    while (match := _ATTRIBUTE.match(markup, position)) is not None:
        position = match.end()
        name = match[1].lower()
        value = match[2] or match[3] or match[4] or ""
        if len(value) <= (_MAX_ADDRESS if name == "src" else _MAX_VALUE) and len(kept) < _MAX_ATTRIBUTES:
            kept.setdefault(name, value)
    end = markup.find(">", position)
    written = "".join(f' {name}="{_quoted(value)}"' for name, value in kept.items() if _is_name(name))
    return written, len(markup) if end < 0 else end + 1


def _is_name(name: str) -> bool:
    return name.replace("-", "").replace(":", "").replace("_", "").isalnum() and name.isascii()


def _quoted(value: str) -> str:
    return value.replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
