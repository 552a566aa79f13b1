"""Which addresses are of the open internet."""

from __future__ import annotations

import pytest

from tracker import outside


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("::1", False), ("::", False),
        ("::127.0.0.1", False), ("::10.0.0.1", False), ("fec0::1", False), ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False), ("64:ff9b::a00:1", False), ("100.64.0.1", False),
    ],
)  # fmt: skip
def test_only_the_open_internet_is_public(address: str, public: bool) -> None:
    assert outside.is_public(address) is public
