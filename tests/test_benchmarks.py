"""The benchmarks' own output: its shape, and that every lane trades the same market. No timings."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.markets import Timeable, recorded, simulated
from benchmarks.rate import Rates, measure, show


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> Rates:
    market = simulated(tmp_path_factory.mktemp("rate"), 120.0)

    def found(scratch: Path, skipped: list[str]) -> Iterator[Timeable]:
        skipped.append("another is skipped: it is not there")
        yield Timeable("two minutes", market[0], [market[1]], market)

    return measure(found, rounds=1)


def test_rates_name_every_lane_and_what_it_models(rates: Rates) -> None:
    peer = ["hftbacktest"] if importlib.util.find_spec("hftbacktest") else []
    lanes = ["fast", "fast from columns", "nautilus", *peer]
    assert [(r.recording, r.quoter, r.lane) for r in rates.rates] == [
        ("two minutes", quoter, lane) for quoter in ("cmm", "foic") for lane in lanes
    ]
    assert all(r.updates_per_s > 0 and r.updates_per_wall_s > 0 and r.models for r in rates.rates)
    assert all((ratio.fast_to_hftbacktest is not None) == bool(peer) for ratio in rates.ratios)
    assert any("hftbacktest" in sentence for sentence in rates.skipped) == (not peer)
    read = json.loads(msgspec.json.encode(rates))
    assert {"card", "rounds", "figure", "rates", "ratios", "skipped"} == set(read)
    assert {"cpu", "cores", "pinned_core", "versions", "load_at_start", "load_at_end"} <= set(read["card"])


def test_lanes_trade_alike(rates: Rates) -> None:
    for quoter in ("cmm", "foic"):
        ours = [r for r in rates.rates if r.quoter == quoter and r.lane != "hftbacktest"]
        assert len({(r.updates, r.actions, r.fills) for r in ours}) == 1
        assert ours[0].actions > 0


def test_the_table_says_what_was_skipped(rates: Rates, capsys: pytest.CaptureFixture[str]) -> None:
    show(rates)
    told = capsys.readouterr().out
    assert "another is skipped" in told
    assert "numba" in told


def test_recordings_that_are_missing_are_skipped_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMM_DATA", str(tmp_path / "nothing"))
    skipped: list[str] = []
    assert not list(recorded(tmp_path, skipped))
    assert [sentence.split(" is skipped: ")[0].split()[0] for sentence in skipped] == ["IF2101", "BTCUSDT-PERP"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["speed"], "unknown benchmark speed"),
        (["--json"], "--json takes one"),
        (["wire", "--json"], "--json takes one"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments: list[str], says: str) -> None:
    with pytest.raises(SystemExit, match=says):
        benchmarks.main(arguments)
