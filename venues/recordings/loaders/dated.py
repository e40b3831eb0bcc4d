"""Files of archives that are cut by days and months, as their names say (`…-2024-07-18`, `…-2024-07`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_DATE = re.compile(r"(?<!\d)(\d{4}-\d\d)(-\d\d)?(?!\d|-\d)")


def period(path: Path) -> str:
    """The day or the month of a file; empty where its name has none."""
    found = next((m for name in (path.name, path.parent.name) if (m := _DATE.search(name))), None)
    return found.group() if found is not None else ""


def told_once(kinds: Sequence[Sequence[Path]]) -> tuple[list[Path], list[Path]]:
    """Of files that tell the same, those that are read, and those whose days others tell already.

    `kinds` come the best first; within a kind a month stands before its days.
    """
    read: list[Path] = []
    left: list[Path] = []
    known: set[str] = set()
    for paths in kinds:
        for path in sorted(paths, key=lambda path: (len(period(path)), period(path))):
            when = period(path)
            if when and (when in known or when[:7] in known):
                left.append(path)
                continue
            known.add(when)
            read.append(path)
    return read, left
