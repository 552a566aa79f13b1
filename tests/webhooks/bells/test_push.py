"""Web Push end to end: from an event to what a browser decrypts, and what the push service's answers lead to."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from tests.tracker.web.conftest import Team
from tests.webhooks.bells.ringing import Ringing, tracked_mail
from tests.webhooks.bells.services import Browser, PushService
from tracker import contacts
from tracker.addresses import Address
from tracker.conversations import Conversation
from tracker.db import transaction
from tracker.messages import Copy
from webhooks.bells import deliveries, push, telling
from webhooks.bells.bells import Made
from webhooks.bells.deliveries import ARROWS, LEASE, LIFE, PushDelivery, State
from webhooks.bells.flights import Flights, origin_of
from webhooks.bells.notices import Notification
from webhooks.bells.push import Address as Endpoint
from webhooks.bells.push import Push, Signer
from webhooks.bells.subscriptions import PushSubscription
from webhooks.tracks import TrackedEmail
from webhooks.web.base import assets

STATIC = Path(assets.static_folder or "")


@pytest.fixture
def proposal(write: Session, team: Team) -> TrackedEmail:
    """Alice's proposal to Anna."""
    tracked = tracked_mail(write, team.alice, team.mailbox, to=("anna@acme.test",))
    contacts.ensure(
        write, team.viewer, Address("Anna Berg", "anna@acme.test", "anna@acme.test")
    ).name = "Anna Berg"
    write.commit()
    return tracked


@pytest.fixture
def chrome(service: PushService, ringing: Ringing, team: Team) -> Browser:
    """Alice's browser, switched on."""
    made = service.browser()
    ringing.switch_on(team.alice, made.keys)
    return made


def states(ringing: Ringing) -> list[str]:
    return [one.state for one in ringing.deliveries()]


def test_a_read_rings_in_the_browser_and_leads_to_its_conversation(
    browser: FlaskClient, service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail,
    write: Session,
) -> None:  # fmt: skip
    ringing.read(proposal)
    ringing.work()
    [said] = service.rang(chrome)
    assert said["title"] == "Anna Berg probably read “Your proposal”"
    assert said["body"] == "Through Gmail’s proxy"
    [came] = service.came
    assert came.headers["TTL"] == str(24 * 3600)
    assert (came.headers["Urgency"], came.headers["Content-Encoding"]) == ("high", "aes128gcm")
    assert len(came.headers["Topic"]) == 32
    assert b"Anna" not in came.body
    conversation = write.get_one(Conversation, proposal.conversation_id)
    assert browser.get(said["url"]).headers["Location"] == f"/c/{conversation.key}"
    assert states(ringing) == [State.SENT]


def test_the_signature_names_the_push_service_and_is_made_once(
    service: PushService, chrome: Browser, ringing: Ringing, team: Team, write: Session
) -> None:
    for number in range(2):
        ringing.read(tracked_mail(write, team.alice, team.mailbox, subject=f"Offer {number}"))
        write.commit()
        ringing.read(tracked_mail(write, team.alice, team.mailbox, subject=f"Plan {number}"))
    write.commit()
    ringing.work()
    assert len({one.headers["Authorization"] for one in service.came}) == 1
    signer = Signer(push_private(), "mailto:admin@team.example")
    first = signer.authorization("https://push.example", 1000.0)
    assert signer.authorization("https://push.example", 2000.0) == first
    assert signer.authorization("https://other.example", 2000.0) != first
    assert signer.authorization("https://push.example", 1000.0 + push.JWT_LIFE) != first


def push_private() -> str:
    return "x4mR2ovBmHbjK_5u1z5lxJvZOXPDqRrL5gLh6mWZ5mM"


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_is_gone_is_forgotten(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail, write: Session, status: int
) -> None:
    service.answer = lambda _: (status, {})
    ringing.read(proposal)
    ringing.work()
    assert write.scalars(select(PushSubscription)).all() == []
    assert states(ringing) == []
    assert len(ringing.told()) == 1  # it is in the list all the same
    ringing.read(proposal, first=False)
    ringing.later(days=1)
    ringing.work()
    assert len(service.came) == 1


def test_a_busy_push_service_is_asked_again_when_it_says(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail
) -> None:
    service.answer = lambda _: (429, {"Retry-After": "120"})
    ringing.read(proposal)
    ringing.work()
    ringing.later(seconds=119)
    ringing.work()
    assert (states(ringing), len(service.came)) == ([State.WAITING], 1)
    service.answer = lambda _: (201, {})
    ringing.later(seconds=1)
    ringing.work()
    assert (states(ringing), len(service.rang(chrome))) == ([State.SENT], 2)


