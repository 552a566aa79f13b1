"""Events: what Google posts is read, and what it would never post is refused in words. And Gmail's ids."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmail_sync.addon import events, ids
from gmail_sync.addon.events import Event, EventError
from gmail_sync.sandbox.ids import FIRST_ID, to_hex


def read(**parts: Any) -> Event:
    """An event of these parts."""
    return events.read(json.dumps(parts).encode())


def form(**inputs: Any) -> dict[str, Any]:
    """A form's inputs, read."""
    return dict(read(commonEventObject={"formInputs": inputs}).given)


class TestReading:
    def test_all_that_matters(self) -> None:
        found = read(
            commonEventObject={
                "hostApp": "GMAIL", "platform": "IOS", "userLocale": "de", "timeZone": {"id": "Europe/Berlin"},
                "parameters": {"do": "x.y", "key": "k"},
                "formInputs": {"a": {"stringInputs": {"value": ["1", "2"]}}},
            },
            authorizationEventObject={"systemIdToken": "s", "userIdToken": "u", "userOAuthToken": "o"},
            gmail={"messageId": "msg-f:1", "threadId": "thread-f:2", "accessToken": "t"},
        )  # fmt: skip
        assert (found.host, found.platform, found.locale, found.zone) == ("GMAIL", "IOS", "de", "Europe/Berlin")
        assert (found.system_token, found.user_token) == ("s", "u")
        assert (found.message_id, found.thread_id) == ("msg-f:1", "thread-f:2")
        assert (found.params, found.given) == ({"do": "x.y", "key": "k"}, {"a": ("1", "2")})
        assert found.writing is None
        assert "'s'" not in repr(found)  # a token in a log opens the door

    def test_nothing_is_an_event_too(self) -> None:
        assert read() == Event()

    @pytest.mark.parametrize("where", ["gmail", "draftMetadata", "inside"])
    def test_a_draft_wherever_it_is_told(self, where: str) -> None:
        draft = {
            "toRecipients": ["a@b.c ", " \n"],
            "ccRecipients": ["d@e.f"],
            "bccRecipients": [],
            "subject": "Hello",
        }
        found = read(gmail={"draftMetadata": draft}) if where == "inside" else read(**{where: draft})
        assert found.writing is not None
        assert (found.writing.to, found.writing.cc, found.writing.subject) == (("a@b.c",), ("d@e.f",), "Hello")

    def test_dates_and_times_are_wall_times(self) -> None:
        at = "1774774800000"  # 2026-03-29T09:00 as if in UTC: on a day that has no 02:30 in Berlin
        assert form(a={"dateInput": {"msSinceEpoch": at}}) == {"a": ("2026-03-29",)}
        both = {"hasDate": True, "hasTime": True, "msSinceEpoch": at}
        assert form(a={"dateTimeInput": both}) == {"a": ("2026-03-29T09:00",)}
        assert form(a={"dateTimeInput": both | {"hasTime": False}}) == {"a": ("2026-03-29",)}
        assert form(a={"dateTimeInput": both | {"hasDate": False}}) == {"a": ()}
        assert form(a={"dateTimeInput": {"msSinceEpoch": int(at)}}) == {"a": ("2026-03-29T09:00",)}
        assert form(a={"timeInput": {"hours": 9, "minutes": 5}}) == {"a": ("09:05",)}

    def test_what_can_t_be_stored_is_left_out(self) -> None:
        body = b'{"commonEventObject": {"parameters": {"a": "x\\u0000y\\ud800z"}}}'
        assert events.read(body).params == {"a": "xyz"}


