"""Which release of the IANA time zone database this process works with ("2025b")."""

from __future__ import annotations

import zoneinfo
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def current() -> str:
    """The release of the machine's files, which `zoneinfo` reads first, else of the package `tzdata`."""
    for folder in zoneinfo.TZPATH:
        for name, mark in (("+VERSION", ""), ("tzdata.zi", "# version ")):
            path = Path(folder) / name
            if path.is_file():
                with path.open(encoding="ascii", errors="replace") as file:
                    line = file.readline().strip()
                if line.startswith(mark):
                    return line.removeprefix(mark)
    return _packaged()


def _packaged() -> str:
    try:
        return metadata.version("tzdata")
    except metadata.PackageNotFoundError:
        return "unknown"
