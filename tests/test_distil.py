"""Distillation, checks, recalibration and the whole chain: made markets with known answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from engine.cli.main import main
from engine.config import SHIPPED
from models.ensemble import artifact
from models.ensemble.fusion import StudentOutputs
from models.ensemble.parameters import Calibration
from models.ensemble.predictor import Predictor, run_graph
from models.ensemble.recalibrate import replay
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.errors import ModelError
from models.features import checks, splits
from models.features.book_features import REGIMES
from models.features.labels import cells, normalised
from models.training import decompose, export, recipes
from models.training.context import Job
from models.training.decompose import Windows
from models.training.metrics import ByAxis
from models.training.separation import separation
from models.training.train_config import Kind, OfddConfig, StudentConfig, TrainConfig
from tests.markets import NS, SPEC, made, save, settings

QUIET = lambda line: None  # noqa: E731


def market(folder: Path, signal_strength: float = 1.0) -> list[list[Path]]:
    """Train, valid, calibrate, test: one day each."""
    starts, rows = (0, 4000, 6000, 8000), (3000, 1200, 1500, 1200)
    return [
        [save(folder, made(n, i + 1, start, signal_strength))]
        for i, (start, n) in enumerate(zip(starts, rows, strict=True))
    ]


def job(kind: Kind, config: TrainConfig, paths: list[list[Path]], cache: Path) -> Job:
    return Job(kind, config, splits.make(*paths, config.teacher.window), cache, "a")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory, llama: str) -> Path:
    """An artifact taught by the small Llama, with all baselines."""
    folder = tmp_path_factory.mktemp("distilled")
    made_job = job("ofdd", settings(llama), market(folder), folder / "cache")
    trained = recipes.run(made_job, QUIET)
    export.write(trained, [trained.metrics], folder / "runs" / "a", QUIET)
    return folder / "runs" / "a"


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / artifact.METRICS).read_text())  # type: ignore[no-any-return]


def test_training_compares_with_all_baselines_and_says_so_in_its_card(distilled: Path) -> None:
    found = metrics(distilled)
    assert set(found["contestants"]) == {
        "Hájek-MoE", "mean of students", "median of students", "hard regime gate", "raw Hájek sum",
        "Hájek-MoE, recalibrated online", "last value", "ridge", "LightGBM", "one network by labels",
        "one network, vanilla KD", "one network, feature KD", "students by labels, mean",
        "students by labels, Hájek-MoE", "OFDD without the task axis, Hájek-MoE",
        "OFDD without the data axis, Hájek-MoE", "OFDD without the layer axis, Hájek-MoE",
    }  # fmt: skip
    assert found["contestants"]["Hájek-MoE"]["ic_mid"] > 0.45
    assert found["robustness"]["worst"] > 0.98 * found["robustness"]["ic_mid"]
    assert found["robustness"]["mean_worst"] < 0.9 * found["robustness"]["mean"]
    assert set(found["gate"]["tasks"]) == {"mid", "spread", "volume"}
    assert set(found["teacher_rows"]) >= {"teacher's head", "LightGBM", "Hájek-MoE"}
    card = (distilled / artifact.CARD).read_text()
    for words in (
        "**Gate: ",
        "teacher's own head",
        "normalized fluorescent probe",
        "Where it is weak",
        "one split only",
    ):
        assert words in card
    probe = json.loads((distilled / artifact.PROBE).read_text())
    assert len(probe["cells"]) == 9
    assert set(probe["cells"][0]["controls"]) == {"input", "as loaded", "random weights"}


@pytest.mark.parametrize("kind", ["one-student", "kd", "fitnets"])
def test_single_networks_ship_in_the_same_graph(kind: Kind, llama: str, tmp_path: Path) -> None:
    made_job = job(kind, msgspec.structs.replace(settings(llama), baselines=False), market(tmp_path), tmp_path / "c")
    trained = recipes.run(made_job, QUIET)
    manifest = export.write(trained, [trained.metrics], tmp_path / "a", QUIET)
    assert (manifest.kind, manifest.students, manifest.regimes) == (kind, 3, 1)
    assert metrics(tmp_path / "a")["contestants"]["Hájek-MoE"]["ic_mid"] > 0.4
    assert Predictor(tmp_path / "a").predict() is not None


def test_shuffled_targets_leave_no_skill_anywhere(llama: str, tmp_path: Path) -> None:
    config = settings(llama)
    paths = market(tmp_path, 0.0)
    found = recipes.run(job("ofdd", config, paths, tmp_path / "c"), QUIET)
    for name, score in found.metrics.scores.items():
        assert abs(score.ic_mid) < 0.12, name
    assert found.probe is not None
    assert sum(not cell.dark for cell in found.probe.cells) <= 1


def test_stale_features_lose_their_skill(tmp_path: Path) -> None:
    config = msgspec.structs.replace(settings(), baselines=False)
    paths = []
    for i, (start, rows) in enumerate(((0, 3000), (4000, 1200), (6000, 1500), (8000, 1200))):
        day = made(rows, i + 1, start)
        stale = np.roll(day.features, 10, 0)  # ten seconds old
        paths.append([save(tmp_path, msgspec.structs.replace(day, features=stale))])
    found = recipes.run(job("labels", config, paths, tmp_path / "c"), QUIET)
    assert abs(found.metrics.scores["Hájek-MoE"].ic_mid) < 0.12


def test_a_planted_peek_is_found_and_named() -> None:
    data = made(3000, 1)
    checks.check(data, 3, 0.6)
    noise = np.random.default_rng(0).normal(size=len(data))
    data.features[:, 20] = data.outcomes[:, 0] + noise * data.outcomes[:, 0].std()
    with pytest.raises(ModelError, match=f"feature {SPEC.names[20]} correlates 0.7"):
        checks.check(data, 3, 0.6)


def test_a_span_without_trades_or_without_a_regime_is_refused() -> None:
    data = made(3000, 1)
    silent = msgspec.structs.replace(data, outcomes=data.outcomes * np.float32([1, 1, 0, 1, 1]))
    with pytest.raises(ModelError, match="2020-01-01 holds no trades"):
        checks.check(silent, 3, 0.6)
    calm = data.rows(data.regime != 2)
    with pytest.raises(ModelError, match="0 samples of the regime volatile"):
        checks.check(calm, len(REGIMES), 0.6)
    checks.check(calm, 1, 0.6)


@pytest.mark.parametrize("axis", ["task", "data", "layer"])
def test_each_strength_decouples_its_own_axis(axis: str) -> None:
    rng = np.random.default_rng(0)
    h = rng.normal(size=(1500, 3, 12)).astype(np.float32)
    h[:, 1] = 0.7 * h[:, 0] + 0.7 * h[:, 1]  # layers share much
    target = (h[:, :, :3].sum(1) + rng.normal(size=(1500, 3))).astype(np.float32)
    regime = rng.integers(0, 3, 1500)
    config = OfddConfig(components=2, steps=150)

    def overlap(strength: float) -> float:
        strengths = ByAxis(**({"task": 0.0, "data": 0.0, "layer": 0.0} | {axis: strength}))
        found = decompose.fit(Windows(h, target, regime), StudentConfig(outside_weight=0.5), strengths, config)
        z = found.feature(torch.arange(1500))
        assert z.shape == (1500, 27, 2)
        torch.testing.assert_close(z.std(0), torch.ones(27, 2), rtol=0.05, atol=0.05)
        assert np.corrcoef(found.forecast(torch.arange(1500))[:, 0], target[:, 0])[0, 1] > 0.4
        return float(getattr(found.overlap, axis))

    assert overlap(10.0) < 0.3 * overlap(0.0)


def test_separation_knows_apart_from_alike() -> None:
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.normal(size=(300, 1, 4)), 27, 1) + 0.01 * rng.normal(size=(300, 27, 4))
    apart = 0.1 * rng.normal(size=(300, 27, 4)) + rng.normal(size=(27, 4)) * 5
    same, different = separation(alike, 3, 3), separation(apart, 3, 3)
    assert same.cka > 0.95
    assert different.cka < 0.2
    assert same.silhouette < 0
    assert different.silhouette > 0.5


# ── recalibration ─────────────────────────────────────────────────────────────────────────────


def _span(distilled: Path, drift: float) -> tuple[Calibration, StudentOutputs]:
    """Students' outputs on a new day whose mid moves by `drift` of its deviation besides."""
    c = Calibration.load(distilled / artifact.FUSION)
    data = made(3000, 9, 20_000)
    known = _known(distilled, data.features)
    width = c.readout.shape[1]
    z = known[:, :, : width - 1].astype(np.float64)
    y = (known[:, :, :width] * c.readout).sum(-1) + c.readout_bias
    target = (normalised(data) - c.target_mean) / c.target_deviation
    target[:, 0] += drift
    return c, StudentOutputs(y, z, target.astype(np.float64), cells(data.regime, 3), data.ts_ns)


