"""The text of an HTML mail.

Pure, and linear in the size of the HTML. html2text would be the obvious choice, but stands on Python's
`html.parser`, which takes quadratic time over malformed input (CVE-2025-6069); here html5ever, through nh3,
brings the HTML into order and what is left is a walk over well-formed tags.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

import nh3

from tracker.html_tidy import UNSEEN, tidy

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_MARKUP = re.compile(r"(<[^<>]*>)")
_BLANKS = re.compile(r"[ \t\r\n\f]+")
_PADDING = re.compile("[\u00ad\u034f\u200b\ufeff]+")
_BLANK_LINES = re.compile(r"\n{3,}")

_PARAGRAPHS = frozenset(
    ("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "hr")
)
_LINES = frozenset(
    ("div", "tr", "li", "dt", "dd", "section", "article", "header", "footer", "address", "center", "caption")
)
_KEPT = _PARAGRAPHS | _LINES | {"br", "td", "th"}
_CLEANER = nh3.Cleaner(
    tags=set(_KEPT), attributes={}, clean_content_tags=set(UNSEEN), link_rel=None, strip_comments=True
)


def text_from_html(markup: str) -> str:
    """What a reader sees of `markup`, without links and pictures.

    Paragraphs are set apart by blank lines, list items begin with "- ", quotations with "> " for each level.
    """
    return _Layout().read(_CLEANER.clean(tidy(markup)))


@dataclass(slots=True)
class _Layout:
    """Lines as they are being laid out."""

    lines: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    quotes: int = 0
    preformatted: int = 0

    def read(self, markup: str) -> str:
        for index, token in enumerate(_MARKUP.split(markup)):
            if index % 2:
                self.tag(token)
            elif token:
                self.text(token)
        self.end_line()
        while self.lines and not self.lines[-1].strip("> "):
            self.lines.pop()
        return _BLANK_LINES.sub("\n\n", "\n".join(self.lines)).strip("\n")

    def text(self, token: str) -> None:
        text = _PADDING.sub("", html.unescape(token)).replace("\0", "")
        if not self.preformatted:
            self.line.append(_BLANKS.sub(" ", text))
            return
        first, *others = text.split("\n")
        self.line.append(first)
        for other in others:
            self.end_line(even_empty=True)
            self.line.append(other)

    def tag(self, token: str) -> None:
        match = _TAG.match(token)
        if match is None:
            return
        closing, name = match[1] == "/", match[2].lower()
        if name == "br":
            self.end_line(even_empty=True)
        elif name in ("td", "th"):
            self.line.append(" ")
        elif name in _KEPT:
            self.block(name, closing)

    def block(self, name: str, closing: bool) -> None:
        self.end_line()
        if name in _PARAGRAPHS and self.lines and self.lines[-1].strip("> "):
            self.lines.append(self.prefix().rstrip())
        step = -1 if closing else 1
        if name == "blockquote":
            self.quotes = max(0, self.quotes + step)
        elif name == "pre":
            self.preformatted = max(0, self.preformatted + step)
        elif name == "li" and not closing:
            self.line.append("- ")

    def prefix(self) -> str:
        return "> " * min(self.quotes, 8)

    def end_line(self, *, even_empty: bool = False) -> None:
        text = "".join(self.line)
        text = text.rstrip() if self.preformatted else " ".join(text.split())
        self.line.clear()
        if text or even_empty:
            self.lines.append((self.prefix() + text).rstrip())
