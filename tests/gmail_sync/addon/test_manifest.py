"""`tracker addon manifest`: what Google is told, and when it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask

from config.cli import main
from gmail_sync.addon import manifest

#: Of https://developers.google.com/workspace/add-ons/reference/rest/v1/projects.deployments, what we may use:
#: a type, an object's fields, a list's entries, or one of several words. Fields with * are required.
TRIGGER = {"runFunction*": "https", "enabled": bool}
MENU = {"runFunction*": "https", "label*": str, "logoUrl*": "https"}
SCHEMA = {
    "oauthScopes*": ["https"],
    "addOns*": {
        "common*": {
            "name*": str,
            "logoUrl*": "https",
            "layoutProperties": {"primaryColor": str, "secondaryColor": str},
            "useLocaleFromApp": bool,
            "homepageTrigger": TRIGGER,
            "universalActions": [{"label*": str, "openLink": "https", "runFunction": "https"}],
            "openLinkUrlPrefixes": ["https"],
        },
        "gmail": {
            "homepageTrigger": TRIGGER,
            "contextualTriggers": [{"unconditional*": {}, "onTriggerFunction*": "https"}],
            "composeTrigger": {"actions*": [MENU], "draftAccess": ("NONE", "METADATA")},
        },
        "httpOptions": {"authorizationHeader": ("SYSTEM_ID_TOKEN", "USER_ID_TOKEN", "NONE")},
    },
}
URL = "https://tracker.example.com"


def check(found: Any, schema: Any, where: str = "") -> None:
    """Fail where something is not as the schema says."""
    if isinstance(schema, dict):
        known = {name.rstrip("*"): inner for name, inner in schema.items()}
        assert set(found) <= set(known), where
        assert {name.rstrip("*") for name in schema if name.endswith("*")} <= set(found), where
        for name, value in found.items():
            check(value, known[name], f"{where}.{name}")
    elif isinstance(schema, list):
        assert isinstance(found, list), where
        for value in found:
            check(value, schema[0], where)
    elif schema == "https":
        assert found.startswith("https://"), where
    elif isinstance(schema, tuple):
        assert found in schema, where
    else:
        assert isinstance(found, schema), where


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the command with these settings; its exit code, what it printed and what it warned of."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **settings: str) -> tuple[int, str, str]:
        values = {"data_dir": str(tmp_path), "secret_key": "k" * 40, **settings}
        environment = {f"TRACKER_{name.upper()}": value for name, value in values.items()}
        done = CliRunner().invoke(main, ["addon", "manifest", *arguments], env=environment)
        return done.exit_code, done.stdout, done.stderr

    return run


class TestTheDeployment:
    def test_is_as_googles_reference_says(self) -> None:
        check(json.loads(json.dumps(manifest.deployment(URL))), SCHEMA)

    def test_names_doors_that_there_are(self, make_app: Any) -> None:
        app: Flask = make_app(public_url=URL)
        told = json.dumps(manifest.deployment(URL)["addOns"])
        doors = {rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/addon/")}
        for name in ("home", "open", "compose"):
            assert f'"{URL}/addon/{name}"' in told
            assert f"/addon/{name}" in doors
        logo = app.test_client().get("/static/logo.png")
        assert (logo.status_code, logo.mimetype) == (200, "image/png")

    def test_asks_for_no_mail(self) -> None:
        """The panel reads what Tracker has synced; Google need not let it into the mailbox again."""
        scopes = manifest.deployment(URL)["oauthScopes"]
        assert not {scope.rpartition("/")[2] for scope in scopes} & {
            "gmail.readonly", "gmail.modify", "gmail.addons.current.message.readonly", "mail.google.com",
        }  # fmt: skip


class TestTheCommand:
    def test_prints_it(self, run: Any) -> None:
        code, out, warned = run(public_url=URL, addon_service_account="a@b", addon_client_id="c")
        assert (code, json.loads(out), warned) == (0, manifest.deployment(URL), "")

    def test_writes_it(self, run: Any, tmp_path: Path) -> None:
        path = tmp_path / "deployment.json"
        code, out, _ = run("--json-file", str(path), public_url=URL)
        assert (code, out) == (0, "")
        assert json.loads(path.read_text()) == manifest.deployment(URL)

    def test_says_what_is_missing_for_the_panel_to_open(self, run: Any) -> None:
        code, _, warned = run(public_url=URL)
        assert code == 0
        assert "TRACKER_ADDON_CLIENT_ID" in warned

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "http://tracker.example.com",
            "https://localhost",
            "https://10.0.0.5:8080",
            "https://tracker.internal",
        ],
    )
    def test_refuses_an_address_that_google_can_t_post_to(self, run: Any, url: str) -> None:
        code, out, warned = run(**({"public_url": url} if url else {}))
        assert (code, out) == (1, "")
        assert warned.startswith("tracker: ")
        assert "TRACKER_PUBLIC_URL" in warned
        assert "Traceback" not in warned

    def test_only_warns_in_the_demo(self, run: Any) -> None:
        code, out, warned = run(public_url="http://127.0.0.1:8080", gmail_api_url="http://127.0.0.1:8081")
        assert (code, json.loads(out)) == (0, manifest.deployment("http://127.0.0.1:8080"))
        assert "this is the demo" in warned

    def test_refuses_to_write_where_it_can_t(self, run: Any, tmp_path: Path) -> None:
        code, _, warned = run("--json-file", str(tmp_path / "no" / "file"), public_url=URL)
        assert code == 1
        assert "can't be written" in warned
