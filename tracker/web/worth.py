"""Worth: amounts of money as a board tells them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

SIGNS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "PLN": "zł", "BRL": "R$"}
UNITS = ((Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "K"))
WHOLE_BELOW = 10_000  #: smaller amounts are short enough as they are
SHOWN = 2  #: currencies of a column


def worth(amount: Decimal, currency: str | None) -> str:
    """An amount with its currency: `€12,500`, `CHF 99.90`."""
    whole = amount == amount.to_integral_value()
    return _signed(f"{abs(amount):,.0f}" if whole else f"{abs(amount):,.2f}", amount, currency or "")


def short(amount: Decimal, currency: str) -> str:
    """An amount in three digits or so: `€48.2K`, `$1.25M`."""
    size = abs(amount)
    if size < WHOLE_BELOW:
        return _signed(f"{size.quantize(Decimal(1), ROUND_HALF_UP):,}", amount, currency)
    # An amount that rounds up to the next unit is told in that one: €1M, not €1,000K.
    unit, letter = next((unit, letter) for unit, letter in UNITS if size >= unit * Decimal("0.9995"))
    number = size / unit
    places = Decimal("0.01") if number < 10 else Decimal("0.1") if number < 100 else Decimal(1)
    told = f"{number.quantize(places, ROUND_HALF_UP):,f}"
    return _signed((told.rstrip("0").rstrip(".") if "." in told else told) + letter, amount, currency)


def together(amounts: Mapping[str, Decimal]) -> str:
    """Amounts of several currencies in a few characters, the largest first."""
    ordered = sorted(amounts.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
    told = [short(amount, currency) for currency, amount in ordered[:SHOWN]]
    more = len(ordered) - SHOWN
    return " + ".join(told) + (f" + {more} more" if more > 0 else "")


def exactly(amounts: Mapping[str, Decimal]) -> str:
    """The same in full."""
    return ", ".join(worth(amount, currency) for currency, amount in sorted(amounts.items()))


def _signed(number: str, amount: Decimal, currency: str) -> str:
    sign = SIGNS.get(currency)
    shown = f"{sign}{number}" if sign else f"{currency} {number}".strip()
    return f"−{shown}" if amount < 0 else shown
