"""What is put into a mail's HTML and taken out again: laws, for any HTML that our editor makes and for worse."""

from __future__ import annotations

import html as escapes
import re
import time
from itertools import count
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import rich_text
from webhooks import tracking_html
from webhooks.tracking_html import Kept
from webhooks.tracks import new_token

URL = "https://tracker.example.com"
KEPT = Kept(URL)
PIXEL = "p" * 32
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
HREFS = st.one_of(
    st.sampled_from(
        (
            "https://example.com/offer?a=1&b=2", "http://example.org", "mailto:anna@example.com", "tel:+4930",
            "#top", "/relative", "javascript:alert(1)", "https://example.com/unsubscribe/7", "ftp://x.example/y",
            f"{URL}/calendar/feed", "https://example.com/ä?q=\"x\"&c=<d>", "HTTPS://Example.com", "https://", "http:///x",
            f"{URL}/l/{'q' * 32}",
        )
    ),
    WORDS.map(lambda words: f"https://example.com/{words}"),
)  # fmt: skip
TEXTS = st.one_of(WORDS, st.sampled_from(("our offer", "https://example.com/offer", "example.com", "Offer.pdf")))

FEWER = settings(max_examples=60)


def wrap(tag: str, inner: str) -> str:
    return f"<{tag}>{inner}</{tag.split()[0]}>"


LINKS = st.builds(lambda href, text: f'<a href="{escapes.escape(href)}">{escapes.escape(text)}</a>', HREFS, TEXTS)
PIECES = st.recursive(
    st.one_of(WORDS.map(escapes.escape), LINKS, st.just("<br>")),
    lambda inner: st.builds(
        wrap,
        st.sampled_from(("p", "div", "b", "li", "ul", "blockquote", 'div class="gmail_quote"', "pre", "span")),
        st.lists(inner, max_size=4).map("".join),
    ),
    max_leaves=12,
)
MARKUP = st.lists(PIECES, max_size=6).map(lambda pieces: rich_text.clean("".join(pieces)))


def put_in(markup: str, kept: Kept = KEPT, foot: str = "") -> tuple[str, dict[str, str]]:
    """Instrumented, and what each token stands for."""
    numbers = count()
    spots = [(spot, f"{next(numbers):032d}") for spot in tracking_html.links(markup, kept)]
    made = tracking_html.instrument(
        markup, spots, public_url=URL, pixel=tracking_html.pixel_tag(URL, PIXEL),
        foot=tracking_html.foot_of(URL, PIXEL, foot),
    )  # fmt: skip
    return made, {token: spot.url for spot, token in spots}


@FEWER
@given(MARKUP, st.sampled_from(("", "Don’t track <me> & mine")))
def test_what_was_put_in_comes_out_again(markup: str, foot: str) -> None:
    made, urls = put_in(markup, foot=foot)
    assert tracking_html.strip(made, urls, [PIXEL]) == markup
    assert tracking_html.strip(made, urls, public_url=URL) == markup
    assert tracking_html.tokens(made) >= {*urls, PIXEL}


@FEWER
@given(MARKUP)
def test_no_word_changes_and_only_web_addresses_are_rewritten(markup: str) -> None:
    made, urls = put_in(markup)
    text = re.sub(r"<[^<>]*>", "\0", markup)
    assert re.sub(r"<[^<>]*>", "\0", made.replace(tracking_html.pixel_tag(URL, PIXEL), "")) == text
    assert all(re.match(r"https?://[^/]", url, re.IGNORECASE) for url in urls.values())
    assert not any("unsubscribe" in url or url.startswith(URL) for url in urls.values())


@FEWER
@given(MARKUP)
def test_what_is_instrumented_twice_gets_no_more_links(markup: str) -> None:
    made, _ = put_in(markup)
    assert tracking_html.links(made, KEPT) == []


@FEWER
@given(MARKUP)
def test_our_own_cleaning_takes_the_pixel_and_leaves_links_that_can_be_led_back(markup: str) -> None:
    """A draft that comes back from Gmail, or a sent mail that is quoted."""
    made, urls = put_in(markup)
    assert tracking_html.strip(rich_text.clean(made), urls) == rich_text.clean(markup)


def rewritten(markup: str, kept: Kept = KEPT) -> list[str]:
    return [spot.url for spot in tracking_html.links(rich_text.clean(markup), kept)]


def link(href: str, text: str = "here", rest: str = "") -> str:
    return f'<p>Look <a href="{href}"{rest}>{text}</a></p>'


@pytest.mark.parametrize(
    "markup",
    [
        link("mailto:anna@example.com"), link("tel:+49301234"), link("#below"), link("/path"),
        link("https://list.example/unsubscribe?u=1"), link("https://list.example/x", "Newsletter abbestellen"),
        link("https://list.example/x", "<b>Opt out</b>"), link(f"{URL}/privacy/x"),
        link("https://example.com/offer", "https://example.com/offer"), link("https://example.com", "example.com"),
        link("https://example.com", "see www.example.com/x"), link("https://example.com", "anna@example.com"),
        f"<blockquote>{link('https://theirs.example/x')}</blockquote>",
        f'<p>Mine</p><div class="gmail_quote"><div>On Tue, Anna wrote:</div>{link("https://theirs.example")}</div>',
    ],
)  # fmt: skip
def test_what_stays_as_it_is(markup: str) -> None:
    assert rewritten(markup) == []


@pytest.mark.parametrize("text", ["here", "Offer.pdf", "our offer", "v1.2 of it", "Save 20 %", ""])
def test_a_link_with_words_leads_through_us(text: str) -> None:
    assert rewritten(link("https://example.com/offer", text)) == ["https://example.com/offer"]


