"""Settings: refused in words when wrong, made when absent."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config import ports, settings
from config.settings import Settings, SettingsError, load


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKER_DATA_DIR", str(tmp_path / "var"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "eighty", "integer"),
        ("PORT", "0", "greater than or equal to 1"),
        ("PUBLIC_URL", "tracker.example.com", "https://"),
        ("PUBLIC_URL", "https://example.com/tracker", "without a path"),
        ("PUBLIC_URL", "https://example.com/?team=1", "without a path"),
        ("PUBLIC_URL", "https://example.com#top", "without a path"),
        ("DATABASE_URL", "mysql://x/y", "PostgreSQL"),
        ("SECRET_KEY", "short", "32 characters"),
        ("GMAIL_UNITS_PER_MINUTE", "-1", "greater than or equal to 100"),
        ("BACKFILL_DAYS", "all", "integer"),
        ("GMAIL_API_URL", "ftp://gmail", "https://"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(f"TRACKER_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load()
    assert f"TRACKER_{name}" in str(refused.value)
    assert expected in str(refused.value)


def test_a_wrong_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_SECRET_KEY", "hush-hush")
    with pytest.raises(SettingsError) as refused:
        load()
    assert "hush" not in str(refused.value)


def test_the_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("TRACKER_PORT=9000\nTRACKER_TEAM_NAME=File\n")
    monkeypatch.setenv("TRACKER_TEAM_NAME", "Environment")
    found = load()
    assert (found.port, found.team_name) == (9000, "Environment")


def test_a_secret_key_is_made_once_and_kept_privately(tmp_path: Path) -> None:
    first, second = load().secret_key, load().secret_key
    assert first == second
    assert first is not None
    assert len(first) >= 32
    assert (tmp_path / "var" / "secret_key").stat().st_mode & 0o077 == 0


def test_two_that_start_at_once_agree_on_the_secret_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=10)
    token = settings.secrets.token_urlsafe

    def late(size: int) -> str:
        both.wait()  # neither has written yet
        return token(size)

    monkeypatch.setattr(settings.secrets, "token_urlsafe", late)
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(load) for _ in range(2))
        assert first.result().secret_key == second.result().secret_key
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["secret_key"]


@pytest.mark.parametrize("content", ["", "\n", "half-a-key"])
def test_a_secret_key_that_was_cut_off_is_refused_in_words(tmp_path: Path, content: str) -> None:
    path = tmp_path / "var" / "secret_key"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(SettingsError) as refused:
        load()
    assert str(path) in str(refused.value)
    assert "delete the file" in str(refused.value)
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8080"), ("::1", "http://[::1]:8080"), ("crm.lan", "http://crm.lan:8080")],
)
def test_an_ipv6_host_stands_in_brackets(host: str, url: str) -> None:
    assert load(host=host).url == url
    assert ports.address(ports.reachable("::"), 8080) == "http://[::1]:8080"


def test_a_slash_at_the_end_of_the_public_address_does_no_harm() -> None:
    assert load(public_url="https://tracker.example.com/").url == "https://tracker.example.com"


def test_settings_travel_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = load(port=9001, gmail_api_url="http://127.0.0.1:8081")
    for name, value in sent.environment().items():
        monkeypatch.setenv(name, value)
    assert load() == sent


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
