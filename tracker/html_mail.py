"""HTML mail made safe to show, in a frame of its own.

Pure. Two walls: `sanitize` leaves nothing that runs, submits, navigates or fetches, and `document` wraps what
is left in a Content-Security-Policy that forbids the same. Show it in an iframe with
`sandbox="allow-popups allow-popups-to-escape-sandbox"`: the third wall.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import unquote

import nh3

from tracker.html_tidy import UNSEEN, tidy

#: Characters of HTML looked at; `gmail_sync` stores less.
_MAX_HTML = 4 * 1024 * 1024
#: Schemes that mark an address on its way through nh3, which can neither rename an attribute nor let a single
#: relative address pass. Random, so that no mail can hold them.
_BLOCKED = f"x{secrets.token_hex(16)}:"
_TRUSTED = f"y{secrets.token_hex(16)}:"
_REMOTE_ATTRIBUTE = "data-remote-src"

_WORD_TAGS = frozenset(
    ("a", "abbr", "acronym", "b", "bdo", "big", "br", "cite", "code", "del", "em", "font", "i", "img")
)
_MORE_WORD_TAGS = frozenset(
    ("ins", "kbd", "nobr", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup")
)
_BLOCK_TAGS = frozenset(
    ("address", "blockquote", "center", "div", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "p", "pre")
)
_SECTION_TAGS = frozenset(
    ("article", "aside", "figcaption", "figure", "footer", "header", "main", "nav", "section")
)
_LIST_TAGS = frozenset(("dd", "dl", "dt", "li", "ol", "ul"))
_TABLE_TAGS = frozenset(("caption", "col", "colgroup", "table", "tbody", "td", "tfoot", "th", "thead", "tr"))
_TAGS = _WORD_TAGS | _MORE_WORD_TAGS | _BLOCK_TAGS | _SECTION_TAGS | _LIST_TAGS | _TABLE_TAGS | {"tt", "u", "wbr"}
_CELL = {"align", "valign", "width", "height", "bgcolor"}
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"style", "dir", "lang", "title", "align"},
    "a": {"href"},
    "col": {"span", *_CELL},
    "colgroup": {"span", *_CELL},
    "font": {"color", "face", "size"},
    "hr": {"width", "size", "color", "noshade"},
    "img": {"src", "alt", "width", "height", "border", "hspace", "vspace"},
    "li": {"value", "type"},
    "ol": {"start", "type", "reversed"},
    "table": {"border", "cellpadding", "cellspacing", *_CELL},
    "tbody": _CELL,
    "td": {"colspan", "rowspan", "nowrap", *_CELL},
    "tfoot": _CELL,
    "th": {"colspan", "rowspan", "nowrap", *_CELL},
    "thead": _CELL,
    "tr": _CELL,
    "ul": {"type"},
}
_BOX_STYLES = frozenset(
    (
        "clear",
        "display",
        "float",
        "height",
        "max-height",
        "max-width",
        "min-height",
        "min-width",
        "overflow-wrap",
        "width",
    )
)
_TABLE_STYLES = frozenset(("box-sizing", "empty-cells", "list-style-type", "table-layout", "vertical-align"))
_WORD_STYLES = frozenset(
    ("direction", "letter-spacing", "line-height", "white-space", "word-break", "word-spacing", "word-wrap")
)
_COLOR_STYLES = frozenset(("background", "background-color", "color", "opacity", "visibility"))
_STYLES = _BOX_STYLES | _TABLE_STYLES | _WORD_STYLES | _COLOR_STYLES
_STYLE_FAMILIES = ("border", "font", "margin", "padding", "text-")
#: Values are words, numbers, colours and quoted font names. No other function, so no url(); no escapes.
_STYLE_VALUE = re.compile(r"(?:[\w\s#%.,'\"!/+-]|(?:rgb|hsl)a?\(|\))+", re.IGNORECASE)
_MAX_STYLE = 4_096
_LINK = re.compile(r"\s*(?:https?://|mailto:|tel:)", re.IGNORECASE)
_REMOTE = re.compile(r"\s*https?://", re.IGNORECASE)
_CID = re.compile(r"\s*cid:", re.IGNORECASE)
_PICTURE_DATA = re.compile(r"data:image/(?:png|gif|jpe?g|webp|bmp);base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)

_STYLESHEET = (
    "html{color-scheme:light}"
    "body{margin:12px;background:#fff;color:#1f2328;font:14px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}"
    "img{max-width:100%;height:auto}table{max-width:100%}pre{white-space:pre-wrap}"
    "blockquote{margin:0 0 0 8px;padding-left:12px;border-left:2px solid #d0d7de;color:#57606a}"
    f"img[{_REMOTE_ATTRIBUTE}]{{min-width:16px;min-height:16px;background:#f0f2f4;border:1px dashed #afb8c1}}"
)


#: From the name of an attribute ("href", "src") and its address to the address to show; None takes it away.
AddressFilter = Callable[[str, str], str | None]


def sanitize(
    html: str, *, remote_images: bool = False, cid_urls: Mapping[str, str] | None = None,
    addresses: AddressFilter | None = None,
) -> str:  # fmt: skip
    """A fragment of HTML that is safe to show, from HTML that anybody may have written.

    remote_images: let pictures be fetched from elsewhere, which tells the sender that the mail was read.
        Otherwise their address moves from `src` to `data-remote-src`.
    cid_urls: where the picture of a Content-ID (without <>) is served, for "cid:" addresses. These addresses
        are trusted. Pictures without one lose their address.
    addresses: what another room makes of links' and pictures' addresses, before anything else is asked of them.

    Links open in a new window and don't tell where they were clicked. Never raises; time is linear.
    """
    return _Cleaning(remote_images, cid_urls or {}, addresses).clean(html)


def count_remote_images(html: str) -> int:
    """How many pictures `html` would fetch from elsewhere."""
    cleaning = _Cleaning(False, {})
    cleaning.clean(html)
    return cleaning.remote


def document(html_fragment: str, *, remote_images: bool = False) -> str:
    """A whole document around a fragment that `sanitize` made, for an iframe.

    Its policy allows inline styles and pictures, from elsewhere only with `remote_images`. Pictures of "cid:"
    addresses come from 'self', which a srcdoc in a sandbox is not: serve the document when there are any.
    """
    sources = "'self' data: https: http:" if remote_images else "'self' data:"
    policy = (
        f"default-src 'none'; img-src {sources}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; script-src 'none'"
    )
    return (
        '<!doctype html><html><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width">'
        f"<title>Message</title><style>{_STYLESHEET}</style></head><body>{html_fragment}</body></html>"
    )


class _Cleaning:
    """One pass over one mail: what nh3 asks about each attribute, and how many remote pictures it met."""

    def __init__(
        self, remote_images: bool, cid_urls: Mapping[str, str], addresses: AddressFilter | None = None
    ) -> None:
        self.remote = 0
        self._remote_images = remote_images
        self._cid_urls = cid_urls
        self._addresses = addresses

    def clean(self, html: str) -> str:
        cleaned = nh3.clean(
            tidy(html[:_MAX_HTML]),
            tags=set(_TAGS),
            clean_content_tags=set(UNSEEN),
            attributes=_ATTRIBUTES,
            attribute_filter=self._attribute,
            url_schemes={"http", "https", "mailto", "tel", "cid", "data", _BLOCKED[:-1], _TRUSTED[:-1]},
            url_relative="deny",
            link_rel="noopener noreferrer",
            set_tag_attribute_values={"a": {"target": "_blank"}},
            strip_comments=True,
        )
        return cleaned.replace(f'src="{_BLOCKED}', f'{_REMOTE_ATTRIBUTE}="').replace(_TRUSTED, "")

    def _attribute(self, tag: str, name: str, value: str) -> str | None:
        if name == "style":
            return _safe_style(value)
        if name in ("href", "src") and self._addresses is not None:
            filtered = self._addresses(name, value)
            if filtered is None:
                return None
            value = filtered
        if name == "href":
            return value if _LINK.match(value) else None
        if name == "src":
            return self._picture(value)
        return value

    def _picture(self, address: str) -> str | None:
        """The address to show a picture from; None takes the attribute away."""
        if _REMOTE.match(address):
            self.remote += 1
            return address if self._remote_images else _BLOCKED + address
        if _CID.match(address):
            url = self._cid_urls.get(unquote(address.strip()[4:]).strip("<>"))
            return _TRUSTED + url if url else None
        return address if _PICTURE_DATA.fullmatch(address) else None


def _safe_style(style: str) -> str | None:
    """The declarations that only change how things look; None when nothing is left."""
    kept: list[str] = []
    for declaration in style[:_MAX_STYLE].split(";"):
        name, colon, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip()
        is_known = name in _STYLES or name.startswith(_STYLE_FAMILIES)
        if colon and is_known and "image" not in name and _STYLE_VALUE.fullmatch(value):
            kept.append(f"{name}:{value}")
    return ";".join(kept) or None
