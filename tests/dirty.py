"""Small recordings with faults, through the command line: import them, read back what was understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from engine.cli import main

MS = 10**6
T0 = 1_721_347_200_000_000_000  # 2024-07-19 00:00 UTC


def cmm(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def imported(*paths: Path) -> dict[str, int]:
    """Import files; return what was left out or changed."""
    result = cmm("import", *paths, "--json")
    assert result.exit_code == 0, result.output
    counts: dict[str, int] = {}
    for done in json.loads(result.stdout):
        for reason, count in done["drops"].items():
            counts[reason] = counts.get(reason, 0) + count
    return counts


def events(instrument: str, *options: object) -> list[dict[str, Any]]:
    result = cmm("events", instrument, "--json", *options)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def books(instrument: str) -> list[tuple[int, list[list[float]], list[list[float]]]]:
    return [(e["ts"], e["bids"], e["asks"]) for e in events(instrument) if e["kind"] == "book"]


def trades(instrument: str) -> list[tuple[float, int, str]]:
    return [(e["price"], e["lots"], e["aggressor"]) for e in events(instrument) if e["kind"] == "trade"]


def last(instrument: str) -> tuple[list[list[float]], list[list[float]]]:
    """The book at the end."""
    return books(instrument)[-1][1:]


def refused(result: Result, *says: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ")
    for text in says:
        assert text in message, message