def test_a_push_service_that_is_down_is_asked_less_and_less_and_not_for_ever(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail, write: Session
) -> None:
    service.answer = lambda _: (503, {"Retry-After": "soon"})
    ringing.read(proposal)
    for _ in range(60):
        ringing.work()
        ringing.later(minutes=20)
    assert states(ringing)[0] in (State.DROPPED, State.EXPIRED)
    assert 5 < len(service.came) <= deliveries.ATTEMPTS
    assert write.scalars(select(PushSubscription.failures)).one() == len(service.came)


def test_what_is_no_news_any_more_does_not_ring(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail
) -> None:
    service.answer = lambda _: (500, {})
    ringing.read(proposal)
    ringing.work()
    ringing.clock += LIFE
    ringing.work()
    assert (states(ringing), len(service.came)) == ([State.EXPIRED], 1)


@pytest.mark.parametrize("status", [400, 403, 413, 301, 307])
def test_what_is_refused_is_dropped_and_no_redirect_is_followed(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail, status: int
) -> None:
    service.answer = lambda _: (status, {"Location": f"{service.url}/elsewhere"})
    ringing.read(proposal)
    ringing.work()
    ringing.later(hours=2)
    ringing.work()
    [row] = ringing.deliveries()
    assert (row.state, len(service.came)) == (State.DROPPED, 1)
    assert str(status) in str(row.reason)


def test_what_was_seen_on_a_page_does_not_ring(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail, browser: FlaskClient
) -> None:
    service.answer = lambda _: (503, {})
    ringing.read(proposal)
    ringing.work()
    browser.post("/bell/seen", data={"upto": ringing.told()[0].key})
    ringing.later(minutes=1)
    ringing.work()
    assert (states(ringing), len(service.came)) == ([State.SEEN], 1)


def test_the_push_of_a_worker_that_died_rings_again_with_the_same_tag(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail, team: Team
) -> None:
    ringing.read(proposal)
    dying = ringing.worker()
    dying._send = lambda made: push.send(  # type: ignore[method-assign]
        Endpoint(**chrome.keys), made.push or Push({}, 1), made.signer or Signer(push_private(), ""), private=True
    )
    dying.step()  # it reached the push service, and nobody wrote so down
    assert states(ringing) == [State.SENDING]
    ringing.work()
    assert len(service.came) == 1  # the other worker waits for as long as it may be at it
    ringing.clock += LEASE
    ringing.work()
    one, other = service.rang(chrome)
    assert one["tag"] == other["tag"]
    assert states(ringing) == [State.SENT]


def test_a_claim_that_was_taken_over_is_its_new_holders_to_settle(
    chrome: Browser, ringing: Ringing, proposal: TrackedEmail
) -> None:
    ringing.read(proposal)
    with transaction(ringing.sessions) as session:
        telling.read_some(session, ringing.clock)
    with transaction(ringing.sessions) as session:
        [first] = deliveries.claim(session, ringing.clock, 10)
    ringing.clock += LEASE
    with transaction(ringing.sessions) as session:
        [second] = deliveries.claim(session, ringing.clock, 10)
    with transaction(ringing.sessions) as session:
        late = deliveries.Settled(State.DROPPED, "late")
        assert not deliveries.settle(session, first, late, ringing.clock)
        assert deliveries.settle(session, second, deliveries.Settled(State.SENT), ringing.clock)
    assert states(ringing) == [State.SENT]


def test_two_workers_ring_once(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail
) -> None:
    ringing.read(proposal)
    workers = [ringing.worker(threads=2) for _ in range(2)]
    for one in workers:
        one.start()
    try:
        import time

        until = time.monotonic() + 5
        while states(ringing) != [State.SENT] and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
    finally:
        for one in workers:
            one.stop()
    assert (len(service.came), len(ringing.told())) == (1, 1)


def test_who_may_not_read_the_mail_any_more_hears_nothing(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail, write: Session,
    browser: FlaskClient,
) -> None:  # fmt: skip
    ringing.read(proposal)
    with transaction(ringing.sessions) as session:
        telling.read_some(session, ringing.clock)
    write.execute(update(Copy).where(Copy.message_id == proposal.message_id).values(label_ids=["TRASH"]))
    write.commit()
    ringing.work()
    assert (service.came, states(ringing)) == ([], [State.DROPPED])
    assert "proposal" not in browser.get("/bell").text
    assert browser.get(f"/bell/{ringing.told()[0].key}").status_code == 404


