"""Quota, faults and batches, through HTTP and through Google's own client."""

import http.client
import json
import re
import threading

import google.oauth2.credentials
import pytest
import requests
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import BatchError, HttpError

from gmail_sync.sandbox import Fault
from gmail_sync.sandbox.quota import UNITS
from tests import discovery
from tests.sandbox_fixtures import ALICE, BOB, Api, as_raw, mail


@pytest.fixture
def service(sandbox):
    """Google's client, pointed at the sandbox as GMAIL.md says."""
    info = {name: value for name, value in sandbox.credentials(ALICE).items() if name != "type"}
    document = discovery.document() | {"rootUrl": f"{sandbox.url}/", "baseUrl": f"{sandbox.url}/"}
    credentials = google.oauth2.credentials.Credentials(None, **info)
    with build_from_document(document, credentials=credentials) as built:
        yield built


def reason(answer):
    discovery.check_error(answer.json())
    return answer.json()["error"]["errors"][0]["reason"]


def test_prices_are_googles():
    table = """1 getProfile labels.list labels.get|2 history.list|
        5 messages.list drafts.list labels.create messages.modify|10 threads.list threads.modify drafts.create|
        15 drafts.update|20 messages.get attachments.get drafts.get threads.trash|
        25 messages.insert messages.import|40 threads.get|50 messages.batchModify|
        100 messages.send drafts.send watch"""
    for line in table.split("|"):
        units, *methods = line.split()
        assert {UNITS[method] for method in methods} == {int(units)}, line


def test_a_minutes_budget_refuses_by_turns_and_comes_back(make_sandbox, clock):
    sandbox = make_sandbox(units_per_minute=4, clock=clock)
    api = Api(sandbox, ALICE)
    for _ in range(4):
        api.get("profile")
        clock.advance(seconds=1)
    refused = [api.call("GET", "profile") for _ in range(4)]
    assert {answer.status_code for answer in refused} == {403, 429}
    assert {reason(answer) for answer in refused} == {"rateLimitExceeded", "userRateLimitExceeded"}
    texts = [answer.json()["error"]["message"] for answer in refused]
    stamps = [found[1] for text in texts if (found := re.search(r"Retry after (\S+)", text))]
    assert stamps == ["2026-08-11T09:01:00.000Z"] * 2
    assert Api(sandbox, BOB).call("GET", "profile").status_code == 200
    clock.advance(seconds=56)
    assert api.call("GET", "profile").status_code == 200
    assert api.call("GET", "profile").status_code in (403, 429)
    assert sandbox.stats.units(ALICE) == {"getProfile": 5}
    assert sandbox.stats.refused(ALICE) == 5


def test_cost_does_not_depend_on_format_or_fields(sandbox, api):
    message_id = sandbox.mailbox(ALICE).insert(mail())
    api.get(f"messages/{message_id}", format="minimal", fields="id")
    api.get(f"messages/{message_id}")
    assert sandbox.stats.units(ALICE) == {"messages.get": 40}
    assert sandbox.stats.units_total(ALICE) == 40
    sandbox.stats.reset()
    assert sandbox.stats.calls(ALICE) == {}


def test_too_many_requests_at_once_are_refused(sandbox):
    sandbox.quota.concurrent_requests = 2
    with sandbox.quota.in_flight(ALICE), sandbox.quota.in_flight(ALICE):
        answer = Api(sandbox, ALICE).call("GET", "profile")
        assert Api(sandbox, BOB).call("GET", "profile").status_code == 200
    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == "Too many concurrent requests for user"
    assert Api(sandbox, ALICE).call("GET", "profile").status_code == 200


def test_drop_closes_without_executing_and_lost_answer_after_it(sandbox, api):
    body = {"raw": as_raw(mail(sender=ALICE, to=BOB))}
    for kind, sent in (("drop", 0), ("lost_answer", 1)):
        fault = sandbox.faults.add(Fault(kind, method="messages.send", times=1))
        with pytest.raises(requests.ConnectionError):
            api.call("POST", "messages/send", body)
        assert fault.hits == 1
        assert len(sandbox.mailbox(BOB).message_ids()) == sent
    assert api.call("POST", "messages/send", body).status_code == 200


