"""How far a piece of work is: told to whoever asked for it, who shows it or does not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

type Share = Callable[[str, float], None]
"""Called with what is being worked on and the share that is done, 0 to 1."""

type Line = Callable[[str], None]


class Progress(Protocol):
    """Where a service says how far it is; the command line shows it, a notebook may stay silent."""

    def share(self, title: str) -> AbstractContextManager[Share]:
        """Work whose length is known."""

    def lines(self, title: str) -> AbstractContextManager[Line]:
        """Work that says what it does, a line at a time."""

    def note(self, text: str) -> None:
        """What a user should know before the work is done."""


def _nothing(*said: object) -> None:
    pass


class Silent:
    """Nobody listens."""

    @contextmanager
    def share(self, title: str) -> Iterator[Share]:
        yield _nothing

    @contextmanager
    def lines(self, title: str) -> Iterator[Line]:
        yield _nothing

    def note(self, text: str) -> None:
        pass


SILENT: Progress = Silent()


def within_day(update: Share, index: int, count: int) -> Callable[[dt.date, float], None]:
    """Progress within the `index`-th of `count` days."""
    return lambda date, share: update(f"{date} ({index + 1}/{count})", (index + share) / count)
