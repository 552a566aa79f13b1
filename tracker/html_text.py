"""The text of an HTML mail, and the check that keeps tangled HTML away from a parser.

Pure, and linear in the size of the HTML. html2text would be the obvious choice, but stands on Python's
`html.parser`, which takes quadratic time over malformed input (CVE-2025-6069); here html5ever, through nh3,
brings the HTML into order and what is left is a walk over well-formed tags.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

import nh3

#: What html5ever may cost over one mail: elements visited (160 million a second) and elements repeated.
_VISITS = 40_000_000
_REPEATS = 1_000_000
#: Its time grows with the square of the number of "&" in a run of text: 200,000 take a second.
_AMPERSANDS = 50_000
#: How far up a closing tag is looked for: real mail closes what is near.
_REACH = 64

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_MARKUP = re.compile(r"(<[^<>]*>)")
_BLANKS = re.compile(r"[ \t\r\n\f]+")
_PADDING = re.compile("[\u00ad\u034f\u200b\ufeff]+")
_BLANK_LINES = re.compile(r"\n{3,}")

_VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "frame",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    ]
)
#: Elements that close themselves when the next of their kind begins, so that they don't nest alone.
_SELF_CLOSING = frozenset(
    [
        "p",
        "li",
        "dt",
        "dd",
        "tr",
        "td",
        "th",
        "thead",
        "tbody",
        "tfoot",
        "caption",
        "colgroup",
        "option",
        "optgroup",
        "html",
        "head",
        "body",
    ]
)
_FORMATTING = frozenset(
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"]
)
#: A closing tag doesn't reach out of these (HTML Living Standard 13.2.4.2, "has an element in scope").
_SCOPES = frozenset(["applet", "button", "marquee", "object", "select", "svg", "math", "table", "template"])

_PARAGRAPHS = frozenset(
    ["p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "hr"]
)
_LINES = frozenset(
    [
        "div",
        "tr",
        "li",
        "dt",
        "dd",
        "section",
        "article",
        "header",
        "footer",
        "address",
        "center",
        "form",
        "fieldset",
        "caption",
    ]
)
_KEPT = _PARAGRAPHS | _LINES | {"br", "td", "th"}
_UNSEEN = frozenset(
    ["script", "style", "title", "head", "noscript", "template", "select", "textarea", "svg", "math", "object"]
)
_CLEANER = nh3.Cleaner(
    tags=set(_KEPT), attributes={}, clean_content_tags=set(_UNSEEN), link_rel=None, strip_comments=True
)


def text_from_html(markup: str) -> str:
    """What a reader sees of `markup`, without links and pictures.

    Paragraphs are set apart by blank lines, list items begin with "- ", quotations with "> " for each level.
    Tangled HTML (see `is_tangled`) is read without a parser: all of its words, less well laid out.
    """
    return _Layout().read(markup if is_tangled(markup) else _CLEANER.clean(markup))


def is_tangled(markup: str) -> bool:
    """Whether an HTML5 parser could take unreasonable time or memory over `markup`.

    Each new block looks upwards through all that is open, and each new paragraph repeats the formatting that
    was never closed: both multiply. Counted here as a parser would nest, never less deep than it would.
    """
    if markup.count("&") > _AMPERSANDS:
        return True
    stack: list[str] = []
    tags = deepest = formatting = 0
    for match in _TAG.finditer(markup):
        tags += 1
        name = match[2].lower()
        if match[1]:
            _close(stack, name)
        elif name not in _VOID and name not in _SELF_CLOSING:
            stack.append(name)
            if len(stack) > deepest:
                deepest = len(stack)
                formatting = (
                    sum(open_name in _FORMATTING for open_name in stack) if deepest % 16 == 0 else formatting
                )
                if deepest * tags > _VISITS or deepest > _VISITS // 1_000:
                    return True
    return deepest * tags > _VISITS or ((formatting + 16) * tags > _REPEATS and formatting > 16)


def _close(stack: list[str], name: str) -> None:
    """Take off what a closing tag closes. Formatting goes alone: blocks inside of it stay open."""
    for index in range(len(stack) - 1, max(-1, len(stack) - 1 - _REACH), -1):
        if stack[index] == name:
            if name in _FORMATTING:
                del stack[index]
            else:
                del stack[index:]
            return
        if stack[index] in _SCOPES:
            return


@dataclass(slots=True)
class _Layout:
    """Lines as they are being laid out."""

    lines: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    quotes: int = 0
    preformatted: int = 0
    unseen: str = ""

    def read(self, markup: str) -> str:
        for index, token in enumerate(_MARKUP.split(markup)):
            if index % 2:
                self.tag(token)
            elif token and not self.unseen:
                self.text(token)
        self.end_line()
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
        if self.unseen or name in _UNSEEN:
            self.unseen = (
                name if not self.unseen and not closing else "" if closing and name == self.unseen else self.unseen
            )
        elif name == "br":
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
