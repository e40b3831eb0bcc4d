"""What people see while a command works. Progress and tables go to stderr where stdout carries JSON."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

_EVERY_S = 10.0

stdout = Console()
stderr = Console(stderr=True)


@contextmanager
def bar(title: str) -> Iterator[Callable[[str, float], None]]:
    """A progress bar; call it with (what, share done)."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        console=stderr, transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task(title, total=1.0)

        def update(what: str, share: float) -> None:
            progress.update(task, description=f"{title} {what}", completed=min(share, 1.0))

        yield update


@contextmanager
def status(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner with a line that changes; where stderr is no terminal, a line each few seconds."""
    if not stderr.is_terminal:
        yield _Lines(title)
        return
    with stderr.status(title) as spinner:
        yield lambda line: spinner.update(f"{title}: {line}")


class _Lines:
    def __init__(self, title: str) -> None:
        self._title, self._next = title, 0.0

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_S
            print(f"{self._title}: {line}", file=sys.stderr, flush=True)


def day_progress(update: Callable[[str, float], None], index: int, count: int) -> Callable[[dt.date, float], None]:
    """Progress within the `index`-th of `count` days."""
    return lambda date, share: update(f"{date} ({index + 1}/{count})", (index + share) / count)


def table(title: str, columns: list[str], rows: list[list[Any]]) -> Table:
    """A table: words to the left, numbers to the right."""
    made = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        words = i == 0 or all(isinstance(row[i], str) for row in rows)
        made.add_column(column, justify="left" if words else "right", overflow="fold")
    for row in rows:
        made.add_row(*(number(value) for value in row))
    return made


def number(value: Any) -> str:
    """Text of a cell: thousands separated, as many decimals as tell something."""
    if value is None:
        return "–"
    if isinstance(value, float):
        size = abs(value)
        return f"{value:,.0f}" if size >= 10_000 else f"{value:,.2f}" if size >= 1 else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
