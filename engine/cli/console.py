"""What people see: progress and notes on stderr, tables or one JSON object on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine import progress
from engine.progress import Line, Share
from engine.reports.numbers import number

_EVERY_S = 10.0

_stdout = Console()
_stderr = Console(stderr=True)


def emit(value: object, as_json: bool, show: Callable[[], None]) -> None:
    """End a command: print its value as one JSON object, or show it to people."""
    if as_json:
        click.echo(msgspec.json.encode(value))
    else:
        show()


def say(text: str, *, wrapped: bool = True) -> None:
    """A line of a result; wrapped at words where the terminal ends, or left whole to be copied."""
    _stdout.print(text, markup=False, soft_wrap=not wrapped)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, error: bool = False) -> None:
    """A table: words to the left, numbers to the right; on stderr where it is no result."""
    made = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        words = i == 0 or all(isinstance(row[i], str) for row in rows)
        made.add_column(column, justify="left" if words else "right", overflow="fold")
    for row in rows:
        made.add_row(*(number(value) for value in row))
    (_stderr if error else _stdout).print(made)


class _Terminal:
    """Bars and spinners, for whoever looks at stderr."""

    @contextmanager
    def share(self, title: str) -> Iterator[Share]:
        """A progress bar."""
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
            console=_stderr, transient=True, disable=not _stderr.is_terminal,
        ) as bars:  # fmt: skip
            task = bars.add_task(title, total=1.0)
            yield lambda what, share: bars.update(task, description=f"{title} {what}", completed=min(share, 1.0))

    @contextmanager
    def lines(self, title: str) -> Iterator[Line]:
        """A spinner with a line that changes; where stderr is no terminal, a line each few seconds."""
        if not _stderr.is_terminal:
            yield _Lines(title)
            return
        with _stderr.status(title) as spinner:
            yield lambda line: spinner.update(f"{title}: {line}")

    def note(self, text: str) -> None:
        _stderr.print(text, markup=False)


PROGRESS: progress.Progress = _Terminal()


class _Lines:
    def __init__(self, title: str) -> None:
        self._title, self._next = title, 0.0

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_S
            print(f"{self._title}: {line}", file=sys.stderr, flush=True)
