"""Numbers as tables show them, on a terminal and on a page."""

from __future__ import annotations


def number(value: object) -> str:
    """Text of a cell: thousands separated, as many decimals as tell something."""
    if value is None:
        return "–"
    if isinstance(value, float):
        size = abs(value)
        return f"{value:,.0f}" if size >= 10_000 else f"{value:,.2f}" if size >= 1 else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
