"""Rich text of a mail that a person writes: HTML kept to what an editor makes, and its plain alternative.

Pure. What comes in is hostile (a form may post anything); what `clean` lets through is a small language that
every mail client shows alike.
"""

from __future__ import annotations

import html as escapes
import re
from dataclasses import dataclass
from html.parser import HTMLParser

import nh3

from tracker.charsets import clean as clean_text
from tracker.html_tidy import UNSEEN, tidy

#: Characters; a longer mail than this nobody writes by hand, and quotations are cut to it.
MAX_HTML = 1_000_000
TAGS = frozenset(
    ("a", "b", "blockquote", "br", "code", "div", "em", "h1", "h2", "h3", "hr", "i", "li", "ol", "p", "pre", "s")
) | frozenset(("span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul"))
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
#: How a quotation looks; mail clients take styles from nowhere else.
QUOTATION = "margin:0 0 0 .8ex;border-left:1px solid #ccc;padding-left:1ex"
_SCHEMES = {"http", "https", "mailto", "tel"}
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff]")
_BLANK_LINES = re.compile(r"\n{3,}")
_BLANKS = re.compile(r"[ \t\n\f\r]+")
_ADDRESS = re.compile(r"https?://[^\s<>\"']*[^\s<>\"'.,;:!?)\]]")

_BLOCKS = frozenset(("blockquote", "div", "h1", "h2", "h3", "hr", "li", "ol", "p", "pre", "table", "tr", "ul"))
_SPACED = frozenset(("blockquote", "h1", "h2", "h3", "p", "pre", "table"))


def clean(markup: str) -> str:
    """HTML of which nothing runs, loads, styles or submits; what isn't in our small language loses its tags."""
    return nh3.clean(
        tidy(plain(markup)[:MAX_HTML]),
        tags=set(TAGS),
        clean_content_tags=set(UNSEEN),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        allowed_classes={"div": {"gmail_quote"}},
        set_tag_attribute_values={"blockquote": {"style": QUOTATION}},
        url_schemes=_SCHEMES,
        url_relative="deny",
        link_rel=None,
        strip_comments=True,
    )


def plain(text: str) -> str:
    """Text with line ends of one kind, without control characters, noncharacters and lone surrogates."""
    return _CONTROLS.sub("", clean_text(text).replace("\r\n", "\n").replace("\r", "\n"))


def from_plain(text: str) -> str:
    """Plain text as HTML: paragraphs, line breaks, and addresses of pages as links."""
    paragraphs = re.split(r"\n[ \t]*\n+", plain(text).strip("\n"))
    return "\n".join(f"<p>{_linked(one)}</p>" for one in paragraphs if one.strip())


def _linked(text: str) -> str:
    pieces, end = [], 0
    for found in _ADDRESS.finditer(text):
        address = escapes.escape(found[0])
        pieces += [escapes.escape(text[end : found.start()], quote=False), f'<a href="{address}">{address}</a>']
        end = found.end()
    pieces.append(escapes.escape(text[end:], quote=False))
    return "".join(pieces).replace("\n", "<br>\n")


def to_plain(markup: str) -> str:
    """The plain alternative of cleaned HTML: lists with dashes or numbers, links with their addresses, "> " for
    quotations (RFC 3676 §4.5)."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return reader.told()


def is_blank(markup: str) -> bool:
    """Whether nothing can be read in it."""
    return not to_plain(markup).strip()


@dataclass(slots=True)
class _Element:
    """A block that is open, and how the lines within it begin."""

    tag: str
    first: str = ""  #: how its first line begins: "- ", "2. "
    rest: str = ""  #: how the others do
    is_begun: bool = False
    number: int = 1  #: of the next entry of an ordered list

    def prefix(self) -> str:
        return self.rest if self.is_begun else self.first


class _Reader(HTMLParser):
    """Writes HTML down as lines of text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self.line = ""
        self.gap: int | None = None  #: an empty line comes before the next one, this many blocks deep
        self.open: list[_Element] = []
        self.links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "br":
            self.end_line(always=True)
        elif tag == "hr":
            self.end_line()
            self.line = "---"
            self.end_line()
        elif tag == "a":
            self.links.append((given.get("href") or "", len(self.line)))
        elif tag in ("td", "th") and self.line:
            self.line += "  "
        elif tag in _BLOCKS:
            self.begin_block(tag, given.get("start") or "1")

    def begin_block(self, tag: str, start: str) -> None:
        self.end_line()
        if tag in _SPACED:
            self.want_gap()
        block = _Element(tag)
        if tag == "blockquote":
            block.first = block.rest = "> "
        elif tag == "ol":
            block.number = int(start) if start.isdecimal() and len(start) < 6 else 1
        elif tag == "li":
            block.first = self.bullet()
            block.rest = " " * len(block.first)
        self.open.append(block)

    def bullet(self) -> str:
        lists = [block for block in self.open if block.tag in ("ul", "ol")]
        if not lists or lists[-1].tag == "ul":
            return "- "
        lists[-1].number += 1
        return f"{lists[-1].number - 1}. "

    def want_gap(self) -> None:
        """Ask for an empty line, unless an entry of a list has only just begun."""
        if not any(block.tag == "li" and not block.is_begun for block in self.open):
            self.gap = len(self.open) if self.gap is None else min(self.gap, len(self.open))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self.links:
            self.end_link()
        elif tag in _BLOCKS and any(block.tag == tag for block in self.open):
            self.end_line()
            while self.open and self.end_block() != tag:
                pass

    def end_block(self) -> str:
        block = self.open.pop()
        if block.tag == "li":
            self.gap = None
        elif block.tag in _SPACED or (block.tag in ("ul", "ol") and not self.is_in_list()):
            self.want_gap()
        return block.tag

    def is_in_list(self) -> bool:
        return any(block.tag in ("ul", "ol") for block in self.open)

    def end_link(self) -> None:
        address, start = self.links.pop()
        shown = self.line[start:].strip()
        bare = address.removeprefix("mailto:").removeprefix("tel:")
        if bare and shown.rstrip("/") not in (bare.rstrip("/"), address.rstrip("/")):
            self.line += f" <{bare}>" if shown else bare

    def handle_data(self, data: str) -> None:
        if any(block.tag == "pre" for block in self.open):
            *whole, last = data.split("\n")
            for one in whole:
                self.line += one
                self.end_line(always=True)
            self.line += last
            return
        words = _BLANKS.sub(" ", data)
        self.line += words.lstrip(" ") if not self.line or self.line.endswith(" ") else words

    def end_line(self, *, always: bool = False) -> None:
        """Write the present line down; an empty one only if it is wanted."""
        text = self.line.replace("\xa0", " ").rstrip()
        if text or always:
            if self.gap is not None and self.lines:
                self.lines.append(self.prefix(self.open[: self.gap]).rstrip())
            self.gap = None
            self.lines.append((self.prefix(self.open) + text).rstrip())
            for block in self.open:
                block.is_begun = True
        self.line = ""
        self.links = [(address, 0) for address, _ in self.links]

    @staticmethod
    def prefix(blocks: list[_Element]) -> str:
        return "".join(block.prefix() for block in blocks)

    def told(self) -> str:
        self.end_line()
        return _BLANK_LINES.sub("\n\n", "\n".join(self.lines)).strip("\n")
