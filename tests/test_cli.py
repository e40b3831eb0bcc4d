"""The command line as a user meets it: results, and one sentence with exit code 2 for each bad input."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from engine import config as configuration
from engine.cli.main import main
from engine.config import SHIPPED, Config
from market.errors import ConfigError
from tests.conftest import CTP_HEADER, ctp_day, ctp_file, ctp_row

INSTRUMENT = ("--instrument", "CFFEX.IF2101")
ALONE = ("--set", "backtest.sensitivity=none")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cmm(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def once_imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of IF, and the catalog that they were imported into."""
    folder = tmp_path_factory.mktemp("imported")
    ctp_day(folder / "day1.csv", 1200)
    ctp_day(folder / "day2.csv", 1200, day="20210105")
    with contextlib.chdir(folder):
        assert cmm("import", "day1.csv", "day2.csv").exit_code == 0
    return folder


@pytest.fixture
def imported(home: Path, once_imported: Path) -> Path:
    """A copy of them, to do with as a test likes."""
    shutil.copytree(once_imported, home, dirs_exist_ok=True)
    return home


def refused(result: Result, *says: str) -> None:
    """One clear sentence on stderr, exit code 2, no traceback."""
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for text in says:
        assert text in line
    assert "Traceback" not in result.output


def test_import_inspect_record_backtest(imported: Path) -> None:
    inspected = json.loads(cmm("inspect", "CFFEX.IF2101", "--json").stdout)
    assert [d["date"] for d in inspected["days"]] == ["2021-01-04", "2021-01-05"]
    assert inspected["days"][0]["book_updates"] == 1200
    assert (imported / inspected["page"]).stat().st_size > 1e6
    assert "1,1" in cmm("record", *INSTRUMENT, "--dates", "2021-01-04..2021-01-07").stdout
    result = cmm("backtest", *INSTRUMENT, "--dates", "2021-01-04,2021-01-05", "--quoter", "foic", "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.strip().splitlines()
    summary = json.loads(line)
    assert json.loads((imported / summary["run"] / "summary.json").read_text()) == summary
    assert [e["date"] for e in summary["episodes"]] == ["2021-01-04", "2021-01-05"]
    assert set(summary["total"]["by_fees"]) == {"rebate", "zero", "exchange"}
    for key in [
        "epnl",
        "map_lots",
        "pnlmap",
        "sharpe",
        "max_drawdown",
        "fill_ratio",
        "actions_per_update",
        "markout_0.1s_ticks",
        "markout_1s_ticks",
        "markout_10s_ticks",
        "markout_60s_ticks",
        "book_updates",
        "order_actions",
        "fills",
        "fills_sha256",
        "wall_s",
        "updates_per_s",
        "pnl",
    ]:
        assert key in summary["total"], key
        assert key in summary["episodes"][0], key
    assert {"artifact_hash", "fee_scenario"} <= set(summary)
    table = summary["sensitivity"]
    assert len({(c["queue"], c["latency"], c["fees"]) for c in table["cells"]}) == 27
    own = [c for c in table["cells"] if (c["queue"], c["latency"]) == ("calibrated", "measured")]
    by_fees = {name: numbers["epnl"] for name, numbers in summary["total"]["by_fees"].items()}
    assert {c["fees"]: c["epnl"] for c in own} == by_fees
    assert by_fees["exchange"] == pytest.approx(summary["total"]["epnl"], abs=1e-6)
    values = [c["epnl"] for c in table["cells"]]
    assert table["turns_sign"] == (min(values) < 0 < max(values))
    assert ("sign of this result depends" in table["headline"]) == table["turns_sign"]
    assert summary["decision_ms"] == []  # the compiled lane times no decision by itself
    slow = cmm(
        "backtest", *INSTRUMENT, "--dates", "2021-01-04", "--quoter", "foic", "--engine", "nautilus", "--json", *ALONE
    )
    timed = json.loads(slow.stdout)
    assert (summary["engine"], timed["engine"], len(timed["decision_ms"])) == ("fast", "nautilus", 41)
    drawn = ("venue.latency.decision.kind=measured", f"venue.latency.decision.file={timed['run']}")
    again = cmm("backtest", *INSTRUMENT, "--quoter", "foic", "--set", drawn[1], "--set", drawn[0], *ALONE)
    assert again.exit_code == 0, again.output
    missing = cmm("backtest", *INSTRUMENT, "--quoter", "foic", "--set", drawn[1] + "x", "--set", drawn[0])
    assert missing.exit_code == 2
    assert "run folder" in missing.stderr.splitlines()[-1]
    page = (imported / summary["run"] / "report.html").read_text()
    assert table["headline"] in page
    assert "plotly" in page
    assert "<script src" not in page  # opens without a network


def test_backtest_twice_gives_the_same_fills_and_an_unfitted_instrument_says_what_it_uses(imported: Path) -> None:
    runs = [cmm("backtest", *INSTRUMENT, "--dates", "2021-01-04", "--fees", "zero", "--json", *ALONE) for _ in range(2)]
    first, second = (json.loads(run.stdout) for run in runs)
    assert first["total"]["fills_sha256"] == second["total"]["fills_sha256"]
    assert first["run"] != second["run"]
    assert "the shipped one" in runs[0].stderr.replace("\n", " ")
    assert "no fitted artifact" in first["notes"][0]


def test_glft_uses_given_intensities_or_warns_that_it_assumes_some(imported: Path) -> None:
    command = ("backtest", *INSTRUMENT, "--dates", "2021-01-04", "--quoter", "glft", "--json", *ALONE)
    (warning,) = [note for note in json.loads(cmm(*command).stdout)["notes"] if note.startswith("WARNING")]
    assert "WARNING: intensities are not fitted (there is no day before 2021-01-04)" in warning
    given = json.loads(cmm(*command, "--set", "strategy.intensity.a=2", "--set", "strategy.intensity.k=0.4").stdout)
    assert given["intensity"] == [2.0, 0.4]


def test_train_records_what_it_needs_and_the_artifact_is_found(imported: Path) -> None:
    small = ("--set", "train.students.epochs=2", "--set", "train.students.members=1", "--set", "features.warm_up_s=5")
    # a made-up day has one regime and prices that follow a rule
    quiet = ("--set", "train.students.regimes=1", "--set", "train.baselines=false", "--set", "train.leak_limit=1")
    days = ("--train", "2021-01-04", "--test", "2021-01-05", "--out", "runs/if")
    trained = cmm("train", "--teacher", "labels", *INSTRUMENT, *days, *small, *quiet)
    assert trained.exit_code == 0, trained.output
    assert "Ensemble and baselines on the test split" in trained.stdout
    again_on = ("backtest", *INSTRUMENT, "--dates", "2021-01-05", *ALONE, "--set", "model.recalibrate.enabled=true")
    result = cmm(*again_on, "--json")
    summary = json.loads(result.stdout)
    assert summary["artifact"]["path"] == "runs/if"
    state = f"model.recalibrate.state={summary['run']}/recalibration.npz"
    again = cmm(*again_on, "--set", state)
    assert again.exit_code == 0, again.output
    assert "has learnt from these days" in " ".join(again.stderr.split())
    seen = cmm("backtest", *INSTRUMENT, "--dates", "2021-01-04", "--artifact", "runs/if", "--json", *ALONE)
    assert "in-sample" in " ".join(json.loads(seen.stdout)["notes"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*INSTRUMENT, "--train", "2021-01-05", "--valid", "2021-01-04"), ("--valid", "give later days")),
        ((*INSTRUMENT, "--train", "2021-01-04,2021-01-05", "--folds", "2"), ("--folds 2 needs 5 days",)),
        ((*INSTRUMENT, "--train", "2021-01-04", "--test", "2021-01-05", "--folds", "2"), ("--folds rolls its own",)),
        (("--train", "2021-01-04"), ("--instrument", "--quick")),
        ((*INSTRUMENT, "--train", "2021-01-04", "--teacher", "no-such-model"), ("no-such-model", "neither a folder")),
        ((*INSTRUMENT, "--train", "2021-01-04", "--teacher", "labels"), ("regime", "train.students.regimes=1")),
        (
            (*INSTRUMENT, "--train", "2021-01-04", "--set", "train.leak_limit=0.3"),
            ("it knows the future",),
        ),
    ],
)
def test_trainings_that_cannot_be(arguments: tuple[str, ...], says: tuple[str, ...], imported: Path) -> None:
    warm = ("--set", "features.warm_up_s=5", "--set", "train.leak_limit=1")
    one_regime = () if "train.students.regimes=1" in says else ("--set", "train.students.regimes=1")
    refused(cmm("train", *warm, *one_regime, *arguments, "--out", "runs/x"), *says)
    assert not (imported / "runs" / "x").exists()