def test_httplib2_repeats_a_dropped_post(sandbox, service):
    """GMAIL.md's trap: one execute() without retries reaches the server twice."""
    service.users().getProfile(userId="me").execute()
    fault = sandbox.faults.add(Fault("lost_answer", method="messages.send", times=1))
    body = {"raw": as_raw(mail(sender=ALICE, to=BOB))}
    service.users().messages().send(userId="me", body=body).execute(num_retries=0)
    assert fault.hits == 1
    assert len(sandbox.mailbox(BOB).message_ids()) == 2


def test_faults_choose_method_user_times_skip_and_chance(sandbox, api):
    sandbox.faults.add(
        Fault("status", method="labels.*", user=ALICE, times=2, skip=1, status=503, reason="backendError")
    )
    assert [api.call("GET", "labels").status_code for _ in range(4)] == [200, 503, 503, 200]
    assert Api(sandbox, BOB).call("GET", "labels").status_code == 200
    sandbox.faults.add(Fault("status", probability=0.5, retry_after=7))
    answers = [api.call("GET", "profile") for _ in range(40)]
    struck = [answer for answer in answers if answer.status_code == 429]
    assert 5 < len(struck) < 35
    assert struck[0].headers["Retry-After"] == "7"
    sandbox.faults.clear()
    assert api.call("GET", "profile").status_code == 200


def test_latency_is_waited(sandbox, api):
    sandbox.faults.add(Fault("latency", method="getProfile", seconds=0.2))
    assert api.call("GET", "profile").elapsed.total_seconds() >= 0.2


def test_a_dropped_connection_has_no_answer_at_all(sandbox, api):
    sandbox.faults.add(Fault("drop", method="getProfile"))
    connection = http.client.HTTPConnection(sandbox.url.removeprefix("http://"))
    connection.request("GET", "/gmail/v1/users/me/profile", headers=dict(api.session.headers))
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()


def test_batch_parts_fail_one_by_one_and_are_charged_one_by_one(sandbox, service):
    box = sandbox.mailbox(ALICE)
    given = [box.insert(mail(str(n))) for n in range(3)]
    got = {}

    def took(request_id, answer, error):
        got[request_id] = error.status_code if error else answer["id"]

    batch = service.new_batch_http_request(callback=took)
    for message_id in [*given, "19ffffffffffffff"]:
        batch.add(service.users().messages().get(userId="me", id=message_id), request_id=message_id)
    batch.execute()
    assert got == {message_id: message_id for message_id in given} | {"19ffffffffffffff": 404}
    assert sandbox.stats.calls(ALICE) == {"messages.get": 4}
    assert sandbox.stats.units_total(ALICE) == 80


def test_batch_carries_writes(sandbox, service):
    message_id = sandbox.mailbox(ALICE).insert(mail())
    batch = service.new_batch_http_request()
    body = {"addLabelIds": ["STARRED"], "removeLabelIds": []}
    batch.add(service.users().messages().modify(userId="me", id=message_id, body=body))
    batch.add(service.users().labels().create(userId="me", body={"name": "From a batch"}))
    batch.execute()
    assert "STARRED" in sandbox.mailbox(ALICE).label_ids(message_id)
    assert sandbox.mailbox(ALICE).labels.id_of("From a batch")


def test_batch_of_more_than_100_is_refused(sandbox, service):
    batch = service.new_batch_http_request()
    for _ in range(101):
        batch.add(service.users().getProfile(userId="me"))
    with pytest.raises((BatchError, HttpError)):
        batch.execute()
    assert sandbox.stats.calls(ALICE) == {}


def test_batch_faults_strike_the_whole_or_a_part(sandbox, service):
    sandbox.faults.add(Fault("status", method="getProfile", skip=1, times=1, status=429))
    errors = []
    batch = service.new_batch_http_request(callback=lambda _id, _answer, error: errors.append(error))
    for _ in range(3):
        batch.add(service.users().getProfile(userId="me"))
    batch.execute()
    assert [bool(error) for error in errors] == [False, True, False]
    sandbox.faults.add(Fault("status", method="batch", times=1, status=503, reason="backendError"))
    whole = service.new_batch_http_request()
    whole.add(service.users().getProfile(userId="me"))
    with pytest.raises((BatchError, HttpError)):
        whole.execute()