def _known(folder: Path, features: np.ndarray) -> np.ndarray:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(folder / artifact.GRAPH), options, providers=["CPUExecutionProvider"])
    known: np.ndarray = session.run(["known"], {"features": features})[0]
    return known


CONFIG = RecalibrateConfig(enabled=True, half_life_s=300, sample_s=1, every_s=60)


def test_recalibration_follows_a_drift_and_starts_from_the_artifact(distilled: Path) -> None:
    c, span = _span(distilled, 1.0)
    fixed = c.fusion.predict(span.y, span.z)[0][:, 0]
    moving = replay(c, CONFIG, span, 5.0)[:, 0]
    np.testing.assert_allclose(moving[:50], fixed[:50])
    late = slice(1500, None)
    bias = [float(np.mean(f[late] - span.target[late, 0])) for f in (fixed, moving)]
    assert bias[0] < -0.9
    assert abs(bias[1]) < 0.35  # the calibration split keeps a share of the weight


def test_recalibration_never_looks_ahead(distilled: Path) -> None:
    c, span = _span(distilled, 0.0)
    whole = replay(c, CONFIG, span, 5.0)
    now = 1500
    changed = span.target.copy()
    changed[now - 5 :] += 100.0  # what happens after the horizon of row 1,494 has passed
    blind = replay(c, CONFIG, msgspec.structs.replace(span, target=changed), 5.0)
    np.testing.assert_array_equal(whole[:now], blind[:now])
    assert not np.allclose(whole[now + 200 :], blind[now + 200 :])