def test_walking_forward_rolls_the_days_and_ships_the_last_fold(home: Path) -> None:
    for date in range(4, 9):
        ctp_day(home / f"day{date}.csv", 700, day=f"2021010{date}")
    assert cmm("import", *sorted(home.glob("day*.csv"))).exit_code == 0
    small = ("students.epochs=2", "students.members=1", "students.regimes=1", "baselines=false", "leak_limit=1")
    options = [word for text in small for word in ("--set", f"train.{text}")]
    days = ("--train", "2021-01-04..2021-01-08", "--folds", "2", "--out", "runs/folds")
    trained = cmm("train", "--teacher", "labels", *INSTRUMENT, *days, *options, "--set", "features.warm_up_s=5")
    assert trained.exit_code == 0, trained.output
    shown = json.loads(cmm("models", "show", "runs/folds", "--json").stdout)
    assert [fold["test_days"] for fold in shown["metrics"]["folds"]] == [["2021-01-07"], ["2021-01-08"]]
    assert shown["metrics"]["gate"]["folds"] == 2
    assert {split: [entry.split(" ")[1] for entry in found] for split, found in shown["splits"].items()} == {
        "train": ["2021-01-05"], "valid": ["2021-01-06"], "calibrate": ["2021-01-07"], "test": ["2021-01-08"],
    }  # fmt: skip
    assert "Walk-forward folds" in trained.stdout


