"""Settings: refused in words when wrong, made when absent."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_settings_travel_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = load(port=9001, gmail_api_url="http://127.0.0.1:8081")
    for name, value in sent.environment().items():
        monkeypatch.setenv(name, value)
    assert load() == sent


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
