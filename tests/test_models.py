"""Students, fusion, artifact and predictor: on data with known answers, small enough for a minute."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from engine.config import SHIPPED
from models.ensemble import artifact
from models.ensemble.artifact import Manifest
from models.ensemble.fit_fusion import fit
from models.ensemble.fusion import FusionConfig, StudentOutputs
from models.ensemble.moments import Moments
from models.ensemble.parameters import Calibration
from models.ensemble.predictor import Predictor, run_graph
from models.errors import ModelError
from models.features import splits
from models.features.choice import OFF, plainest
from models.features.labels import cells
from models.features.scaler import Scaler, linear_fit
from models.training import export, recipes, student_training, students
from models.training.context import Job
from models.training.graph import Ensemble
from models.training.metrics import HAJEK_MOE
from models.training.student_training import StudentData
from models.training.train_config import StudentConfig, TrainConfig
from tests.markets import made, save

SMALL = TrainConfig(
    students=StudentConfig(members=1, width=8, epochs=12, batch=256),
    fusion=FusionConfig(kernel_features=8),
    baselines=False,
    threads=1,
)


def quiet(line: str) -> None:
    pass


def train(folder: Path, out: Path, config: TrainConfig = SMALL, signal: float = 1.0, rows: int = 8000) -> Manifest:
    """Students by labels on a made market."""
    days = [made(rows, 1, 0, signal), made(1500, 2, rows + 100, signal), made(2000, 3, rows + 2000, signal)]
    days.append(made(1500, 4, rows + 5000, signal))
    paths = [[save(folder, day)] for day in days]
    job = Job("labels", config, splits.make(*paths, 8), folder / "cache", out.name)  # type: ignore[arg-type]
    trained = recipes.run(job, quiet)
    return export.write(trained, [trained.metrics], out, quiet)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    train(folder, folder / "a")
    return folder / "a"


def test_students_learn_what_there_is_and_the_graph_says_the_same(trained: Path) -> None:
    metrics = json.loads((trained / artifact.METRICS).read_text())
    shipped = metrics["contestants"][HAJEK_MOE]
    assert shipped["ic_mid"] > 0.42  # 0.53 is all there is
    assert shipped["r2_spread"] > 0.3
    assert shipped["r2_volume"] > 0.4
    assert metrics["parity"]["rows"] == 2000
    assert max(metrics["parity"]["onnx"], metrics["parity"]["compiled"]) <= 1e-5
    assert "Ensemble and baselines on the test split (1,500 samples)" in (trained / "MODEL_CARD.md").read_text()


def test_the_graph_is_the_fusion_in_other_words() -> None:
    data = made(4000, 1)
    scaler = Scaler.fit([data])
    team = student_training.train(StudentData(data, scaler), SMALL.students, lambda *_: None)
    y, z = students.outputs(team, scaler, data)
    target = scaler.targets(data).astype(np.float64)
    fusion = fit(StudentOutputs(y, z, target, cells(data.regime, 3), data.ts_ns), 3, 5 * 10**9, SMALL.fusion)
    forecast, confidence = fusion.predict(y, z)
    mid, spread, volume = scaler.natural(forecast).T
    sigma, spread_base, volume_base = data.features[:, -3:].T
    expected = np.stack([mid * np.exp(sigma), np.exp(spread + spread_base), volume + volume_base, *confidence.T], 1)
    bias, readout = team.readout_bias.detach().double().numpy(), team.readout.detach().double().numpy()
    readout = np.concatenate([readout, np.ones((len(readout), 1))], 1)
    none = Moments.empty(fusion)
    calibration = Calibration(readout, bias, scaler.target_mean, scaler.target_deviation, fusion, 3, 0.5, 3.0, none)
    got, members, known = (o.numpy() for o in Ensemble(team, scaler, calibration)(torch.from_numpy(data.features)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(members, fusion.members(y, z), rtol=1e-4, atol=1e-5)
    width = readout.shape[1]
    np.testing.assert_allclose(known[..., : width - 1], z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((known[..., :width] * readout).sum(-1) + bias, y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(known[..., width:] * (2.0 / 8) ** 0.5, fusion.phi(z), rtol=1e-4, atol=1e-4)


def test_no_skill_where_there_can_be_none(tmp_path: Path) -> None:
    train(tmp_path, tmp_path / "a", signal=0.0, rows=3000)
    shipped = json.loads((tmp_path / "a" / artifact.METRICS).read_text())["contestants"][HAJEK_MOE]
    assert abs(shipped["ic_mid"]) < 0.08
    assert shipped["r2_mid"] < 0.02


def test_training_twice_gives_the_same_artifact(trained: Path, tmp_path: Path) -> None:
    again = train(tmp_path, tmp_path / "a")
    assert again.files == artifact.read(trained).files
    assert again.hash == artifact.read(trained).hash
    graph = (trained / artifact.GRAPH).read_bytes()
    assert b"graph.py" not in graph  # no stack traces, no paths: the same bytes wherever it is trained


def test_a_failed_training_leaves_the_earlier_artifact(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    shutil.copytree(trained, out)
    before = artifact.read(out).hash
    with pytest.raises(ModelError, match="regime calm"):
        train(tmp_path, out, rows=150)
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
    with pytest.raises(ValueError, match="nobody watches"):
        predictor.closeness()
    predictor.watch()
    predictor.features[0] = rows[-1]
    assert predictor.predict() == pytest.approx(tuple(batch[-1, :4]), rel=1e-4, abs=1e-4)
    assert predictor.members.shape == predictor.closeness().shape == (3, 3)
    predictor.features[0, 0] = np.nan
    assert predictor.predict() is None
    predictor.features[0] = 1e6
    assert predictor.outside().sum() > 10


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
    return y, z, target, rng.integers(0, 3, rows), ts


def test_one_student_gone_mad_hardly_hurts_the_fusion() -> None:
    y, z, target, regime, ts = crowd(1)
    fusion = fit(StudentOutputs(y, z, target, regime, ts), 3, 5 * 10**9, FusionConfig(kernel_features=8, gamma=False))
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
    fusion = fit(StudentOutputs(y, z, target, regime, ts), 3, 5 * 10**9, FusionConfig(kernel_features=8))
    together, apart = y.copy(), y.copy()
    together[:, :9] = y[:, :9].mean(1, keepdims=True)
    apart[:, :4] += 3.0
    high, low = (fusion.predict(outputs, z)[1][:, 0].mean() for outputs in (together, apart))
    assert 0 < low < high <= 1


def test_a_calibration_of_a_few_horizons_fits_nothing() -> None:
    y, z, target, regime, ts = crowd(1, 90)
    fusion = fit(StudentOutputs(y, z, target, regime, ts), 3, 5 * 10**9, FusionConfig(kernel_features=8))
    assert fusion.ridges == [OFF] * 3
    np.testing.assert_allclose(fusion.weight, 1 / 9)
    forecast, _ = fusion.predict(y, z)
    assert np.corrcoef(forecast[:, 0], y[:, :9].mean(1))[0, 1] > 0.98


def test_the_linear_path_is_fitted_where_there_is_something_to_fit() -> None:
    data = made(6000, 1)
    weights = linear_fit([data], Scaler.fit([data]))
    assert weights.shape == (59, 3)
    assert [int(np.abs(column).argmax()) for column in weights.T] == [0, 1, 2]
    noise = made(6000, 2, signal=0.0)
    assert not linear_fit([noise], Scaler.fit([noise])).any()


@pytest.mark.parametrize(
    ("errors", "chosen"),
    [
        ([[1.0, 1.0, 1.0], [0.5, 0.6, 0.5]], 1),  # clearly better
        ([[1.0, 1.0, 1.0], [0.9, 1.2, 0.8]], 0),  # better by less than its noise
        ([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], 0),
        ([[], []], 0),
    ],
)
def test_the_plainest_candidate_that_is_as_good(errors: list[list[float]], chosen: int) -> None:
    assert plainest(np.array(errors)) == chosen


@pytest.mark.parametrize(
    ("former", "says"),
    [
        ({"contestants": False}, "`contestants` is called `baselines` now; rename it"),
        ({"teacher": {"body": "none"}}, "`body` is called `backbone` now; rename it - at `$.teacher`"),
    ],
)
def test_former_names_of_settings_are_refused_with_the_new_ones(former: dict[str, object], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(says)):
        msgspec.json.decode(json.dumps(former), type=TrainConfig)
    assert not {"contestants", "body"} & {
        *msgspec.to_builtins(TrainConfig()),
        *msgspec.to_builtins(TrainConfig().teacher),
    }
