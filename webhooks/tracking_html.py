"""A mail's HTML with a pixel and rewritten links in it, and without them again.

Pure. HTML is changed where it has to be and stays as it is everywhere else: no parser writes it anew. What comes
in for `instrument` is what `scheduler.rich_text` cleaned (each "<" begins a tag, attributes stand in double
quotes); what comes in for `strip` may be anybody's. All patterns are bounded: hostile HTML takes linear time.
"""

from __future__ import annotations

import html as escapes
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TOKEN = r"[A-Za-z0-9_-]{32}"  # noqa: S105 - a pattern
PIXEL_PATH, LINK_PATH, PRIVACY_PATH = "/t/", "/l/", "/privacy/"
#: Gmail shows so many bytes of a mail (about 102 KB), and the rest only to who asks; the pixel stands before.
CLIPPED = 90_000
MOST_LINKS = 500  #: rewritten links of one mail

_STYLE = "display:block;width:1px;height:1px;border:0"
_FOOT_STYLE = "color:#888;font-size:11px"
_ORIGIN = r"https?://[A-Za-z0-9.:\[\]-]{1,255}"
_WRAPPED = re.compile(rf"({_ORIGIN}){LINK_PATH}({TOKEN})(?![A-Za-z0-9_-])")
#: Also behind a proxy that keeps the address after "#", as Gmail's does.
_PIXEL = re.compile(
    rf"<img\b[^<>]{{0,3000}}?({_ORIGIN}){PIXEL_PATH}({TOKEN})\.gif(?![A-Za-z0-9_-])[^<>]{{0,1000}}>", re.IGNORECASE
)
_FOOT = re.compile(
    rf'<div[^<>]{{0,300}}><a [^<>]{{0,300}}?href="({_ORIGIN}){PRIVACY_PATH}({TOKEN})"[^<>]{{0,300}}>'
    r"[^<>]{0,2000}</a></div>"
)
#: A gateway of the recipient's wraps our addresses into its own, as they are or quoted (Safe Links, Proofpoint …).
_SLASH = r"(?:/|%(?:25){0,2}2f)"
_ENDS = r"(?=__;|[^A-Za-z0-9_-]|\Z)"  # "__;" is Proofpoint's
_CARRIED = re.compile(rf"{_SLASH}l{_SLASH}({TOKEN}){_ENDS}", re.IGNORECASE)
_WAY_OUT = re.compile(
    rf"<a\b[^<>]{{0,3000}}?{_SLASH}privacy{_SLASH}({TOKEN}){_ENDS}[^<>]{{0,3000}}>(?:(?!</?a\b).){{0,2000}}</a\s*>",
    re.IGNORECASE | re.DOTALL,
)
#: Also in HTML, where what ends an address in a text may be written as a reference.
_ADDRESS = re.compile(r"""https?://(?:[^\s<>"'&]|&(?!(?:gt|lt|quot|nbsp|#39|#34);)){1,6000}""", re.IGNORECASE)
_SENTENCE = re.compile(r"[.,:!?)\]]*\Z")
_TAG = re.compile(r'<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:[^<>"]++|"[^"]*+")*+)>')
_HREF = re.compile(r'\shref="([^"]*)"', re.IGNORECASE)
_REL = re.compile(r'\srel="([^"]*)"', re.IGNORECASE)
_QUOTE_CLASS = re.compile(r'\sclass="[^"]*\bgmail_(?:quote|attr)[^"]*"', re.IGNORECASE)
_END = re.compile(r"</(?:body|html)\s*>", re.IGNORECASE)
_ANY_TAG = re.compile(r"<[^<>]*>")
_CONTROLS = re.compile(r"[\x00-\x20\x7f]")
#: A text that reads as an address: it holds one, or is a bare host and not a file's name.
_ADDRESS_INSIDE = re.compile(r"[a-z][a-z0-9+.-]{1,20}://|www\.\S|@", re.IGNORECASE)
_BARE_HOST = re.compile(r"(?:[\w-]{1,63}\.){1,10}([a-z]{2,24})(?:[/?#:]\S*)?", re.IGNORECASE)
_FILES = frozenset(
    (
        "csv",
        "doc",
        "docx",
        "gif",
        "htm",
        "html",
        "ics",
        "jpeg",
        "jpg",
        "js",
        "key",
        "mp4",
        "odp",
        "ods",
        "odt",
        "pdf",
    )
) | frozenset(("png", "ppt", "pptx", "txt", "xls", "xlsx", "zip"))
#: In the languages that our mail is mostly written in; List-Unsubscribe's own pages say one of these.
_UNSUBSCRIBE = re.compile(
    r"unsubscri|opt[-_ ]?out|list-unsub|abmeld|abbestell|austrag|d[ée]sabonn|d[ée]sinscri|darse de baja|cancelar"
    r"[-_ ]?(?:la[-_ ]?)?su[bs]scri|disiscri|annulla[-_ ]?iscri|afmeld|uitschrijv|avregistr|avslutt|wypisz"
    r"|odhl[aá]si|(?:email|mail|communication|subscription|notification)[-_ ]?(?:preference|setting)s?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Which links stay as they are, besides those that no redirect can stand for."""

    public_url: str  #: our own pages are never behind a redirect of ours
    own: Sequence[str] = ()  #: a rep's own links: hosts, or beginnings of addresses without their scheme
    bare: bool = False  #: links whose text is an address are rewritten too


@dataclass(frozen=True, slots=True)
class Spot:
    """A link that is to be rewritten: where its address stands in the HTML, and what it is."""

    start: int
    end: int
    url: str


@dataclass(slots=True)
class _Open:
    start: int
    end: int
    url: str
    rel: str
    begins: int  #: where its text begins


@dataclass(slots=True)
class _Walk:
    """A way through the tags of a cleaned mail."""

    markup: str
    quote: int = -1  #: where the first quotation begins
    depth: int = 0  #: open elements of the quotation that we are in
    spots: list[tuple[_Open, str]] = field(default_factory=list)
    link: _Open | None = None

    def run(self) -> _Walk:
        for found in _TAG.finditer(self.markup):
            self.tag(found, found[1] == "/", found[2].lower(), found[3])
        return self

    def tag(self, found: re.Match[str], closing: bool, name: str, attributes: str) -> None:
        if name in ("div", "blockquote"):
            self.block(found.start(), closing, name, attributes)
        elif name == "a" and closing and self.link is not None:
            text = self.markup[self.link.begins : found.start()]
            self.spots.append((self.link, " ".join(escapes.unescape(_ANY_TAG.sub(" ", text)).split())))
            self.link = None
        elif name == "a" and not closing:
            self.link = None if self.depth else self.opened(found, attributes)

    def block(self, at: int, closing: bool, name: str, attributes: str) -> None:
        begins = not closing and (name == "blockquote" or _QUOTE_CLASS.search(attributes) is not None)
        if begins and self.quote < 0:
            self.quote = at
        if self.depth:
            self.depth = max(0, self.depth + (-1 if closing else 1))
        elif begins:
            self.depth = 1

    def opened(self, found: re.Match[str], attributes: str) -> _Open | None:
        href, rel = _HREF.search(attributes), _REL.search(attributes)
        if href is None:
            return None
        start, end = found.start(3) + href.start(1), found.start(3) + href.end(1)
        return _Open(start, end, escapes.unescape(href[1]), rel[1] if rel else "", found.end())


def links(markup: str, kept: Kept) -> list[Spot]:
    """The links of the author's own text that are to be rewritten, in order. Only http and https ever are."""
    found = [
        Spot(link.start, link.end, link.url)
        for link, text in _Walk(markup).run().spots
        if _is_web(link.url) and not _stays(link, text, kept)
    ]
    return found[:MOST_LINKS]


def _is_web(url: str) -> bool:
    """Whether a redirect may lead there: an absolute web address without blanks or controls."""
    if _CONTROLS.search(url) or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _stays(link: _Open, text: str, kept: Kept) -> bool:
    if _UNSUBSCRIBE.search(link.url) or _UNSUBSCRIBE.search(text) or _UNSUBSCRIBE.search(link.rel):
        return True
    if _is_at(link.url, kept.public_url) or any(_begins(link.url, one) for one in kept.own):
        return True
    return not kept.bare and reads_as_address(text)


def reads_as_address(text: str) -> bool:
    """Whether a link's text looks like an address itself. One that shows an address and leads to another is what
    phishing looks like, to people and to filters (Thunderbird's warning, SpamAssassin's URI_… rules)."""
    host = _BARE_HOST.fullmatch(text)
    return _ADDRESS_INSIDE.search(text) is not None or (host is not None and host[1].lower() not in _FILES)


def _is_at(url: str, public_url: str) -> bool:
    return bool(public_url) and urlsplit(url).netloc.lower() == urlsplit(public_url).netloc.lower()


def _begins(url: str, own: str) -> bool:
    """Whether an address is one of the rep's own: the host or one below it, and the path or one below it."""
    parts = urlsplit(url)
    host, slash, path = own.partition("/")
    there = (parts.hostname or "").removeprefix("www.")
    if slash:
        below = parts.path.strip("/").lower()
        return there == host and (below == path or below.startswith(f"{path}/"))
    return there == host or there.endswith(f".{host}")


def instrument(
    markup: str, spots: Iterable[tuple[Spot, str]], *, public_url: str, pixel: str = "", foot: str = ""
) -> str:
    """HTML with each of these links leading through us by its token.

    `pixel` and `foot` are HTML as `pixel_tag` and `foot_of` make it. They stand at the end of the author's own
    text, before what is quoted, since Gmail clips long mail.
    """
    cuts = [(spot.start, spot.end, f"{public_url}{LINK_PATH}{token}") for spot, token in spots]
    early, end = _places(markup)
    return _spliced(markup, [*cuts, (early, early, pixel), (end, end, foot)])


def pixel_tag(public_url: str, token: str) -> str:
    """The pixel."""
    return f'<img src="{public_url}{PIXEL_PATH}{token}.gif" width="1" height="1" alt="" style="{_STYLE}">'


def foot_of(public_url: str, token: str, words: str) -> str:
    """The line by which a recipient can say that they don't want to be tracked; nothing without words."""
    # In ASCII, whatever the mail's charset is.
    told = escapes.escape(words, quote=False).encode("ascii", "xmlcharrefreplace").decode("ascii")
    address = f"{public_url}{PRIVACY_PATH}{token}"
    return f'<div style="{_FOOT_STYLE}"><a href="{address}">{told}</a></div>' if words else ""


def _places(markup: str) -> tuple[int, int]:
    """Where the pixel goes, and where the line does: at the end of the author's own text."""
    walk = _Walk(markup).run()
    closing = _END.search(markup)
    end = walk.quote if walk.quote >= 0 else closing.start() if closing else len(markup)
    return (0 if len(markup[:end].encode()) > CLIPPED else end), end


def _spliced(markup: str, cuts: Iterable[tuple[int, int, str]]) -> str:
    pieces, position = [], 0
    for start, end, put in sorted(cuts, key=lambda cut: cut[0]):
        pieces += [markup[position:start], put]
        position = end
    return "".join(pieces) + markup[position:]


# -- and out again


def tokens(markup: str) -> set[str]:
    """What may be tokens of ours in HTML or text, whichever address we had then."""
    found = {one[1] for pattern in (_CARRIED, _WAY_OUT) for one in pattern.finditer(markup)}
    return found | {one[2] for pattern in (_PIXEL, _FOOT) for one in pattern.finditer(markup)}


def strip(markup: str, urls: Mapping[str, str], pixels: Iterable[str] = (), public_url: str = "") -> str:
    """HTML without our pixels and opt-out lines, its links leading where they led.

    `urls` are links' addresses by token, `pixels` tokens of ours; at `public_url` any pixel and line is ours. A
    link whose token is not known stays as it is: there is nothing else to lead to.
    """
    known = frozenset(pixels)

    def gone(found: re.Match[str]) -> str:
        ours = found[2] in known or found[1].lower() == public_url.lower()
        return "" if ours else found[0]

    markup = _FOOT.sub(gone, _PIXEL.sub(gone, markup))
    markup = _WAY_OUT.sub(lambda found: "" if found[1] in known else found[0], markup)
    return unwrapped(markup, urls, _attribute)


def unwrapped(text: str, urls: Mapping[str, str], written: Callable[[str], str] = str) -> str:
    """A text or an address with our links leading where they led, also those that a gateway wrapped."""
    return _ADDRESS.sub(lambda found: _led_back(found[0], urls, written), text) if urls else text


def _led_back(address: str, urls: Mapping[str, str], written: Callable[[str], str]) -> str:
    plain = _WRAPPED.match(address)
    if plain is not None and plain[2] in urls:
        return written(urls[plain[2]]) + address[plain.end() :]
    token = next((one for one in _CARRIED.findall(address) if one in urls), None)
    ending = _SENTENCE.search(address)
    return address if token is None else written(urls[token]) + (ending[0] if ending else "")


def _attribute(url: str) -> str:
    """An address as an HTML serializer writes it into an attribute."""
    return escapes.escape(url).replace("&#x27;", "'").replace("\xa0", "&nbsp;")


def is_pixel(address: str, public_url: str) -> bool:
    """Whether a picture's address is a pixel of ours, also behind a proxy that keeps the address after "#"."""
    return re.search(rf"(?:\A\s*|#){re.escape(public_url)}{PIXEL_PATH}", address, re.IGNORECASE) is not None
