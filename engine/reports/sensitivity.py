"""The table of assumptions as rows, for a terminal and for a page."""

from __future__ import annotations

from typing import Any


def by_fees(table: dict[str, Any]) -> list[str]:
    """Fee settings, as columns."""
    return list(dict.fromkeys(cell["fees"] for cell in table["cells"]))


def grid_rows(table: dict[str, Any]) -> list[list[object]]:
    """A row for each queue model and latency: what it is, then EPnL by fee setting."""
    rows: dict[tuple[str, str], list[object]] = {}
    for cell in table["cells"]:
        queue, latency = cell["queue"], cell["latency"]
        rows.setdefault((queue, latency), [f"{queue} queue, {latency} latency"]).append(cell["epnl"])
    return list(rows.values())
