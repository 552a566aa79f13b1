"""Settings: one frozen object, read once from the environment and `.env`.

Every name carries the prefix `TRACKER_`. Rooms below are handed the values that they need; nothing but
`config` imports this module.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, computed_field
from pydantic_settings import BaseSettings, SettingsConfigDict

from config import ports
from webhooks import client_address

GOOGLE_API = "https://gmail.googleapis.com"
GOOGLE_AUTH = "https://accounts.google.com/o/oauth2/v2/auth"
GOOGLE_TOKEN = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address, not a secret
GOOGLE_CERTS = "https://www.googleapis.com/oauth2/v3/certs"
SECRET_LENGTH = 32  # characters, at least
_NOTHING: dict[str, Any] = {}


class SettingsError(Exception):
    """A setting is wrong; the text names the variable and what is expected."""


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address such as https://tracker.example.com")
    return value.rstrip("/")


def _public_address(value: str) -> str:
    """An address whose root is ours: pages, cookies and Google's redirects know no folder below it."""
    address = _web_address(value)
    if "?" in value or "#" in value or urlsplit(address).path:
        raise ValueError("expected an address without a path, such as https://tracker.example.com")
    return address


def _database_url(value: str | None) -> str | None:
    if not value:
        return None
    scheme, _, rest = value.partition("://")
    if scheme not in ("postgres", "postgresql", "postgresql+psycopg") or not rest:
        raise ValueError("expected a PostgreSQL address such as postgresql://user:password@host/database")
    return f"postgresql+psycopg://{rest}"


def _secret_key(value: str | None) -> str | None:
    if value is not None and len(value) < SECRET_LENGTH:
        raise ValueError("expected at least 32 characters (`openssl rand -base64 48` makes some)")
    return value


def _proxies(value: str) -> str:
    client_address.networks(value)
    return value


def _scanners(value: Path | None) -> Path | None:
    """A file that can't be read is told at the start, with the line."""
    if value is not None:
        from webhooks.verdicts import networks  # with the tables: few settings need it

        try:
            networks.read(value)
        except OSError as error:
            raise ValueError(f"{value} can't be read: {error.strerror}") from None
    return value


WebAddress = Annotated[str, AfterValidator(_web_address)]
PublicAddress = Annotated[str, AfterValidator(_public_address)]


