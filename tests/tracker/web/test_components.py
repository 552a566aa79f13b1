"""The components: colours that can be read, tokens and icons that exist, and the page that shows them all."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from flask import Flask, render_template_string, url_for
from flask.testing import FlaskClient

import tracker.web
from tracker.web import notices

WEB = Path(tracker.web.__file__).parent
TEMPLATES = (*WEB.glob("templates/**/*.html"), *WEB.parents[1].glob("gmail_sync/templates/**/*.html"))
SHEETS = {sheet.name: sheet.read_text() for sheet in sorted(WEB.glob("static/css/*.css"))}
TEXT, MARK = 4.5, 3.0  # WCAG 2.2: 1.4.3 for words, 1.4.11 for what shows a control or the focus

GROUNDS = ("sunken", "ground", "surface", "raised", "hover", "accent-soft")
#: Which words stand on which grounds, and what has to be seen on them.
WORDS = [
    *product(("ink", "ink-quiet", "accent-ink", "bad"), GROUNDS),
    ("ink", "selected"),
    *((one, f"{one}-soft") for one in ("good", "warn", "bad")),
    *product(("on-accent",), ("accent", "accent-hover")),
    *(("tint-ink", f"tint-{number}") for number in range(8)),
]
MARKS = [
    *product(("focus", "line-strong"), ("ground", "surface", "raised", "hover")),
    ("accent", "surface"),
    ("accent", "ground"),
]


@cache
def tokens(scheme: str) -> dict[str, str]:
    """The tokens of base.css in light or dark."""
    light, _, rest = SHEETS["base.css"].partition("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+):\s*([^;]+);", light))
    if scheme == "dark":
        found |= dict(re.findall(r"--([\w-]+):\s*([^;]+);", rest.partition("\n}\n")[0]))
    return found


def luminance(color: str) -> float:
    """WCAG's relative luminance of `#rrggbb`."""
    assert re.fullmatch(r"#[0-9a-f]{6}", color), f"{color}: words stand on opaque colours only"
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(scheme: str, one: str, other: str) -> float:
    """WCAG's contrast ratio of two tokens."""
    dark, bright = sorted(luminance(tokens(scheme)[name]) for name in (one, other))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_on_every_ground(scheme: str) -> None:
    """WCAG AA."""
    short = {pair: round(contrast(scheme, *pair), 2) for pair in WORDS if contrast(scheme, *pair) < TEXT}
    short |= {pair: round(contrast(scheme, *pair), 2) for pair in MARKS if contrast(scheme, *pair) < MARK}
    assert not short


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_rule_that_sets_words_and_ground_sets_them_readable(scheme: str) -> None:
    """Every rule of every sheet, so that a page's own rules are seen too."""
    short = []
    for sheet, css in SHEETS.items():
        for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
            words = re.search(r"(?<![\w-])color:\s*var\(--([\w-]+)\)", body)
            ground = re.search(r"background(?:-color)?:\s*var\(--([\w-]+)\)", body)
            if words and ground and contrast(scheme, words[1], ground[1]) < TEXT:
                short.append(f"{sheet}: {selector.strip()}")
    assert not short


def test_the_sheets_use_tokens_that_exist_and_no_colours_of_their_own() -> None:
    """So that light and dark stay whole."""
    known = set(re.findall(r"--([\w-]+):", "".join(SHEETS.values())))
    for sheet, css in SHEETS.items():
        used = set(re.findall(r"var\(--([\w-]+)(?=\))", css))
        assert used <= known, f"{sheet}: {used - known}"
        own = re.sub(r"\.mail-frame \{[^}]*\}", "", css)  # mail is written for white paper
        if sheet != "base.css":
            assert not re.findall(r"(?:#[0-9a-fA-F]{3,8}\b|\b(?:rgb|hsl|oklch)a?\()[^;}]*[;}]", own), sheet