def test_a_link_that_shows_an_address_is_rewritten_only_if_its_mailbox_says_so() -> None:
    markup = link("https://example.com/offer", "example.com/offer")
    assert rewritten(markup) == []
    assert rewritten(markup, Kept(URL, bare=True)) == ["https://example.com/offer"]


def test_a_reps_own_links_are_known_by_host_or_by_path() -> None:
    kept = Kept(URL, ["linkedin.com/in/anna", "acme.test"])
    markup = "".join(
        link(one)
        for one in ("https://www.linkedin.com/in/anna/", "https://linkedin.com/in/annabel", "http://shop.acme.test/x",
                    "https://notacme.test/")
    )  # fmt: skip
    assert rewritten(markup, kept) == ["https://linkedin.com/in/annabel", "https://notacme.test/"]


def test_links_after_an_inline_quotation_are_the_authors_again() -> None:
    markup = f"<blockquote><div>{link('https://theirs.example')}</div></blockquote>{link('https://mine.example')}"
    assert rewritten(markup) == ["https://mine.example"]


def test_the_pixel_stands_before_the_quotation() -> None:
    quote = f'<div class="gmail_quote"><blockquote>{"long ago " * 20_000}</blockquote></div>'
    made, _ = put_in(rich_text.clean(f"<p>Short</p>{quote}"))
    assert made.index("/t/") < made.index("gmail_quote") < 1_000


def test_in_a_text_that_gmail_clips_the_pixel_stands_first() -> None:
    made, _ = put_in(f"<p>{'word ' * 30_000}</p>")
    assert made.startswith("<img ")


def test_a_proxys_address_of_our_pixel_goes_too() -> None:
    proxied = (
        f'<p>Hi<img src="https://ci3.googleusercontent.com/meips/ADKq=s0-d-e1-ft#{URL}/t/{PIXEL}.gif" alt=""></p>'
    )
    assert tracking_html.strip(proxied, {}, public_url=URL) == "<p>Hi</p>"
    assert tracking_html.is_pixel(f"https://ci3.googleusercontent.com/proxy/a=s0-d#{URL}/t/{PIXEL}.gif", URL)
    assert not tracking_html.is_pixel("https://other.example/t/x.gif", URL)


@pytest.mark.parametrize(
    "gateway",
    [
        "https://eur01.safelinks.protection.outlook.com/?url={quoted}&amp;data=05%7C01&amp;reserved=0",
        "https://linkprotect.example/url?a={twice}&amp;c=E,1",
        "https://urldefense.com/v3/__{plain}__;!!Abc-d!x$",
        "https://www.google.com/url?q={plain}&amp;source=gmail",
    ],
)
def test_what_the_readers_gateway_wrapped_leads_where_it_led(gateway: str) -> None:
    token, way_out = "-" + "l" * 30 + "_", "w" * 32

    def wrapped(path: str) -> str:
        plain = f"{URL}/{path}"
        quoted = quote(plain, safe="")
        return gateway.format(plain=plain, quoted=quoted, twice=quote(quoted, safe="").lower().replace(
            path.lower().replace("/", "%252f"), path.replace("/", "%252f")))  # fmt: skip

    foot = (
        f'<div><font><a target="_blank" href="{wrapped(f"privacy/{way_out}")}"><b>Don’t</b> tell</a></font></div>'
    )
    markup = f'<p>See <a href="{wrapped(f"l/{token}")}">our offer</a>, yes.</p>{foot}'
    assert tracking_html.tokens(markup) == {token, way_out}
    found = tracking_html.strip(markup, {token: "https://example.com/?a=1&b=2"}, [way_out])
    assert (
        found
        == '<p>See <a href="https://example.com/?a=1&amp;b=2">our offer</a>, yes.</p><div><font></font></div>'
    )
    said = tracking_html.unwrapped(f"See {escapes.unescape(wrapped(f'l/{token}'))}.", {token: "https://e.example"})
    assert said == "See https://e.example."
    assert tracking_html.strip(markup, {}) == markup


def test_a_link_whose_token_nobody_knows_stays_as_it_is() -> None:
    markup = link(f"https://old.example/l/{new_token()}")
    assert tracking_html.strip(markup, {}, public_url=URL) == markup


def test_a_plain_text_gets_its_addresses_back() -> None:
    told = tracking_html.unwrapped(f"See <{URL}/l/{PIXEL}>.", {PIXEL: "https://example.com/?a=1&b=2"})
    assert told == "See <https://example.com/?a=1&b=2>."


@pytest.mark.parametrize(
    "bad",
    ["<a ", '<a href="', "<img src=https://x/t/", f"<img {URL}/t/{PIXEL}.gif", "<a '", f"{URL}/l/",
     "<div><a href=", f"https://x/?u=%2Fl%2F{PIXEL}&", f'<a href="/privacy/{PIXEL}"><b>', "https://x/%2fl%2f",
     '<a "<a ""', "https://" + "a." * 40, f'<div><a href="{URL}/privacy/{PIXEL}">'],
)  # fmt: skip
def test_hostile_html_takes_linear_time_and_never_raises(bad: str) -> None:
    hostile = bad * (400_000 // len(bad))
    began = time.process_time()
    tracking_html.strip(hostile, {}, public_url=URL)
    tracking_html.tokens(hostile)
    cleaned = rich_text.clean(hostile)
    between = time.process_time()
    put_in(cleaned)
    assert time.process_time() - between + (between - began) / 3 < 2


@settings(max_examples=50)
@given(st.text(st.sampled_from('<>"= /ab-l:#&;href.'), max_size=200))
def test_any_text_is_survived(text: str) -> None:
    made, urls = put_in(text)
    tracking_html.strip(made, urls, [PIXEL], URL)
