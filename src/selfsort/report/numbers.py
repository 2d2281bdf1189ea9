"""Numbers as people write them."""

from __future__ import annotations

import math


def _missing(value: object) -> bool:
    return not isinstance(value, int | float) or not math.isfinite(value)


def percent(value: float | None) -> str:
    """Return a share in percent.

    Examples
    --------
    >>> percent(0.98123), percent(None)
    ('98.12 %', 'n/a')
    """
    return "n/a" if value is None or _missing(value) else f"{100 * value:.2f} %"


def decimal(value: float | None) -> str:
    """Return a number with four decimals."""
    return "n/a" if value is None or _missing(value) else f"{value:.4f}"


def count(value: int | None) -> str:
    """Return a whole number, its thousands apart."""
    return "n/a" if value is None or _missing(value) else f"{value:,}"


def speed(value: float | None) -> str | None:
    """Return images per second in words."""
    return None if value is None or _missing(value) else f"{round(value):,} images per second"


def duration(seconds: float | None) -> str:
    """Return a duration in the unit that suits it.

    Examples
    --------
    >>> [duration(seconds) for seconds in (3.14, 59.6, 240, 7300)]
    ['3.1 seconds', '60 seconds', '4.0 minutes', '2.0 hours']
    """
    if seconds is None or _missing(seconds):
        return "n/a"
    if seconds < 90:
        return f"{seconds:.1f} seconds" if seconds < 10 else f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"


def any_value(value: object) -> str:
    """Return any value of a result as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
