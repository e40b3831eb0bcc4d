"""What a journal holds, counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from engine.live.records import journal


class Contents(msgspec.Struct, frozen=True):
    """Counts of decisions, actions, refusals by limit and faults; and the time from the first decision to the last."""

    instrument: str
    quoter: str
    seconds: float
    counts: dict[str, int]


def contents(path: Path) -> Contents:
    """Count what a journal holds; a last line that is torn is counted as such.

    Raises
    ------
    ConfigError
        It cannot be read.

    """
    header, lines = journal.read(path)
    seen: Counter[str] = Counter()
    first = last = 0
    for line in lines:
        if line is None:
            seen["torn"] += 1
            continue
        first, last = first or line.ts_ns, line.ts_ns
        seen["decisions"] += 1
        seen["actions"] += len(line.actions)
        seen.update({f"bound by {name}": count for name, count in line.refusals.items()})
        seen[f"fault {line.fault}"] += bool(line.fault)
    return Contents(header.instrument, header.quoter, (last - first) / 1e9, dict(seen))
