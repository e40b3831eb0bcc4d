"""The tables of what was traded: a backtest, paper trading, the demo."""

from __future__ import annotations

from collections.abc import Mapping

from engine.backtest.metrics import SHOWN
from engine.cli import console
from engine.reports.numbers import number
from engine.reports.results import Kept
from engine.reports.summary import Numbers


def emit_kept(kept: Kept, as_json: bool) -> None:
    """End a command that traded and kept its results."""
    console.emit(kept.summary, as_json, lambda: _show(kept))


def show_comparison(title: str, columns: Mapping[str, Numbers]) -> None:
    """Metrics by row, days or quoters by column."""
    rows = [[label, *(getattr(numbers, name) for numbers in columns.values())] for name, label in SHOWN]
    console.show_table(title, ["", *columns], rows)


def _show(kept: Kept) -> None:
    summary, total, table = kept.summary, kept.summary.total, kept.summary.sensitivity
    title = f"{summary.instrument} · {summary.quoter} · fees {summary.fee_scenario} · {summary.currency}"
    show_comparison(title, {str(day.date): day for day in summary.episodes} | {"total": total})
    for note in summary.notes:
        if note.startswith("WARNING"):
            console.say(note)
    if table is not None:
        console.show_table(f"EPnL under other assumptions, {summary.currency}", ["", *table.fees], table.rows())
        console.say(table.headline)
        console.say(f"{table.traded} of {len(table.cells)} sets of assumptions trade differently; {table.wall_s:.1f} s")
    how = "run again" if all(result.requoted for result in total.by_fees.values()) else "same fills"
    fees = ", ".join(f"{name} {number(result.epnl)}" for name, result in total.by_fees.items())
    console.say(f"EPnL by fee setting ({how}): {fees}")
    work = f"{total.book_updates:,} book updates, {total.order_actions:,} order actions"
    console.say(f"{work}, {total.updates_per_s:,} updates/s ({summary.engine})")
    console.say(f"report {kept.page}")