def test_a_storm_is_ten_pushes_and_one_summary(
    service: PushService, chrome: Browser, ringing: Ringing, team: Team, write: Session
) -> None:
    mails = [tracked_mail(write, team.alice, team.mailbox, subject=f"Offer {number}") for number in range(22)]
    write.commit()
    for one in mails[:15]:
        ringing.read(one)
    ringing.work()
    for one in mails[15:]:
        ringing.read(one)
        ringing.later(seconds=1)
        ringing.work()
    assert len(service.came) == deliveries.BURST
    ringing.later(minutes=1)
    ringing.work()
    rang = service.rang(chrome)
    assert len(rang) == deliveries.BURST + 1
    assert rang[-1]["title"] == "12 more things to know"
    assert rang[-1]["url"] == f"/bell?upto={ringing.told()[-1].key}"  # a later one is another, and rings
    assert set(states(ringing)) == {State.SENT}


def test_each_browser_of_a_person_rings_and_nobody_elses(
    service: PushService, chrome: Browser, ringing: Ringing, team: Team, proposal: TrackedEmail
) -> None:
    laptop, bobs = service.browser("laptop"), service.browser("bobs")
    ringing.switch_on(team.alice, laptop.keys)
    ringing.switch_on(team.bob, bobs.keys)
    ringing.read(proposal)
    ringing.work()
    assert [len(service.rang(one)) for one in (chrome, laptop, bobs)] == [1, 1, 0]


def test_a_browser_that_somebody_else_takes_over_rings_for_them_alone(
    service: PushService, chrome: Browser, ringing: Ringing, team: Team, proposal: TrackedEmail
) -> None:
    ringing.switch_on(team.bob, chrome.keys)
    ringing.read(proposal)
    ringing.work()
    assert service.came == []


def test_a_deleted_notification_takes_its_deliveries_along(
    chrome: Browser, ringing: Ringing, proposal: TrackedEmail, write: Session
) -> None:
    ringing.read(proposal)
    ringing.work()
    write.execute(delete(Notification))
    write.commit()
    assert states(ringing) == []


def test_what_has_ended_has_no_arrow_on() -> None:
    assert {state for state, to in ARROWS.items() if not to} == {
        State.SENT, State.SEEN, State.EXPIRED, State.DROPPED,
    }  # fmt: skip
    assert set(ARROWS) == set(State)


def test_what_became_of_deliveries_is_forgotten_after_a_while(
    chrome: Browser, ringing: Ringing, proposal: TrackedEmail
) -> None:
    ringing.read(proposal)
    ringing.work()
    with transaction(ringing.sessions) as session:
        assert deliveries.tidy(session, ringing.clock) == 0
        assert deliveries.tidy(session, ringing.clock + deliveries.KEPT + timedelta(minutes=1)) == 1
        assert session.scalars(select(PushDelivery)).all() == []


def test_no_more_is_claimed_than_can_be_sent_now_and_a_full_push_service_waits(
    service: PushService, chrome: Browser, ringing: Ringing, team: Team, write: Session
) -> None:
    elsewhere = Browser("https://other.example/bob")
    ringing.switch_on(team.bob, elsewhere.keys)
    for number in range(4):
        for user, mailbox in ((team.alice, team.mailbox), (team.bob, team.bobs)):
            mail = tracked_mail(write, user, mailbox, subject=f"{user.name} {number}")
            write.commit()
            ringing.read(mail)
    with transaction(ringing.sessions) as session:
        telling.read_some(session, ringing.clock)
    ours, theirs = origin_of(chrome.endpoint), origin_of(elsewhere.endpoint)

    def claimed(room: deliveries.Room | int) -> list[str]:
        with transaction(ringing.sessions) as session:
            found = deliveries.claim(session, ringing.clock, room)
            return [origin_of(one.subscription.endpoint) for one in found]

    assert len(claimed(1)) == 1
    assert claimed(deliveries.Room(3, {ours: 0})) == [theirs] * 3
    assert claimed(deliveries.Room(9, {ours: 2}, most=0)) == [ours] * 2


def test_a_slow_push_service_takes_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    flights = Flights(24)
    assert flights.most == 16
    flights.begin("https://slow.example/")
    assert flights.room() == {"https://slow.example/": 15}
    begun = flights.leave("https://slow.example/")
    monkeypatch.setattr("webhooks.bells.flights.SLOW", -1.0)
    assert flights.room() == {"https://slow.example/": 2}
    assert not flights.end("https://slow.example/", begun)
    assert (flights.room(), flights.free()) == ({"https://slow.example/": 3}, 24)