def cut(path: Path) -> None:
    rows = [CTP_HEADER, *(ctp_row() for _ in range(9999))]
    path.write_bytes(gzip.compress("\n".join(rows).encode())[:-100])


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: None, "no such file"),
    "truncated": (cut, "truncated or damaged"),
    "columns": (lambda p: p.write_text("a,b\n1,2\n"), "no known recording format"),
    "fewer columns": (lambda p: p.write_text(f"{CTP_HEADER[:-11]}\n{ctp_row()[:-2]}\n"), "'AskVolume1' is missing"),
    "text": (lambda p: ctp_file(p, [ctp_row(last="abc")]), "'abc' is not a number"),
    "backwards": (lambda p: ctp_file(p, [ctp_row("10:00:00"), ctp_row("09:31:00")]), "time runs backwards"),
    "binary": (lambda p: p.write_bytes(bytes(range(256)) * 20), "no known recording format"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_recordings(kind: str, imported: Path) -> None:
    make, says = BAD_FILES[kind]
    path = imported / "bad.csv"
    make(path)
    before = sorted(p for p in (imported / "data").rglob("*.parquet"))
    refused(cmm("import", path), "bad.csv", says)
    assert sorted(p for p in (imported / "data").rglob("*.parquet")) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("backtest", "--instrument", "CFFEX.IF9999"), ("unknown instrument CFFEX.IF9999", "cmm import")),
        (("backtest", *INSTRUMENT, "--dates", "2021-02-01"), ("no data for 2021-02-01", "cmm import")),
        (("backtest", *INSTRUMENT, "--dates", "yesterday"), ("--dates yesterday", "YYYY-MM-DD")),
        (("backtest", *INSTRUMENT, "--dates", "2021-01-05..2021-01-04"), ("first date is after",)),
        (("backtest", *INSTRUMENT, "--artifact", "nowhere"), ("nowhere", "no artifact there")),
        (("backtest", *INSTRUMENT, "--set", "strategy.levles=3"), ("strategy", "levles")),
        (("backtest", *INSTRUMENT, "--set", "strategy.ladder.levels=0"), ("strategy.ladder.levels", ">= 1")),
        (("backtest", *INSTRUMENT, "--set", "limits"), ("key=value",)),
        (("inspect", "NOPE"), ("unknown instrument NOPE",)),
        (("import", "day1.csv", "--format", "xyz"), ("--format xyz", "ctp")),
        (("import", "day1.csv", "--format", "binance"), ("day1.csv",)),
        (("record", "--instrument", "NOPE"), ("unknown instrument",)),
        (("train", "--out", "runs/a"), ("--instrument",)),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...], says: tuple[str, ...], imported: Path) -> None:
    runs = sorted((imported / "runs").glob("*")) if (imported / "runs").exists() else []
    refused(cmm(*arguments), *says)
    assert (sorted((imported / "runs").glob("*")) if (imported / "runs").exists() else []) == runs