def test_googles_client_sends_a_long_get_as_a_post(sandbox, service):
    message_id = sandbox.mailbox(ALICE).insert(mail())
    names = [f"X-Header-{n:04d}" for n in range(200)]
    got = (
        service.users()
        .messages()
        .get(userId="me", id=message_id, format="metadata", metadataHeaders=names)
        .execute()
    )
    assert got["payload"]["headers"] == []


def test_two_threads_get_their_own_answers(sandbox):
    sandbox.quota.concurrent_requests = 0
    box = sandbox.mailbox(ALICE)
    given = [box.insert(mail(str(n))) for n in range(20)]
    wrong = []

    def work():
        mine = Api(sandbox, ALICE)
        wrong.extend(message_id for message_id in given if mine.get(f"messages/{message_id}")["id"] != message_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sandbox.stats.calls(ALICE)["messages.get"] == 80


def test_the_check_rejects_unknown_fields_types_formats_and_enums():
    good = {"emailAddress": "a@b", "historyId": "18446744073709551615", "messagesTotal": 1}
    discovery.check("getProfile", good)
    for bad in ({"colour": 1}, {"historyId": 5}, {"historyId": "-1"}, {"messagesTotal": 1 << 31}):
        with pytest.raises(AssertionError):
            discovery.check("getProfile", good | bad)
    with pytest.raises(AssertionError):
        discovery.check("labels.get", {"type": "special"})
    with pytest.raises(AssertionError):
        discovery.check("messages.get", {"payload": {"parts": [{"body": {"data": "***"}}]}})


def test_control_over_http_does_what_python_does(sandbox, api):
    def tell(verb, body):
        return requests.post(f"{sandbox.url}/sandbox/{verb}", json=body, timeout=5)

    assert tell("users", {"address": "dora@example.org"}).json()["address"] == "dora@example.org"
    assert tell("deliver", {"raw": as_raw(mail()), "rcpt_to": ["dora@example.org"]}).status_code == 200
    assert len(sandbox.mailbox("dora@example.org").message_ids()) == 1
    made = tell(
        "insert", {"user": ALICE, "raw": as_raw(mail()), "internal_date": "2026-01-02T03:04:05+00:00"}
    ).json()
    tell("modify", {"user": ALICE, "id": made["id"], "add": ["STARRED"]})
    assert "STARRED" in sandbox.mailbox(ALICE).label_ids(made["id"])
    tell("trash", {"user": ALICE, "id": made["id"]})
    assert sandbox.mailbox(ALICE).message_ids() == []
    tell("faults", {"kind": "status", "status": 500, "reason": "backendError"})
    assert api.call("GET", "profile").status_code == 500
    requests.delete(f"{sandbox.url}/sandbox/faults", timeout=5)
    api.get("profile")
    assert requests.get(f"{sandbox.url}/sandbox/stats", timeout=5).json()[ALICE]["units_total"] == 1
    cursor = sandbox.mailbox(ALICE).history_id
    tell("expire-history", {"user": ALICE})
    assert api.call("GET", "history", startHistoryId=cursor).status_code == 404
    assert tell("quota", {"units_per_minute": 1}).json()["units_per_minute"] == 1
    assert tell("pushes", {"endpoint": None, "double": True}).json()["double"] is True
    info = requests.get(f"{sandbox.url}/sandbox/credentials/{ALICE}", timeout=5).json()
    assert info["token_uri"] == f"{sandbox.url}/token"
    tell("delete", {"user": ALICE, "id": made["id"]})
    assert tell("revoke", {"user": ALICE}).status_code == 200
    assert api.call("GET", "profile").status_code == 401
    assert tell("modify", {"user": "nobody@example.com", "id": "1"}).status_code == 404
    assert tell("faults", {"kind": "nonsense"}).status_code == 400
    form = requests.post(f"{sandbox.url}/sandbox/revoke", data=json.dumps({"user": ALICE}), timeout=5)
    assert form.status_code == 400
