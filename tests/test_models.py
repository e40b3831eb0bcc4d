"""Training, fusion, artifact and predictor: on data with known answers, small enough for a minute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from engine.config import SHIPPED
from models import artifact, students
from models.dataset import Dataset, DatasetHeader
from models.errors import ModelError
from models.features import FeatureSpec
from models.fusion import fit
from models.graph import Ensemble
from models.predictor import Predictor, run_graph
from models.students import Scaler
from models.train import train_labels
from models.train_config import FusionConfig, StudentConfig, TrainConfig

SPEC = FeatureSpec()
SMALL = TrainConfig(StudentConfig(members=1, width=8, epochs=12, batch=256), FusionConfig(kernel_features=8))


def made(rows: int, seed: int, start_s: int = 0, signal: float = 1.0) -> Dataset:
    """A market in which the first feature moves the mid and the second the spread."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, len(SPEC.names))).astype(np.float32)
    x[:, -3:] = (1.0, 0.5, 3.0)
    noise = rng.normal(size=(rows, 3))
    mid = np.e * (signal * 0.5 * x[:, 0] + 0.8 * noise[:, 0])
    spread = np.exp(0.5 + signal * 0.2 * x[:, 1] + 0.2 * noise[:, 1])
    volume = np.expm1(np.maximum(3.0 + signal * 0.4 * x[:, 2] + 0.3 * noise[:, 2], 0.0))
    outcomes = np.stack([mid, spread, volume, np.zeros(rows), np.zeros(rows)], 1).astype(np.float32)
    ts = (start_s + np.arange(rows, dtype=np.int64)) * 10**9
    regime = rng.integers(0, 3, rows).astype(np.int8)
    return Dataset(ts, x, regime, outcomes, SPEC, [DatasetHeader("X.SIM", f"2020-01-{seed:02d}", SPEC, "0", 0)])


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "a"
    train_labels(made(8000, 1), made(1500, 2, 9000), SMALL, out, quiet)
    return out


def test_students_learn_what_there_is_and_the_graph_says_the_same(trained: Path) -> None:
    manifest = artifact.read(trained)
    valid = manifest.metrics["valid"]
    assert valid["ic_mid"] > 0.42  # 0.53 is all there is
    assert valid["r2_spread"] > 0.3
    assert valid["r2_volume"] > 0.4
    assert manifest.metrics["parity"] <= 1e-5
    assert (trained / "MODEL_CARD.md").read_text().count("| valid |") == 1


def test_the_graph_is_the_fusion_in_other_words() -> None:
    data = made(4000, 1)
    scaler = Scaler.fit(data)
    team = students.train(data, scaler, SMALL.students, lambda *_: None)
    y, z = students.outputs(team, scaler, data)
    fusion = fit(y, z, scaler.targets(data).double().numpy(), data.regime, data.ts_ns, 5 * 10**9, SMALL.fusion)
    forecast, confidence = fusion.predict(y, z)
    mid, spread, volume = (forecast * scaler.target_deviation + scaler.target_mean).T
    sigma, spread_base, volume_base = data.features[:, -3:].T
    expected = np.stack([mid * np.exp(sigma), np.exp(spread + spread_base), volume + volume_base, *confidence.T], 1)
    np.testing.assert_allclose(
        Ensemble(team, scaler, fusion)(torch.from_numpy(data.features)), expected, rtol=1e-4, atol=1e-5
    )


def test_no_skill_where_there_can_be_none(tmp_path: Path) -> None:
    manifest = train_labels(made(3000, 3, signal=0.0), made(1500, 4, 5000, signal=0.0), SMALL, tmp_path / "a", quiet)
    assert abs(manifest.metrics["valid"]["ic_mid"]) < 0.08
    assert manifest.metrics["valid"]["r2_mid"] < 0.02


def test_training_twice_gives_the_same_artifact(trained: Path, tmp_path: Path) -> None:
    again = train_labels(made(8000, 1), made(1500, 2, 9000), SMALL, tmp_path / "a", quiet)
    assert again.files == artifact.read(trained).files
    assert again.hash == artifact.read(trained).hash
    graph = (trained / artifact.GRAPH).read_bytes()
    assert b"graph.py" not in graph  # no stack traces, no paths: the same bytes wherever it is trained


def test_validation_days_must_come_later(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="before the training days end"):
        train_labels(made(3000, 1), made(100, 2, 10), SMALL, tmp_path / "a", quiet)
    assert not list(tmp_path.iterdir())


