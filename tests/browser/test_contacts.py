"""Contacts in Chromium: found, corrected in place, merged by keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser import filled
from tests.browser.conftest import Served, Watched
from tracker import contacts, people
from tracker.addresses import Address, normalize
from tracker.db import Sessions

pytestmark = pytest.mark.browser


def test_a_contact_is_found_corrected_and_merged(watched: Watched, served: Served, sessions: Sessions) -> None:
    with sessions() as session:
        team = filled.fill(session)
        viewer = people.viewer_of(team.alice, "test")
        address = "d.okafor@acme.test"
        contacts.ensure(session, viewer, Address("Dana Okafor", address, normalize(address)))
        session.commit()
    page = watched.page
    filled.sign_in(page.context, served, team.alice)
    page.goto("/contacts")
    page.get_by_label("Search contacts").press_sequentially("okafor")
    expect(page.locator(".person-row")).to_have_count(2)
    expect(page).to_have_url(re.compile("text=okafor"))

    page.locator(".person-row", has_text="Acme: two cold rooms").get_by_role("link", name="Dana Okafor").click()
    page.get_by_label("Title: empty. Change").click()
    page.get_by_label("Title", exact=True).fill("Head of logistics")
    page.keyboard.press("Enter")
    expect(page.locator(".contact-titles")).to_contain_text("Head of logistics, Acme")
    page.get_by_text("Add an address").click()
    page.get_by_label("Another address of theirs").fill("alice@team.example")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("own addresses")
    page.get_by_label("Another address of theirs").fill("dana@home.test")
    page.keyboard.press("Enter")
    expect(page.locator("#addresses")).to_contain_text("dana@home.test")

    page.goto("/contacts/duplicates")
    page.keyboard.press("j")
    page.get_by_role("link", name="Compare and merge Dana Okafor").press("Enter")
    expect(page.get_by_text("Both are called Dana Okafor and work at Acme")).to_be_visible()
    page.get_by_label("d.okafor@acme.test").press("Space")
    page.get_by_role("button", name="Merge").press("Enter")
    expect(page.get_by_text("Dana Okafor is one contact now")).to_be_visible()
    expect(page.locator(".address-line").first).to_contain_text("d.okafor@acme.test")
    expect(page.locator("#boxes")).to_contain_text("Acme: two cold rooms")
    assert [one for one in watched.complaints if "422" not in one] == []
