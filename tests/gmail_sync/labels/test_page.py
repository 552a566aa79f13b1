"""The page of a mailbox's labels, by its forms: without scripts, and for the mailbox's owner alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask

from config import rooms
from config.app import create_app
from config.settings import load
from gmail_sync.sandbox import Fault
from tests.gmail_sync.labels.world import Phone
from tests.gmail_sync.processes import SECRET
from tests.gmail_sync.syncing import BOB
from tests.tracker.web.factories_web import browser_of
from tracker import people
from tracker.people import User


@pytest.fixture
def app(database_url: str, phone: Phone) -> Iterator[Flask]:
    """The application, whose Google is the sandbox."""
    url = phone.team.sandbox.url
    settings = load(
        database_url=database_url, secret_key=SECRET, gmail_api_url=url, google_auth_url=f"{url}/o/oauth2/v2/auth",
        google_token_url=f"{url}/token", google_certs_url=f"{url}/oauth2/v3/certs",
    )  # fmt: skip
    furnished = rooms.furnish(settings)
    made = create_app(settings, furnished)
    made.config.update(TESTING=True, WTF_CSRF_ENABLED=False)
    yield made
    furnished.close()


def words_of(html: str) -> str:
    """What a page says."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def owner(phone: Phone) -> User:
    """Whose mailbox it is."""
    with phone.team.sessions() as session:
        return session.get_one(User, phone.mailbox.user_id)


def test_the_preview_says_what_will_happen_and_then_it_does(phone: Phone, app: Flask) -> None:
    threads = [phone.thread() for _ in range(3)]
    phone.sync()
    phone.a_box("Acme", *threads[:2])
    phone.label(threads[2], "Boxes/Sales/Old friends")
    phone.label(threads[0], "Boxes/Nonsense/Acme")
    phone.sync()
    browser, page = browser_of(app, owner(phone)), f"/mailboxes/{phone.mailbox.key}/labels"
    before = phone.labels()
    told = words_of(browser.get(page).text)
    assert "Boxes/Sales/Acme 2 is made" in told
    assert "Boxes/Sales/Old friends 1 a new box “Old friends” is made in Sales" in told
    assert "there is no pipeline “Nonsense” that you can see" in told
    assert "Threads that get one 2" in told
    cost = int(re.search(r"Cost, once ([\d,]+)", told)[1].replace(",", ""))  # type: ignore[index]
    assert phone.labels() == before
    phone.team.sandbox.stats.reset()
    assert browser.post(f"{page}/on").status_code == 303
    phone.sync()
    spent = phone.team.sandbox.stats.units(phone.address)
    assert sum(units for method, units in spent.items() if method != "history.list") == cost
    assert phone.of_thread(threads[1]) == {"Boxes/Sales/Acme"}
    assert phone.in_boxes(threads[2]) == {"Old friends"}
    on = words_of(browser.get(page).text)
    assert "Boxes with a label 2 Threads that carry one 3" in on
    assert "Not understood Boxes/Nonsense Nothing was done" in on


def test_a_label_deleted_in_gmail_is_made_again_when_it_is_asked_for(phone: Phone, app: Flask) -> None:
    thread = phone.thread()
    phone.sync()
    phone.a_box("Acme", thread)
    phone.on()
    phone.delete("Boxes/Sales/Acme")
    phone.sync()
    assert phone.in_boxes(thread) == {"Acme"}
    assert "Boxes/Sales/Acme" not in phone.labels()
    browser, page = browser_of(app, owner(phone)), f"/mailboxes/{phone.mailbox.key}/labels"
    assert "Deleted in Gmail" in browser.get(page).text
    browser.post(f"{page}/again")
    phone.sync()
    assert phone.of_thread(thread) == {"Boxes/Sales/Acme"}
    assert phone.is_quiet()


def test_switching_off_leaves_the_labels_or_removes_them(phone: Phone, app: Flask) -> None:
    thread = phone.thread()
    phone.sync()
    phone.a_box("Acme", thread)
    phone.on()
    browser, page = browser_of(app, owner(phone)), f"/mailboxes/{phone.mailbox.key}/labels"
    browser.post(f"{page}/off")
    phone.sync()
    assert phone.of_thread(thread) == {"Boxes/Sales/Acme"}
    phone.unlabel(thread, "Boxes/Sales/Acme")
    phone.sync()
    assert phone.in_boxes(thread) == {"Acme"}  # nobody listens any more
    browser.post(f"{page}/on")
    phone.sync()
    browser.post(f"{page}/off", data={"remove": "yes"})
    phone.sync()
    assert phone.labels() == {}
    assert phone.in_boxes(thread) == {"Acme"}
    assert "What switching on will do" in browser.get(page).text


def test_gmail_that_does_not_answer_leaves_a_preview_that_says_so(phone: Phone, app: Flask) -> None:
    phone.sync()
    phone.team.sandbox.faults.add(Fault(kind="status", method="labels.list", status=403, reason="domainPolicy"))
    told = browser_of(app, owner(phone)).get(f"/mailboxes/{phone.mailbox.key}/labels")
    assert told.status_code == 200
    assert "Gmail could not be asked for your labels just now" in told.text


def test_nobody_elses_mailbox(phone: Phone, app: Flask) -> None:
    phone.team.connect(BOB)
    with phone.team.sessions() as session:
        bob = people.by_address(session, BOB)
        assert bob is not None
    browser, page = browser_of(app, bob), f"/mailboxes/{phone.mailbox.key}/labels"
    assert browser.get(page).status_code == 404
    assert [browser.post(f"{page}/{what}").status_code for what in ("on", "off", "again")] == [404] * 3
