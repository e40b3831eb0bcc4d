"""What commands do can be done from Python: typed results, nothing printed; and how commands reach it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner, Result

from engine.artifacts import compare_artifacts, list_artifacts, verify_artifact
from engine.backtest.backtest import backtest, prepare
from engine.backtest.datasets import record_instrument
from engine.cli.main import main
from engine.config import QUOTERS, SHIPPED, Config, QuoterName, examples_of, load, override, type_of
from engine.live.records.contents import contents
from engine.live.records.journal import verify
from engine.live.trading.paper import paper_replay
from engine.recordings.simulation import simulate_recording
from engine.reports.inspection import inspect_instrument
from engine.reports.results import run_backtest
from market.errors import ConfigError, DataError


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    return override(Config(), {"backtest.sensitivity": "none", "monitor.enabled": False})


def cmm(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_a_day_from_simulation_to_journal_without_a_word(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    day = simulate_recording(config, 3.0, seed=4)
    (quality,) = inspect_instrument(config, day.instrument).days
    assert (quality.date, quality.book_updates) == (str(day.date), day.book_updates)
    (recorded,) = record_instrument(config, day.instrument)
    assert recorded.counts["rows"] > 0
    assert record_instrument(config, day.instrument)[0].counts == {}
    kept = run_backtest(config, day.instrument)
    assert kept.page.is_file()
    assert kept.summary.total.book_updates == day.book_updates
    assert [e.date for e in kept.summary.episodes] == [str(day.date)]
    paper = paper_replay(config, day.instrument)
    assert paper.summary.total.fills_sha256 == kept.summary.total.fills_sha256
    journal = paper.page.parent / f"journal-{day.date}.jsonl"
    assert contents(journal).counts["decisions"] == verify(journal).decisions
    assert not verify(journal).differences
    assert list_artifacts(config)[0].path == SHIPPED
    assert verify_artifact(SHIPPED).trials > 0
    assert compare_artifacts(SHIPPED, SHIPPED).same
    assert capfd.readouterr() == ("", "")


def test_a_backtest_is_a_value_and_leaves_nothing_behind(config: Config) -> None:
    simulate_recording(config, 2.0, seed=4)
    traded = backtest(prepare(override(config, {"strategy.quoter": "foic"}), "QR.SIM"))
    assert (traded.plan.quoter, traded.instrument, len(traded.episodes), traded.grid) == ("foic", "QR.SIM", 1, None)
    assert traded.predictor is None
    assert not Path(config.runs.path).exists()


def test_the_summary_on_disk_is_the_one_that_is_given(config: Config) -> None:
    simulate_recording(config, 2.0, seed=4)
    shown = cmm(
        "backtest", "--instrument", "QR.SIM", "--quoter", "foic", "--set", "backtest.sensitivity=none", "--json"
    )
    summary = json.loads(shown.stdout)
    assert json.loads((Path(summary["run"]) / "summary.json").read_text()) == summary
    assert set(summary["total"]) == set(summary["episodes"][0]) - {"date"}
    assert "markout_0.1s_ticks" in summary["total"]


def test_services_raise_what_a_user_can_act_on(config: Config) -> None:
    with pytest.raises(DataError, match="it is empty"):
        run_backtest(config, "QR.SIM")
    simulate_recording(config, 2.0, seed=4)
    with pytest.raises(ConfigError, match="already"):
        simulate_recording(config, 2.0, seed=4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"limits.max_position_lots": "ten"}, "limits.max_position_lots"),
        ({"limits.max_positions": 1}, "max_positions"),
        ({"strategy.quoter.name": "cmm"}, "quoter is not a group of keys"),
        ({"strategy.quoter": "best"}, "strategy.quoter=best: key strategy.quoter"),
    ],
)
def test_what_cannot_be_overridden(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        override(Config(), changes)


def test_keys_that_hold_together_are_overridden_together() -> None:
    leg = "venue.latency.decision"
    changed = override(Config(), {f"{leg}.kind": "quantiles", f"{leg}.quantiles_ms": [1.0, 2.0]})
    assert changed.venue.latency.decision.quantiles_ms == [1.0, 2.0]
    assert override(changed, {}) == changed
    assert override(Config(), {"backtest.sensitivity": Config().backtest.sensitivity}).hash == Config().hash
    assert get_args(type_of("strategy.quoter")) == get_args(QuoterName.__value__)
    assert examples_of(type_of("strategy.quoter")) == [*QUOTERS, "FILE.py:NAME"]


def test_an_option_is_what_the_key_may_be(config: Config) -> None:
    listed = "[" + "|".join([*QUOTERS, "FILE.py:NAME"]) + "]"
    assert listed in "".join(cmm("backtest", "--help").stdout.split())
    refused = cmm("monitor", "--port", "99999")
    assert (refused.exit_code, refused.stderr) == (2, "error: --port 99999: expected `int` <= 65535\n")
    refused = cmm("backtest", "--instrument", "QR.SIM", "--quoter", "best")
    assert refused.exit_code == 2
    assert refused.stderr == f"error: --quoter best: expected one of {', '.join(QUOTERS)}, FILE.py:NAME\n"
    refused = cmm("backtest", "--instrument", "QR.SIM", "--fees", "best")
    assert refused.exit_code == 2
    assert "'best' is not one of 'exchange'" in refused.stderr


@pytest.mark.parametrize("text", ["limits.max_position_lots=[", "limits.max_position_lots={a: }}"])
def test_an_override_that_is_no_yaml(text: str, config: Config) -> None:
    with pytest.raises(ConfigError, match="not a YAML value"):
        load(None, [text])


@pytest.mark.parametrize(
    "words",
    [
        ("paper", "replay", "QR.SIM", "--dates", "2020-03-03"),
        ("paper", "--replay", "QR.SIM", "--dates", "2020-03-03"),
        ("paper", "--dates", "2020-03-03", "--replay=QR.SIM"),
        ("paper", "venue", "nyse", "--instrument", "X"),
        ("paper", "--instrument", "X", "--venue", "nyse"),
        ("halt", "clear", "--set", "live.state=there"),
        ("halt", "--set", "live.state=there", "--clear"),
    ],
)
def test_a_flag_may_name_a_command(words: tuple[str, ...], config: Config) -> None:
    simulate_recording(config, 1.0, seed=4)
    says = {
        "replay": "no data for 2020-03-03",
        "venue": "--venue nyse: no adapter",
        "clear": "--clear: say with --reason",
    }
    (wanted,) = {text for name, text in says.items() if any(word.lstrip("-").startswith(name) for word in words)}
    result = cmm(*words)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert wanted in line


@pytest.mark.parametrize("words", [(), ("--replay", "X", "--venue", "bybit"), ("--json",)])
def test_paper_needs_one_market(words: tuple[str, ...]) -> None:
    result = cmm("paper", *words)
    assert (result.exit_code, result.stderr) == (
        2,
        "error: cmm paper: give either --replay INSTRUMENT or --venue NAME\n",
    )


def test_help_waits_for_no_library() -> None:
    """No command's service, nor the configuration, is imported for a list of commands."""
    code = (
        "import sys; from engine.cli import main; main(['--help'], standalone_mode=False); "
        "print(sorted({'numpy', 'numba', 'rich', 'nautilus_trader', 'engine.config'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert "backtest" in done.stdout
