"""Imports of the same day add up by span; what they tell of the same time must agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import CTP_HEADER, ctp_day
from tests.dirty import books, cmm, events, imported, refused, write

NAME = "IF2101.CFFEX"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rows(home: Path) -> list[str]:
    return ctp_day(home / "whole.csv", 400).read_text().splitlines()[1:]


def part(path: Path, rows: list[str]) -> Path:
    return write(path, CTP_HEADER, *rows)


def manifest() -> dict[str, object]:
    (entry,) = Path("data/manifest", NAME).glob("*.json")
    told: dict[str, object] = json.loads(entry.read_text())
    return told


def told() -> list[tuple[int, object]]:
    """What the day holds, without the nanoseconds that keep events apart."""
    return [(e["ts_event"], e.get("bids"), e.get("asks"), e.get("price"), e.get("lots")) for e in events(NAME)]  # type: ignore[misc]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_pieces_in_several_commands_add_up(home: Path, rows: list[str], order: tuple[int, ...]) -> None:
    pieces = [
        part(home / f"{i}.csv", rows[start:stop]) for i, (start, stop) in enumerate(((0, 100), (150, 250), (300, 400)))
    ]
    for index in order:
        imported(pieces[index])
    assert [len(manifest()["parts"]), manifest()["book_updates"]] == [3, 300]  # type: ignore[arg-type]
    assert len(books(NAME)) == 300
    assert [source["name"] for source in manifest()["sources"]] == ["0.csv", "1.csv", "2.csv"]  # type: ignore[attr-defined]
    before = told()
    again = cmm("import", pieces[1])
    assert "there already" in again.stdout
    imported(pieces[1])
    assert told() == before


@pytest.mark.parametrize(
    "spans", [((0, 250), (150, 400)), ((150, 400), (0, 250)), ((100, 200), (0, 400)), ((0, 400), (100, 200))]
)
def test_overlapping_pieces_that_agree_are_one_day(
    home: Path, rows: list[str], spans: tuple[tuple[int, int], ...]
) -> None:
    assert cmm("import", part(home / "w.csv", rows), "--set", "data.path=other").exit_code == 0
    whole = [json.loads(line) for line in cmm("events", NAME, "--json", "--set", "data.path=other").stdout.splitlines()]
    for index, (start, stop) in enumerate(spans):
        imported(part(home / f"{index}.csv", rows[start:stop]))
    found = events(NAME)
    for kind in (
        "book",
        "trade",
    ):  # a span begins with the book as it stands: a moment may be told twice, never otherwise
        expected = {e["ts_event"]: {**e, "ts": 0} for e in whole if e["kind"] == kind}
        assert {e["ts_event"]: {**e, "ts": 0} for e in found if e["kind"] == kind} == expected
    assert len([e for e in found if e["kind"] == "trade"]) == len([e for e in whole if e["kind"] == "trade"])
    assert len([e for e in found if e["kind"] == "book"]) <= 402


def test_overlapping_pieces_that_differ_are_named(home: Path, rows: list[str]) -> None:
    imported(part(home / "a.csv", rows[:250]))
    changed = [row.replace(",3,", ",9,") if i == 40 else row for i, row in enumerate(rows[200:])]
    other = part(home / "b.csv", changed)
    before = told()
    refused(cmm("import", other), "b.csv", "overlaps", "a.csv", "--again", "2021-01-04T01:3")
    assert told() == before
    assert cmm("import", other, "--again").exit_code == 0
    assert manifest()["book_updates"] == 200


def test_two_imports_of_the_same_files_are_the_same_bytes(home: Path, rows: list[str]) -> None:
    pieces = [part(home / "0.csv", rows[:100]), part(home / "1.csv", rows[200:])]
    found = []
    for folder in ("one", "two"):
        for piece in pieces:
            assert cmm("import", piece, "--set", f"data.path={folder}").exit_code == 0
        found.append({str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()})
    assert found[0] == found[1]


def test_another_depth_of_the_same_day_does_not_mix(home: Path, rows: list[str]) -> None:
    imported(part(home / "0.csv", rows[:100]))
    header = CTP_HEADER + ",BidPrice2,BidVolume2,AskPrice2,AskVolume2"
    deeper = write(home / "1.csv", header, *(f"{row},5229.0,1,5232.0,1" for row in rows[200:]))
    refused(cmm("import", deeper), "of 2 levels", "of 1 levels", "another catalog")
