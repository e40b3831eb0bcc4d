"""`cmm compare` on replays: what was planted into a run is what the split names, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from venues.recordings.catalog import Catalog, Day

type Compare = Callable[..., dict[str, Any]]
CAUSES = ["latency", "data", "fees", "guards_and_limits", "queue", "unexplained"]


def command(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, list(words))
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def places(brief: tuple[Catalog, Day], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that say where recordings and runs are."""
    runs = tmp_path_factory.mktemp("runs")
    return ["--set", f"data.path={brief[0].root}", "--set", f"runs.path={runs}"]


def traded(places: list[str], *settings: str) -> Path:
    """The folder of a replay with a cheap quoter."""
    options = [
        word for one in ("strategy.quoter=foic", "strategy.offset.offset_ticks=1", *settings) for word in ("--set", one)
    ]
    code, out, err = command("paper", "--replay", "QR.SIM", "--speed", "0", "--json", *places, *options)
    assert code == 0, err
    return Path(json.loads(out)["run"])


def compared(run: Path, places: list[str], *settings: str) -> dict[str, Any]:
    options = [word for one in settings for word in ("--set", one)]
    code, out, err = command("compare", str(run), "--json", *places[2:], *options)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    assert list(found["split"]) == CAUSES
    assert sum(found["split"].values()) == pytest.approx(found["pnl"]["difference"], abs=1e-9)
    assert sum(found["by_fills"].values()) == pytest.approx(found["pnl"]["difference"], abs=1e-9)
    fills = found["fills"]
    both = fills["same"] + fills["other_time"] + fills["other_size"]
    assert (both + fills["ours_only"], both + fills["theirs_only"]) == (fills["run"], fills["backtest"])
    return found


@pytest.fixture(scope="module")
def plain(places: list[str]) -> Path:
    return traded(places)


def test_a_replay_is_its_backtest(plain: Path, places: list[str]) -> None:
    """Nothing was planted: no share, and each fill matched; twice the same bytes but for the folder's name."""
    found, again = compared(plain, places), compared(plain, places)
    assert found["fills"]["run"] == found["fills"]["same"] == found["fills"]["backtest"] > 10
    assert (found["causes"], set(found["split"].values()), set(found["changed"].values())) == ([], {0.0}, {0})
    assert found["pnl"]["run"] == found["pnl"]["backtest"] != 0.0
    assert found["headline"].startswith("The run made what its backtest makes")
    summary = json.loads((plain / "summary.json").read_text())
    assert found["pnl"]["run"] == pytest.approx(summary["total"]["epnl"], abs=0.01 * (1 + found["fills"]["run"]))
    page = Path(found["page"])
    assert json.loads((page.parent / "compare.json").read_text()) == found
    assert "Why the run differs" in page.read_text()
    assert page.read_bytes() == Path(again["page"]).read_bytes()
    for key in ("folder", "page"):
        assert found.pop(key) != again.pop(key)
    assert found == again


@pytest.mark.parametrize(
    ("planted", "assumed", "cause"),
    [
        ("venue.latency.order.ms=400", "venue.latency.order.ms=2", "latency"),
        ("venue.queue.model=pessimistic", "venue.queue.model=optimistic", "queue"),
        ("fees.scenario=rebate", "fees.scenario=zero", "fees"),
        ("limits.max_position_lots=2", "limits.max_position_lots=10", "guards_and_limits"),
        ("guard.fills.fills=1", "guard.fills.fills=null", "guards_and_limits"),
    ],
)
def test_what_was_planted_is_named_alone(planted: str, assumed: str, cause: str, places: list[str]) -> None:
    found = compared(traded(places, planted), places, assumed)
    assert found["causes"] == [cause]
    assert found["split"][cause] == pytest.approx(found["pnl"]["difference"], abs=1e-9)
    assert found["pnl"]["difference"] != 0.0
    assert {name for name, count in found["changed"].items() if count} == {cause}


def test_two_causes_have_their_shares(places: list[str]) -> None:
    run = traded(places, "venue.latency.order.ms=400", "fees.scenario=rebate")
    found = compared(run, places, "venue.latency.order.ms=2", "fees.scenario=zero")
    alone = compared(run, places, "venue.latency.order.ms=2")
    assert set(found["causes"]) == {"latency", "fees"}
    assert found["changed"]["latency"] == alone["changed"]["latency"] > 0
    assert found["split"]["unexplained"] == found["split"]["queue"] == 0.0