def _live(distilled: Path, steps: range, predictor: Predictor) -> list[tuple[float, ...]]:
    """Feed a predictor as the strategy does: a book update a second, a drifting mid."""
    r = predictor.recalibrator
    assert r is not None
    rows = made(2000, 12).features
    seen = []
    for i in steps:
        ts = (50_000 + i) * NS
        bid = 1000 + 3 * i
        r.on_trade(ts, bid, 2, 1)
        r.on_book(ts, bid, bid + 2, True)
        predictor.features[0] = rows[i]
        forecast = predictor.predict()
        assert forecast is not None
        predictor.remember(ts, i % 3)
        seen.append(tuple(forecast))
    return seen


def test_live_recalibration_moves_the_graph_and_its_state_goes_on(distilled: Path, tmp_path: Path) -> None:
    fixed, moving = Predictor(distilled), Predictor(distilled, CONFIG)
    seen = _live(distilled, range(1000), moving)
    rows = made(2000, 12).features
    plain = run_graph(distilled / artifact.GRAPH, rows[:1000])[:, 0]
    got = np.array([forecast[0] for forecast in seen])
    np.testing.assert_allclose(got[:60], plain[:60], rtol=1e-4, atol=1e-4)
    assert (got - plain)[600:].mean() > 1.0  # the mid rises by 15 ticks in each horizon
    assert moving.recalibrator is not None
    assert moving.recalibrator.refits > 10
    fixed.features[0] = rows[900]
    assert fixed.predict() == pytest.approx(
        tuple(run_graph(distilled / artifact.GRAPH, rows[900:901])[0, :4]), rel=1e-4
    )

    moving.recalibrator.save(tmp_path / "state.npz")
    again = Predictor(distilled, msgspec.structs.replace(CONFIG, state=str(tmp_path / "state.npz")))
    moving.recalibrator.start()
    assert _live(distilled, range(1000, 1300), again) == _live(distilled, range(1000, 1300), moving)
    (tmp_path / "state.npz").write_bytes(b"junk")
    with pytest.raises(ModelError, match="cannot be read"):
        Predictor(distilled, msgspec.structs.replace(CONFIG, state=str(tmp_path / "state.npz")))


