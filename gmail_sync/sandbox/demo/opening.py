"""Opening a mail as a reader in Gmail does: its images are fetched, through Google's proxy.

Only images on this very machine are fetched (that is where a demo's tracking pixels are); a sandbox never
speaks to the outside.
"""

from __future__ import annotations

import ipaddress
import logging
from html.parser import HTMLParser
from urllib.parse import urlsplit

import requests

from gmail_sync.sandbox.demo.compose import read

_log = logging.getLogger(__name__)

#: What Gmail's image proxy calls itself.
USER_AGENT = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
_TIMEOUT = 5.0  # seconds


def open_mail(raw: bytes) -> None:
    """Fetch the images on loopback hosts in the HTML of *raw*; what goes wrong is ignored."""
    for url in image_urls(raw):
        if is_loopback(url):
            try:
                requests.get(url, headers={"User-Agent": USER_AGENT}, timeout=_TIMEOUT, allow_redirects=False)
            except requests.RequestException as error:
                _log.debug("an image was not fetched: %s", error)


def image_urls(raw: bytes) -> list[str]:
    """The http and https addresses of the images in the HTML of *raw*, each once."""
    part = read(raw).get_body(("html",))
    if part is None:
        return []
    images = _Images()
    images.feed(part.get_content())
    return list(dict.fromkeys(images.found))


def is_loopback(url: str) -> bool:
    """Whether *url* is on this machine: ``localhost`` and names under it, 127.0.0.0/8, ``::1``."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Images(HTMLParser):
    """Collects the sources of images."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        source = dict(attrs).get("src") or ""
        if tag == "img" and source.lower().startswith(("http://", "https://")):
            self.found.append(source)