def test_a_journal_stands_for_its_run(plain: Path, places: list[str]) -> None:
    (journal,) = plain.glob("journal-*.jsonl")
    assert compared(journal, places)["fills"] == compared(plain, places)["fills"]


def test_a_run_is_found_by_its_name(plain: Path, places: list[str]) -> None:
    code, out, _ = command("compare", plain.name, *places)
    assert code == 0
    assert "The run made what its backtest makes" in " ".join(out.split())


# ── what cannot be compared ───────────────────────────────────────────────────────────────────


def refused(*words: str) -> str:
    """The one sentence of a refusal."""
    code, out, err = command("compare", *words)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
    assert "Traceback" not in err
    return lines[0]


def damage(run: Path, tmp_path: Path, name: str, change: Callable[[Path], object]) -> str:
    copy = tmp_path / name
    shutil.copytree(run, copy)
    change(copy)
    return str(copy)


def test_what_is_no_run_is_refused(plain: Path, places: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("a,b\n")
    (tmp_path / "alone.jsonl").write_text("{}\n")
    assert "there is no such run" in refused("nowhere", *places)
    assert "neither a run folder" in refused(str(tmp_path / "empty"), *places)
    assert "no journal" in refused(str(tmp_path / "notes.txt"), *places)
    assert "its fills are kept beside it" in refused(str(tmp_path / "alone.jsonl"), *places)
    done = min(plain.parent.glob("*-compare-*"))
    assert "a run of `cmm compare`" in refused(str(done), *places)


def test_a_damaged_run_is_refused_or_read_as_far_as_it_goes(plain: Path, places: list[str], tmp_path: Path) -> None:
    def log(folder: Path) -> Path:
        (found,) = folder.glob("orders-*.jsonl")
        return found

    def spoil(folder: Path) -> None:
        lines = log(folder).read_bytes().splitlines(keepends=True)
        log(folder).write_bytes(b"".join([*lines[:9], b"{\n", *lines[9:]]))

    assert "line 10: damaged" in refused(damage(plain, tmp_path, "a", spoil), *places)
    assert "is no header" in refused(damage(plain, tmp_path, "b", lambda d: log(d).write_bytes(b"\x00" * 99)), *places)
    assert "kept no order log" in refused(damage(plain, tmp_path, "c", lambda d: log(d).unlink()), *places)
    assert "damaged" in refused(damage(plain, tmp_path, "d", lambda d: (d / "run.json").write_text("{")), *places)
    assert "summary.json" in refused(
        damage(plain, tmp_path, "e", lambda d: (d / "summary.json").write_text("{")), *places
    )
    cut = compared(Path(damage(plain, tmp_path, "f", lambda d: (d / "fills.csv").unlink())), places)
    assert any("stopped before its end" in note for note in cut["notes"])
    assert cut["causes"] == []

    def tear(folder: Path) -> None:
        whole = log(folder).read_bytes()
        log(folder).write_bytes(whole[: int(len(whole) * 0.8)])

    found = compared(Path(damage(plain, tmp_path, "g", tear)), places)
    assert any("its end is missing" in note for note in found["notes"])
    assert found["fills"]["run"] < compared(plain, places)["fills"]["run"]
    assert found["causes"] == []  # what came after its end is nobody's


def test_without_a_recording_the_remedy_is_named(plain: Path, places: list[str], tmp_path: Path) -> None:
    said = refused(str(plain), *places[2:], "--set", f"data.path={tmp_path / 'none'}")
    assert "2020-03-02" in said
    assert "data.path" in said
    assert not list((tmp_path).glob("*-compare-*"))


def test_only_assumptions_can_be_changed(plain: Path, places: list[str]) -> None:
    assert "the backtest trades as the run did" in refused(str(plain), *places, "--set", "strategy.quoter=glft")
    assert "no such" not in refused(str(plain), *places, "--set", "venue.nothing=1")


def test_another_artifact_is_refused(places: list[str], tmp_path: Path) -> None:
    run = traded(places, "strategy.quoter=cmm")
    assert "artifact" in refused(str(run), *places, "--artifact", str(tmp_path))