# ── commands ──────────────────────────────────────────────────────────────────────────────────


def test_probe_page_and_registry(distilled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(distilled.parents[1])

    def cmm(*arguments: str) -> Any:
        return CliRunner().invoke(main, list(arguments))

    shown = json.loads(cmm("probe", "runs/a", "--json").stdout)
    assert len(shown["cells"]) == 9
    for name in ("probe.html", "probe.png", "separation.png"):
        assert (distilled / name).stat().st_size > 10_000
    assert "layer groups" in cmm("probe", "runs/a").stdout
    listed = json.loads(cmm("models", "list", "--json").stdout)
    assert [m["kind"] for m in listed if m["path"] == "runs/a"] == ["ofdd"]
    assert cmm("models", "show", "runs/a").stdout.startswith("# a\n")
    assert json.loads(cmm("models", "show", "runs/a", "--json").stdout)["metrics"]["kind"] == "ofdd"
    assert "sound" in cmm("models", "verify", "runs/a").stdout
    assert "the same artifact" in cmm("models", "diff", "runs/a", "runs/a").stdout
    difference = json.loads(cmm("models", "diff", "runs/a", str(SHIPPED), "--json").stdout)
    assert not difference["same"]
    assert "settings.students.width" in difference["changed"]
    wrong = cmm("probe", "runs/nowhere")
    assert (wrong.exit_code, "no artifact there" in wrong.stderr) == (2, True)


def test_training_on_files_without_the_trading_engine_survives_a_kill(tmp_path: Path, llama: str) -> None:
    """`python -m models`, killed with SIGKILL in the middle of the teacher, ends at the artifact of one go."""
    paths = market(tmp_path)
    config = msgspec.structs.replace(settings(llama, epochs=2, checkpoint_every=2), baselines=False)
    (tmp_path / "train.json").write_bytes(msgspec.json.encode(config))
    blocked = "import sys\nsys.modules['nautilus_trader'] = None\nimport runpy\nrunpy.run_module('models', run_name='__main__')"

    command = [sys.executable, "-c", blocked, "--settings", str(tmp_path / "train.json")]
    for split, files in zip(("train", "valid", "calibrate", "test"), paths, strict=True):
        command += [f"--{split}", *map(str, files)]
    command += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "killed" / "a")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as killed:
        assert killed.stderr is not None
        for line in killed.stderr:
            if "step 20 " in line:
                killed.send_signal(signal.SIGKILL)
                break
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "a").exists()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "goes on at step" in done.stderr
    whole, lines = job("ofdd", config, paths, tmp_path / "other"), []
    trained = recipes.run(whole, lines.append)
    assert not any("goes on at step" in line for line in lines)
    expected = export.write(trained, [trained.metrics], tmp_path / "a", QUIET)
    assert artifact.read(tmp_path / "killed" / "a").files == expected.files
    assert artifact.read(tmp_path / "killed" / "a").hash == expected.hash
