"""The sandbox's own fixtures. The repository's root must be importable for `tests.…`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.sandbox_fixtures import api, clock, make_sandbox, sandbox  # noqa: E402, F401
