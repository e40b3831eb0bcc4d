"""The verdict on a recording, and what a backtest makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ctp_day, ctp_file, ctp_row
from tests.dirty import cmm, imported, refused

NAME = "IF2101.CFFEX"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verdict(*options: str) -> dict[str, Any]:
    result = cmm("inspect", NAME, "--json", *options)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def one_sided(path: Path, count: int) -> Path:
    rows = [
        ctp_row(f"09:{30 + i // 120}:{i // 2 % 60:02d}", 500 * (i % 2), volume=100, ask=0, sizes=(3, 0))
        for i in range(count)
    ]
    return ctp_file(path, rows)


def test_a_sound_day_needs_care_for_what_its_feed_cannot_show(home: Path) -> None:
    imported(ctp_day(home / "a.csv", 1300))
    found = verdict()
    assert found["verdict"] == found["days"][0]["verdict"] == "care"
    assert found["reasons"] == [
        "2021-01-04: level 1 only: an order away from the touch has no known queue; its fills look too good"
    ]


def test_a_book_without_a_side_is_not_usable_and_a_backtest_refuses_it(home: Path) -> None:
    imported(one_sided(home / "a.csv", 1300), ctp_day(home / "b.csv", 1300, day="20210105"))
    found = verdict()
    assert [day["verdict"] for day in found["days"]] == ["unusable", "care"]
    assert found["verdict"] == "unusable"
    assert "leave a side empty" in found["reasons"][0]
    backtest = ("backtest", "--instrument", NAME, "--quoter", "foic", "--json", "--set", "backtest.sensitivity=none")
    refused(cmm(*backtest), "2021-01-04 is not usable", "leave a side empty", "--anyway")
    careful = cmm(*backtest, "--dates", "2021-01-05")
    assert careful.exit_code == 0, careful.output
    notes = json.loads(careful.stdout.splitlines()[-1])["notes"]
    assert any("2021-01-05 needs care: level 1 only" in note for note in notes)
    result = cmm(*backtest, "--anyway")
    assert result.exit_code == 0, result.output
    assert any("is not usable" in note for note in json.loads(result.stdout.splitlines()[-1])["notes"])


def test_thresholds_are_configured(home: Path) -> None:
    imported(ctp_day(home / "a.csv", 400))
    assert verdict()["verdict"] == "care"
    assert verdict("--set", "inspect.minutes.unusable=5")["verdict"] == "unusable"
    refused(cmm("inspect", NAME, "--set", "inspect.crossed={care: 2, unusable: 1}"), "inspect.crossed")