def test_every_icon_that_a_template_asks_for_is_drawn() -> None:
    """A missing one would be an empty place."""
    drawn = set(re.findall(r'symbol id="([\w-]+)"', (WEB / "static" / "icons.svg").read_text()))
    for template in TEMPLATES:
        asked = set(re.findall(r'\bicon(?:_button)?\("([\w-]+)"\)?|icon_name="([\w-]+)"', template.read_text()))
        missing = {name for pair in asked for name in pair if name} - drawn
        assert not missing, f"{template.name}: {missing}"


def test_templates_carry_no_style_or_script_of_their_own() -> None:
    """The policy would refuse them."""
    for template in TEMPLATES:
        handler = r"\son(?:click|change|input|key|load|submit|error|mouse)\w*="
        found = re.findall(
            rf"<style|\sstyle=|{handler}|hx-on|javascript:|<script(?![^>]*\ssrc=)", template.read_text()
        )
        assert not found, f"{template.name}: {found}"


def test_the_page_shows_every_component(browser: FlaskClient) -> None:
    """Each macro of _ui.html is on it, but for those that need mail, and those that others are made of."""
    assert browser.get("/components").status_code == 200
    macros = set(re.findall(r"{% macro (\w+)\(", (WEB / "templates" / "_ui.html").read_text()))
    shown = (WEB / "templates" / "components.html").read_text()
    shown += (WEB / "templates" / "_components_lines.html").read_text()
    elsewhere = {
        "message",
        "connect_mailbox",
        "suggestion",
        "box_tag",
        "stage_line",
        "flashes",
        "hiddens",
        "keyed",
        "keys",
    }
    assert {name for name in macros - elsewhere if f"ui.{name}(" not in shown} == set()


def test_the_page_is_not_for_strangers(app: Flask) -> None:
    """Signed in only."""
    answer = app.test_client().get("/components")
    assert answer.status_code == 302
    assert "/sign-in" in answer.location


def test_a_notice_brings_a_way_back(browser: FlaskClient) -> None:
    """Server-rendered: a form that posts."""
    page = browser.post("/components", data={"name": "Acme"}, follow_redirects=True).text
    notice = page[page.index('class="notice done fleeting undoable"') :]
    assert "Saved Acme" in notice
    assert 'action="/components"' in notice
    assert 'name="undone" value="1"' in notice
    page = browser.post("/components", data={"undone": "1"}, follow_redirects=True).text
    assert "Taken back" in page
    assert "undoable" not in page


def test_a_dialog_comes_back_open_with_the_refusal(browser: FlaskClient) -> None:
    """What was typed is kept, the reason stands beside it."""
    answer = browser.post("/components", data={"_place": "demo", "stage": "lead"})
    assert answer.status_code == 422
    dialog = re.search(r'<dialog[^>]*id="new-box".*?</dialog>', answer.text, re.DOTALL)
    assert dialog
    assert " open>" in dialog[0][:160]
    assert "A name is needed" in dialog[0]
    assert '<option value="lead" selected>' in dialog[0]


def test_what_people_wrote_is_escaped_in_every_component(app: Flask) -> None:
    """Names come from mail."""
    bad = "<script>\"'x"
    with app.test_request_context():
        notices.undoable(bad, "components.show", {"a": bad})
        html = render_template_string(
            '{% import "_ui.html" as ui with context %}'
            "{{ ui.button(bad, title=bad) }}{{ ui.icon_button('edit', bad) }}{{ ui.chip(bad, bad, '/') }}"
            "{{ ui.badge(bad) }}{{ ui.data([(bad, bad)]) }}{{ ui.inline_edit(bad, 'n', bad, '/') }}"
            "{{ ui.person(bad) }}{{ ui.avatars([bad]) }}{{ ui.tabs(bad, [(bad, '/', true)]) }}"
            "{{ ui.progress(bad, words=bad) }}{{ ui.note(bad) }}{{ ui.flashes() }}"
            "{% call ui.panel(bad) %}{% endcall %}{% call ui.menu(bad) %}{% endcall %}"
            "{% call ui.dialog('d', bad) %}{% endcall %}",
            bad=bad,
        )
        assert url_for("components.show") in html
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 15