class TestRefusing:
    @pytest.mark.parametrize(
        "body",
        [
            b"", b"null", b"[]", b"1", b"{", b'"x"', b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000,
            b'{"a":' * 50_000, b'{"gmail": 1}', b'{"commonEventObject": {"parameters": []}}',
            b'{"commonEventObject": {"formInputs": {"a": {"dateInput": {"msSinceEpoch": "x"}}}}}',
            b'{"commonEventObject": {"formInputs": {"a": {"dateInput": {"msSinceEpoch": true}}}}}',
            b'{"commonEventObject": {"formInputs": {"a": {"dateInput": {"msSinceEpoch": 1e400}}}}}',
            b'{"commonEventObject": {"formInputs": {"a": {"dateInput": {"msSinceEpoch": "9999999999999999"}}}}}',
            b'{"commonEventObject": {"formInputs": {"a": {"timeInput": {"hours": 24}}}}}',
            b'{"gmail": {"toRecipients": "a@b.c"}}', b'{"gmail": {"messageId": ["x"]}}',
            b"1" * 5000,
        ],
        ids=range(20),
    )  # fmt: skip
    def test_what_is_no_event(self, body: bytes) -> None:
        with pytest.raises(EventError):
            events.read(body)

    @pytest.mark.parametrize(
        "event",
        [
            {"commonEventObject": {"parameters": {"a": "x" * (events.PARAM_LIMIT + 1)}}},
            {"commonEventObject": {"parameters": {"a" * 300: "x"}}},
            {"commonEventObject": {"parameters": {str(n): "x" for n in range(events.INPUTS + 1)}}},
            {"commonEventObject": {"formInputs": {str(n): {} for n in range(events.INPUTS + 1)}}},
            {"commonEventObject": {"formInputs": {"a": {"stringInputs": {"value": ["x"] * 101}}}}},
            {
                "commonEventObject": {
                    "formInputs": {"a": {"stringInputs": {"value": ["x" * (events.VALUE_LIMIT + 1)]}}}
                }
            },
            {"gmail": {"toRecipients": ["x"] * 501}},
            {"gmail": {"messageId": "x" * 201}},
            {"authorizationEventObject": {"userIdToken": "x" * 8193}},
            {"padding": "x" * events.SIZE_LIMIT},
        ],
        ids=range(10),
    )
    def test_what_is_too_much(self, event: dict[str, Any]) -> None:
        with pytest.raises(EventError):
            read(**event)

    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=10,
    )

    @settings(max_examples=50, deadline=None)
    @given(st.dictionaries(st.sampled_from(["commonEventObject", "gmail", "draftMetadata"]), anything))
    def test_nothing_else_is_raised(self, event: dict[str, Any]) -> None:
        with suppress(EventError):
            assert isinstance(read(**event), Event)

    inputs = st.dictionaries(
        st.sampled_from(["stringInputs", "dateInput", "dateTimeInput", "timeInput"]),
        st.dictionaries(st.sampled_from(["value", "msSinceEpoch", "hasDate", "hasTime", "hours"]), anything),
    )

    @settings(max_examples=50, deadline=None)
    @given(inputs)
    def test_nor_of_a_forms_inputs(self, given: dict[str, Any]) -> None:
        try:
            found = form(a=given)
        except EventError:
            return
        assert all(isinstance(value, str) and "\0" not in value for value in found["a"])


class TestIds:
    @settings(deadline=None)
    @given(st.integers(1, 2**64 - 1))
    def test_the_pages_form_and_the_apis_are_the_same_number(self, number: int) -> None:
        gmail_id = f"{number:x}"
        assert ids.to_api(ids.to_page("msg", gmail_id)) == gmail_id
        assert ids.to_api(ids.to_page("thread", gmail_id)) == gmail_id
        assert ids.to_api(gmail_id) == gmail_id

    def test_as_gmail_shows_them(self) -> None:
        assert ids.to_api("msg-f:1793456789012345678") == "18e3a3728d17f34e"
        assert ids.to_api("#thread-f:1793456789012345678") == "18e3a3728d17f34e"

    def test_the_sandboxs(self) -> None:
        assert ids.to_api(ids.to_page("msg", to_hex(FIRST_ID))) == to_hex(FIRST_ID)

    @pytest.mark.parametrize(
        "given",
        ["msg-a:r-123", "msg-a:r123", "msg-a:s:18e3", "msg-f:", "msg-f:0", "msg-f:-1", "msg-f:18e3", "msg-f: 1",
         f"msg-f:{2**64}", "msg-f:١٢٣", "0", "", "18E3A8", "xyz", "1" * 17, "msg-f:1\n"],
    )  # fmt: skip
    def test_what_is_none(self, given: str) -> None:
        assert ids.to_api(given) is None

    @settings(deadline=None)
    @given(st.text(max_size=30))
    def test_anything_is_an_id_or_none(self, given: str) -> None:
        found = ids.to_api(given)
        assert found is None or int(found, 16) > 0