def test_a_failed_training_leaves_the_earlier_artifact(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    shutil.copytree(trained, out)
    before = artifact.read(out).hash
    with pytest.raises(ModelError, match="samples to train on"):
        train_labels(made(150, 1), None, SMALL, out, quiet)
    assert artifact.read(out).hash == before


def test_bound_predictor_and_batch_agree(trained: Path) -> None:
    predictor = Predictor(trained)
    rows = made(200, 9).features
    batch = run_graph(trained / artifact.GRAPH, rows)
    for row, expected in zip(rows, batch, strict=True):
        predictor.features[0] = row
        forecast = predictor.predict()
        assert forecast is not None
        assert tuple(forecast) == pytest.approx(tuple(expected[:4]), rel=1e-4, abs=1e-4)
        assert 0 < forecast.confidence <= 1
    predictor.features[0, 0] = np.nan
    assert predictor.predict() is None
    predictor.features[0] = 1e6
    assert predictor.outside() > 10


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda f: (f / artifact.GRAPH).write_bytes(b"junk"), "changed since"),
        (lambda f: (f / artifact.GRAPH).unlink(), "missing or changed"),
        (lambda f: (f / artifact.MANIFEST).write_text("{}"), "not a manifest"),
        (lambda f: (f / artifact.MANIFEST).unlink(), "no artifact there"),
        (lambda f: _edit(f, spec_hash="0"), "computed differently"),
        (lambda f: _edit(f, schema=99), "schema 99"),
        (lambda f: _edit_golden(f), "golden"),
    ],
)
def test_a_changed_artifact_is_refused(harm: object, says: str, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    shutil.copytree(trained, folder)
    harm(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=says):
        Predictor(folder)


def _edit(folder: Path, **values: object) -> None:
    path = folder / artifact.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _edit_golden(folder: Path) -> None:
    tree = json.loads((folder / artifact.MANIFEST).read_text())
    tree["golden"]["output"][0] += 1.0
    (folder / artifact.MANIFEST).write_text(json.dumps(tree))


def test_the_shipped_artifact_is_sound() -> None:
    predictor = Predictor(SHIPPED)
    assert predictor.manifest.instruments == ["QR.SIM"]
    assert predictor.manifest.students == 27
    assert msgspec.json.decode(msgspec.json.encode(predictor.manifest), type=artifact.Manifest) == predictor.manifest


def crowd(seed: int, rows: int = 3000) -> tuple[np.ndarray, ...]:
    """27 students that each see the truth through noise of their own."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, 3))
    y = 0.5 * np.repeat(truth, 9, 1) + 0.4 * rng.normal(size=(rows, 27))
    target = 0.5 * truth + rng.normal(size=(rows, 3))
    z = np.repeat(y[:, :, None], 4, 2) + 0.1 * rng.normal(size=(rows, 27, 4))
    ts = np.arange(rows, dtype=np.int64) * 10**9
    return y, z, target, rng.integers(0, 3, rows).astype(np.int8), ts


def test_one_student_gone_mad_hardly_hurts_the_fusion() -> None:
    y, z, target, regime, ts = crowd(1)
    fusion = fit(y, z, target, regime, ts, 5 * 10**9, FusionConfig(kernel_features=8, gamma=False))
    y, z, target, _, _ = crowd(2)

    def ic(outputs: np.ndarray, mean: bool = False) -> float:
        forecast = outputs[:, :9].mean(1) if mean else fusion.predict(outputs, z)[0][:, 0]
        return float(np.corrcoef(forecast, target[:, 0])[0, 1])

    mad = y.copy()
    mad[:, 0] += np.random.default_rng(3).choice([-1.0, 1.0], len(y)) * 6 * y[:, 0].std()
    assert ic(mad) > 0.98 * ic(y)
    assert ic(mad, mean=True) < 0.95 * ic(y, mean=True)


def test_confidence_falls_where_students_disagree() -> None:
    y, z, target, regime, ts = crowd(1)
    fusion = fit(y, z, target, regime, ts, 5 * 10**9, FusionConfig(kernel_features=8))
    together, apart = y.copy(), y.copy()
    together[:, :9] = y[:, :9].mean(1, keepdims=True)
    apart[:, :4] += 3.0
    high, low = (fusion.predict(outputs, z)[1][:, 0].mean() for outputs in (together, apart))
    assert 0 < low < high <= 1