def test_what_was_seen_while_its_worker_died_does_not_ring(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail, write: Session
) -> None:
    ringing.read(proposal)
    with transaction(ringing.sessions) as session:
        telling.read_some(session, ringing.clock)
        deliveries.claim(session, ringing.clock, 1)
    write.execute(update(Notification).values(seen_at=ringing.clock))
    write.commit()
    ringing.clock += LEASE
    ringing.work()
    assert (states(ringing), service.came) == ([State.SEEN], [])


def test_a_claim_that_waited_too_long_is_not_sent(
    service: PushService, chrome: Browser, ringing: Ringing, proposal: TrackedEmail
) -> None:
    ringing.read(proposal)
    hand_over = ringing.bells._hand_over

    def late(made: Made) -> None:
        ringing.later(seconds=50)
        hand_over(made)

    ringing.bells._hand_over = late  # type: ignore[method-assign]
    ringing.bells.step()
    assert (states(ringing), service.came) == ([State.SENDING], [])


def test_one_test_at_a_time_and_the_next_rings_again(
    service: PushService, chrome: Browser, ringing: Ringing, write: Session
) -> None:
    subscription = write.scalars(select(PushSubscription)).one()
    for _ in range(2):
        for _ in range(3):
            deliveries.add_test(write, subscription, ringing.clock)
        write.commit()
        ringing.work()
        ringing.later(seconds=1)
    one, other = service.rang(chrome)
    assert one["tag"] == other["tag"]
    assert one["url"] != other["url"]


# What the scripts of the browser do, without a browser.
SUMMARIES = """
const vm = require("vm"), fs = require("fs"), shown = [], hear = {}, there = {};
const registration = {
  getNotifications: async ({ tag }) => (there[tag] ? [there[tag]] : []),
  showNotification: async (title, options) => { there[options.tag] = options; shown.push(options.renotify); },
};
const self = { location: { origin: "https://t.example" }, registration, clients: { matchAll: async () => [] }, addEventListener: (kind, how) => { hear[kind] = how; } };
vm.runInNewContext(fs.readFileSync(process.argv[1], "utf8"), { self, URL });
(async () => {
  for (const url of JSON.parse(process.argv[2])) {
    let done;
    hear.push({ data: { json: () => ({ title: "t", tag: "s", url }) }, waitUntil: (one) => { done = one; } });
    await done;
  }
  console.log(JSON.stringify(shown));
})();
"""  # noqa: E501
PAGE = """
const vm = require("vm"), fs = require("fs"), kept = JSON.parse(process.argv[2]);
let gone = false;
const found = { endpoint: "https://push.example/1", unsubscribe: async () => { gone = true; } };
const here = { dataset: { bell: "bob", newest: "", news: "/bell/news" }, matches: () => false };
const document = { readyState: "complete", addEventListener: () => {}, querySelector: (one) => (one === "[data-bell]" ? here : null) };
const getRegistration = async () => ({ pushManager: { getSubscription: async () => found } });
const localStorage = { getItem: (name) => kept[name] ?? null, setItem: (name, value) => { kept[name] = value; } };
const fetch = async () => ({ ok: true, json: async () => ({ newest: "", ring: [], mine: process.argv[3] === "mine" }) });
class Notification { static permission = "granted"; }
const window = { Notification, PushManager: class {}, isSecureContext: true };
const navigator = { serviceWorker: { getRegistration } };
vm.runInNewContext(fs.readFileSync(process.argv[1], "utf8"), { document, window, navigator, localStorage, fetch, Notification, crypto, TextEncoder, URLSearchParams, setTimeout, clearTimeout });
setTimeout(() => console.log(JSON.stringify([gone, kept["tracker.bell.owner"] ?? null])), 50);
"""  # noqa: E501


def node(script: str, *arguments: str) -> Any:
    program = shutil.which("node")
    if program is None:
        pytest.skip("there is no node")
    done = subprocess.run([program, "-e", script, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_second_summary_rings_and_the_same_once_more_does_not() -> None:
    urls = json.dumps(["/bell?upto=a", "/bell?upto=a", "/bell?upto=b"])
    assert node(SUMMARIES, str(STATIC / "sw.js"), urls) == [False, False, True]


@pytest.mark.parametrize(
    ("kept", "server", "gone", "owner"),
    [
        ({"tracker.bell.owner": "bob"}, "", False, "bob"),
        ({"tracker.bell.owner": "alice"}, "mine", True, "alice"),
        ({}, "", True, None),
        ({}, "mine", False, "bob"),
    ],
)
def test_on_a_page_of_somebody_else_the_subscription_ends(
    kept: dict[str, str], server: str, gone: bool, owner: str | None
) -> None:
    assert node(PAGE, str(STATIC / "bell.js"), json.dumps(kept), server) == [gone, owner]
