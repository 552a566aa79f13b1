"""The text and the HTML of a mail: what its writer says, and under it what it answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

_QUOTE_STYLE = "margin:0 0 0 .8ex;border-left:1px solid #ccc;padding-left:1ex"


@dataclass(frozen=True, slots=True)
class Quotation:
    """A mail quoted under its answer, with the line over it, and what it quotes in turn."""

    attribution: str
    text: str
    inner: Quotation | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """What a mail says, and what it quotes."""

    text: str
    closing: str = ""
    signature: str = ""
    quotation: Quotation | None = None

    def said(self) -> str:
        """The text with its closing and signature, without the quotation."""
        parts = [self.text, self.closing, self.signature and f"-- \n{self.signature}"]
        return "\n\n".join(part for part in parts if part)

    def plain(self) -> str:
        """The text/plain of the mail."""
        quoted = ["", "", *_plain_lines(self.quotation)] if self.quotation else []
        return "\n".join([self.said(), *quoted]) + "\n"

    def html(self) -> str:
        """The text/html of the mail."""
        signature = f'<div style="color:#666">-- <br>{_lines(self.signature)}</div>' if self.signature else ""
        quoted = _html_quotation(self.quotation) if self.quotation else ""
        return f'<div dir="ltr">{_paragraphs([self.text, self.closing])}{signature}</div>{quoted}\n'


def _plain_lines(quotation: Quotation) -> Iterable[str]:
    """*quotation* in the manner of RFC 3676 section 4.5: ``>`` before every line."""
    yield quotation.attribution
    for line in quotation.text.splitlines():
        yield f"> {line}".rstrip()
    if quotation.inner:
        yield ">"
        for line in _plain_lines(quotation.inner):
            yield f">{line}" if line.startswith(">") else f"> {line}".rstrip()


def _html_quotation(quotation: Quotation) -> str:
    inner = _html_quotation(quotation.inner) if quotation.inner else ""
    return (
        f'<br><div class="gmail_quote"><div dir="ltr" class="gmail_attr">{escape(quotation.attribution)}</div>\n'
        f'<blockquote class="gmail_quote" style="{_QUOTE_STYLE}">{_paragraphs([quotation.text])}{inner}'
        "</blockquote></div>"
    )


def _paragraphs(texts: Iterable[str]) -> str:
    """*texts* as HTML paragraphs, which an empty line parts."""
    paragraphs = [part for text in texts for part in text.split("\n\n") if part.strip()]
    return "\n".join(f"<p>{_lines(part)}</p>" for part in paragraphs)


def _lines(text: str) -> str:
    return escape(text, quote=False).replace("\n", "<br>\n")