class Settings(BaseSettings):
    """What the operator decides. Units are in the names or the descriptions."""

    model_config = SettingsConfigDict(
        env_prefix="TRACKER_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: Annotated[str | None, AfterValidator(_database_url)] = Field(
        None, description="PostgreSQL; without it a private server is started under the data folder"
    )
    data_dir: Path = Field(Path("var"), description="where the embedded database and made secrets live")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8080, ge=1, le=65535, description="port to listen on")
    public_url: PublicAddress | None = Field(None, description="the address that people and Google reach us by")
    secret_key: Annotated[str | None, AfterValidator(_secret_key)] = Field(
        None, description="signs sessions and encrypts tokens; made and kept in the data folder when absent"
    )
    old_secret_keys: str = Field("", description="former secret keys, separated by spaces, for decryption only")
    gmail_api_url: WebAddress = Field(GOOGLE_API, description="Gmail's API")
    google_auth_url: WebAddress = Field(GOOGLE_AUTH, description="Google's consent page")
    google_token_url: WebAddress = Field(GOOGLE_TOKEN, description="Google's token endpoint")
    google_certs_url: WebAddress = Field(GOOGLE_CERTS, description="Google's signing keys (JWKS)")
    google_client_id: str = Field("", description="OAuth client")
    google_client_secret: str = Field("", description="OAuth client's secret")
    gmail_units_per_minute: int = Field(6000, ge=100, description="quota units a mailbox may spend a minute")
    backfill_days: int = Field(0, ge=0, description="how far back mail is read; 0 means all of it")
    admins: str = Field("", description="addresses that may sign in first and found the team, separated by spaces")
    team_name: str = Field("Our team", min_length=1, description="the first team's name")
    poll_seconds: int = Field(60, ge=1, le=3600, description="ask Gmail for changes after this much silence")
    pubsub_topic: str = Field("", description="projects/…/topics/… for Gmail's push notifications; empty: polling")
    push_audience: str = Field("", description="audience in Pub/Sub's token; default: the push address")
    push_service_account: str = Field("", description="e-mail of the service account that signs pushes")
    addon_service_account: str = Field(
        "", description="e-mail of the service account that Google posts to the side panel with; empty: no panel"
    )
    addon_client_id: str = Field("", description="OAuth client of the side panel; empty: no panel")
    worker_concurrency: int = Field(8, ge=1, le=64, description="jobs one worker runs at a time")
    worker_stalled_seconds: float = Field(
        30, ge=1, description="a worker silent for this long is dead, and its jobs are taken over"
    )
    calendar_private: bool = Field(
        False, description="a team's calendar of days off may be fetched from inside one's own network"
    )
    push_private: bool = Field(
        False, description="push services may be inside one's own network and without TLS, for trying out"
    )
    hits_days: int = Field(
        90, ge=0, le=36_500, description="how long an opener's address and program are kept; then only the verdict"
    )
    scanner_networks: Annotated[Path | None, AfterValidator(_scanners)] = Field(
        None, description="a file with the networks of security scanners, one a line; their hits are no reads"
    )
    trusted_proxies: Annotated[str, AfterValidator(_proxies)] = Field(
        "",
        description="addresses and networks of our own proxies, separated by spaces; they say who asks",
    )
    addon_preview: bool = Field(False, description="show the side panel as Gmail would, for trying out")
    offer_soon: bool = Field(False, description="offer to send a mail in one minute, for trying out")
    sandbox_port: int = Field(8081, ge=1, le=65535, description="port of the sandbox in the demo")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def url(self) -> str:
        """The public address, without a slash at its end."""
        return self.public_url or ports.address(self.host, self.port)

    @property
    def gmail_is_googles(self) -> bool:
        """Whether Gmail is Google's own, and not a sandbox that plays it."""
        return urlsplit(self.gmail_api_url).hostname == urlsplit(GOOGLE_API).hostname

    @property
    def admin_addresses(self) -> list[str]:
        """The addresses in `TRACKER_ADMINS`."""
        return self.admins.replace(",", " ").split()

    def with_secret_key(self) -> Self:
        """These settings with a secret key, made and kept in the data folder when none was given."""
        if self.secret_key:
            return self
        present, *former = kept_secrets(self.data_dir)
        old = " ".join([*self.old_secret_keys.split(), *former])
        return self.model_copy(update={"secret_key": present, "old_secret_keys": old})

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for the processes that `tracker up` starts."""
        dumped = self.model_dump(exclude={"url"}, exclude_none=True)
        return {f"TRACKER_{name.upper()}": str(value) for name, value in dumped.items()}


def kept_secrets(data_dir: Path) -> list[str]:
    """The secret keys that are kept in the data folder, the present one first; one is made if there is none."""
    path = data_dir / "secret_key"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not path.exists():
            _make_secret(path)
        kept = path.read_text().split()
    except PermissionError:
        raise SettingsError(f"{path} can't be read: run as the user whom it belongs to") from None
    if not kept or any(len(one) < SECRET_LENGTH for one in kept):
        raise SettingsError(
            f"{path} holds no whole secret key: put the former one back, or delete the file and a new one is made "
            "(people then sign in again, and mailboxes have to be connected again)"
        )
    return kept


def keep_secrets(data_dir: Path, keys: list[str]) -> None:
    """Keep these secret keys in the data folder, the present one first: all, or, after a crash, as before."""
    path = data_dir / "secret_key"
    half = _written_aside(path, keys)
    half.replace(path)


def _written_aside(path: Path, keys: list[str]) -> Path:
    descriptor, half = tempfile.mkstemp(prefix="secret_key.", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(keys) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return Path(half)


def _make_secret(path: Path) -> None:
    # The name appears with the whole key behind it, whenever we crash and whoever reads meanwhile; of two
    # processes that start at once, one links its key and both read that.
    half = _written_aside(path, [new_secret()])
    try:
        with suppress(FileExistsError):
            os.link(half, path)
    finally:
        half.unlink()


def new_secret() -> str:
    """A secret key: 384 random bits."""
    return secrets.token_urlsafe(48)


def keeps_secret_itself() -> bool:
    """Whether the secret key is the data folder's, and not the operator's."""
    return Settings(**_NOTHING).secret_key is None


def load(**overrides: Any) -> Settings:
    """Settings from the environment, `.env` and `overrides` (which win).

    Raises `SettingsError` naming each wrong variable and what is expected of it.
    """
    try:
        return Settings(**overrides).with_secret_key()
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem) for problem in error.errors())) from None


def _explain(problem: Any) -> str:
    name = str(problem["loc"][0])
    field = Settings.model_fields.get(name)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"TRACKER_{name.upper()}: {message}{meaning}"