def test_a_corrupted_artifact(imported: Path) -> None:
    shutil.copytree(SHIPPED, imported / "artifact")
    (imported / "artifact" / "ensemble.onnx").write_bytes(b"junk")
    refused(cmm("backtest", *INSTRUMENT, "--artifact", "artifact"), "ensemble.onnx", "changed since")


def test_an_empty_catalog_names_the_command_that_fills_it(home: Path) -> None:
    refused(cmm("backtest", *INSTRUMENT), "it is empty", "cmm import")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("strategy: {quoter: best}", ("config.yaml", "strategy.quoter", "expected one of cmm, foic")),
        ("limits: {max_position_lots: ten}", ("config.yaml", "limits.max_position_lots", "expected `int`")),
        ("secrets: {}", ("config.yaml", "secrets")),
        ("[1, 2]", ("config.yaml", "keys and values")),
        ("a: [", ("config.yaml", "not valid YAML")),
    ],
)
def test_bad_configurations(text: str, says: tuple[str, ...], home: Path) -> None:
    (home / "config.yaml").write_text(text)
    refused(cmm("backtest", *INSTRUMENT), *says)


def test_the_shipped_configuration_is_the_default_one(home: Path) -> None:
    path = Path(__file__).parents[1] / "config.yaml"
    assert configuration.load(path) == Config() == configuration.load(None)
    documented = yaml.safe_load(path.read_text())
    whole = msgspec.to_builtins(Config())
    assert set(documented) == set(whole)


def test_overrides_and_floats_of_every_spelling(home: Path) -> None:
    loaded = configuration.load(None, ["fees.rebate=1e-4", "strategy.ladder.levels=5", "model.artifact=runs/a"])
    assert (loaded.fees.rebate, loaded.strategy.ladder.levels, loaded.model.artifact) == (1e-4, 5, "runs/a")
    with pytest.raises(ConfigError, match=r"--set venue\.latency\.order\.ms=-1"):
        configuration.load(None, ["venue.latency.order.ms=-1"])


def test_demo_needs_nothing_from_outside(home: Path) -> None:
    result = cmm("demo", "--minutes", "5")
    assert result.exit_code == 0, result.output
    for word in ("cmm", "liic", "glft", "PnLMAP", "report.html"):
        assert word in result.stdout
    assert not (home / "data").exists()
    (report,) = (home / "runs").glob("*/report.html")
    assert report.stat().st_size > 1e6


def test_a_simulated_day_can_be_replayed_and_is_made_once(home: Path) -> None:
    made = cmm("simulate", "--minutes", "1")
    assert made.exit_code == 0
    assert "QR.SIM 2020-03-02" in made.output
    assert cmm("paper", "--replay", "QR.SIM", "--speed", "0", "--json").exit_code == 0
    again = cmm("simulate")
    assert (again.exit_code, "there is a QR.SIM of 2020-03-02 already" in again.output) == (2, True)
