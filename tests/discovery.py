"""Checks answers against Google's own discovery document of the Gmail API.

It comes bundled with google-api-python-client; nothing is fetched. A field that the document does
not know is an error, as are a wrong type, format or enum.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import googleapiclient

JSON_TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
LIMITS = {"int32": (-(1 << 31), (1 << 31) - 1), "uint32": (0, (1 << 32) - 1)}
LIMITS |= {"int64": (-(1 << 63), (1 << 63) - 1), "uint64": (0, (1 << 64) - 1)}
ERROR_KEYS = {"code", "message", "errors", "status"}


@cache
def document() -> dict[str, Any]:
    """The bundled discovery document."""
    path = Path(googleapiclient.__file__).parent / "discovery_cache/documents/gmail.v1.json"
    return json.loads(path.read_text())


@cache
def methods() -> dict[str, dict[str, Any]]:
    """All methods by their ids, such as "gmail.users.messages.get"."""
    found = {}

    def collect(resource: dict[str, Any]) -> None:
        found.update({method["id"]: method for method in resource.get("methods", {}).values()})
        for inner in resource.get("resources", {}).values():
            collect(inner)

    collect(document())
    return found


def check(method_id: str, answer: Any) -> None:
    """Raise AssertionError unless `answer` is what the method may answer.

    `method_id` may leave out "gmail.users.". None stands for an empty answer.
    """
    method = methods().get(method_id) or methods()[f"gmail.users.{method_id}"]
    if "response" not in method:
        assert answer in (None, {}), f"{method_id} answers nothing, not {answer!r}"
        return
    _check(answer, method["response"], method_id)


def check_error(answer: Any) -> None:
    """Raise AssertionError unless `answer` is an error in the shape of Google's JSON APIs."""
    assert set(answer) == {"error"}, answer
    error = answer["error"]
    assert set(error) <= ERROR_KEYS, error
    assert isinstance(error["code"], int)
    assert isinstance(error["message"], str)
    assert error["message"]
    for inner in error["errors"]:
        assert {"message", "domain", "reason"} <= set(inner) <= {
            "message", "domain", "reason", "location", "locationType",
        }  # fmt: skip


def _check(value: Any, schema: dict[str, Any], where: str) -> None:
    if "$ref" in schema:
        _check_object(value, document()["schemas"][schema["$ref"]], where)
        return
    kind = schema.get("type", "any")
    if kind == "any":
        return
    assert isinstance(value, JSON_TYPES[kind]), f"{where}: {value!r} is no {kind}"
    assert not (kind == "integer" and isinstance(value, bool)), f"{where}: a boolean is no integer"
    if kind == "array":
        for index, item in enumerate(value):
            _check(item, schema["items"], f"{where}[{index}]")
    elif kind == "object":
        _check_object(value, schema, where)
    else:
        _check_scalar(value, schema, where)


def _check_object(value: Any, schema: dict[str, Any], where: str) -> None:
    assert isinstance(value, dict), f"{where}: {value!r} is no object"
    properties = schema.get("properties", {})
    for name, item in value.items():
        assert name in properties, f"{where}: unknown field {name!r}"
        _check(item, properties[name], f"{where}.{name}")


def _check_scalar(value: Any, schema: dict[str, Any], where: str) -> None:
    if "enum" in schema:
        assert value in schema["enum"], f"{where}: {value!r} is none of {schema['enum']}"
    form = schema.get("format")
    if form in LIMITS:
        assert re.fullmatch(r"-?\d+", str(value)), f"{where}: {value!r} is no {form}"
        low, high = LIMITS[form]
        assert low <= int(value) <= high, f"{where}: {value} does not fit {form}"
    if form == "byte":
        assert re.fullmatch(r"[A-Za-z0-9_-]*={0,2}", value), f"{where}: no URL-safe base64"
        base64.urlsafe_b64decode(value)


@cache
def _patterns() -> list[tuple[str, re.Pattern[str], str]]:
    found = []
    for method_id, method in methods().items():
        path = re.sub(
            r"\\?\{\w+\\?\}", "[^/]+", re.escape("/" + method["path"]).replace("\\{", "{").replace("\\}", "}")
        )
        uploads = "(?:/upload)?" if "mediaUpload" in method else ""
        found.append((method["httpMethod"], re.compile(uploads + path), method_id))
    return sorted(found, key=lambda entry: entry[1].pattern.count("[^/]+"))


def method_of(http_method: str, url: str) -> str | None:
    """The method that a request means, or None where it is none of the API's."""
    path = urlsplit(url).path
    for verb, pattern, method_id in _patterns():
        if verb == http_method and pattern.fullmatch(path):
            return method_id
    return None


def hook(response: Any, *_: Any, **__: Any) -> None:
    """A hook for requests: checks every answer of a Gmail method, good or bad."""
    method_id = method_of(response.request.method, response.request.url)
    if method_id is None:
        return
    if response.status_code >= 400:
        check_error(response.json())
    else:
        check(method_id, response.json() if response.content else None)
