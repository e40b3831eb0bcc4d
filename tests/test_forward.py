"""The compiled graph: the same bits for a row wherever it stands, and what ONNX Runtime makes of the same file."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.artifacts import verify_artifact
from engine.config import SHIPPED
from models.ensemble import artifact
from models.ensemble.forward import Forward, _cosine
from models.ensemble.parameters import Calibration, graph_parameters
from models.ensemble.predictor import Predictor, run_compiled, run_graph
from models.errors import ModelError

SHIPPED_ALL = sorted(path.parent for path in SHIPPED.parent.glob(f"*/{artifact.MANIFEST}"))
WILD = (np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0)


def rows(folder: Path, seed: int, count: int, wild: float = 0.0) -> np.ndarray:
    """Features within and around what was seen in training, a share of them wild."""
    manifest, rng = artifact.read(folder), np.random.default_rng(seed)
    low, high = np.asarray(manifest.feature_low), np.asarray(manifest.feature_high)
    x = low + (high - low) * rng.normal(0.5, 0.5, (count, len(low)))
    x[rng.random(x.shape) < wild] = rng.choice(WILD)
    return x.astype(np.float32)


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint32)


@pytest.mark.parametrize("folder", SHIPPED_ALL, ids=lambda folder: folder.name)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 60), max_size=8), wild=st.sampled_from([0.0, 0.01]))
def test_a_row_has_the_same_bits_in_any_batch(folder: Path, seed: int, cuts: list[int], wild: float) -> None:
    predictor, x = Predictor(folder), rows(folder, seed, 60, wild)
    single = np.full((60, 4), np.nan, np.float32)
    for i, row in enumerate(x):
        predictor.features[0] = row
        forecast = predictor.predict()
        if forecast is not None:
            single[i] = forecast
    parts = [predictor.predict_rows(part) for part in np.split(x, sorted(cuts))]
    np.testing.assert_array_equal(bits(np.concatenate(parts)), bits(single))
    np.testing.assert_array_equal(bits(predictor.predict_rows(x[::-1])[::-1]), bits(single))


@pytest.mark.parametrize("folder", SHIPPED_ALL, ids=lambda folder: folder.name)
def test_the_graph_is_what_onnx_runtime_reads(folder: Path) -> None:
    x = rows(folder, 1, 2000)
    ours, theirs = (run(folder / artifact.GRAPH, x) for run in (run_compiled, run_graph))
    scale = 1.0 + np.abs(theirs)
    scale[:, 0] += np.exp(x[:, -3])
    assert (np.abs(ours - theirs) / scale).max() < 1e-5


def test_moved_parameters_are_those_that_count() -> None:
    c = Calibration.load(SHIPPED / artifact.FUSION)
    x, graph = rows(SHIPPED, 2, 50), Forward(SHIPPED / artifact.GRAPH)
    before, after = np.zeros((50, 6), np.float32), np.zeros((50, 6), np.float32)
    graph.run(x, before)
    parameters = graph_parameters(c, c.fusion)
    graph.move(parameters)
    graph.run(x, after)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    parameters["units"][0] *= 2.0
    graph.move(parameters)
    graph.run(x, after)
    np.testing.assert_allclose(after[:, 1:3], before[:, 1:3], rtol=1e-5, atol=1e-5)
    assert not np.allclose(after[:, 0], before[:, 0])


@pytest.mark.parametrize(
    ("n", "latents", "kernels", "features"), [(1, 3, 2, 4), (2, 5, 3, 9), (4, 8, 7, 6), (9, 1, 1, 11)]
)
def test_other_sizes_follow_the_formula(
    n: int, latents: int, kernels: int, features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, students = np.random.default_rng(n), 3 * n
    shapes = {
        "mean": (features,), "limit": (features,), "layer": (features, students * (latents + 1)),
        "layer_bias": (students * (latents + 1),), "projection": (latents, kernels), "phase": (kernels,),
        "readout": (students, latents + 1 + kernels), "base": (students,), "bandwidth": (3, 1), "weight": (3, n),
        "inverse_total": (3,), "units": (6, 6), "offset": (6,),
    }  # fmt: skip
    w = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in ("limit", "bandwidth", "weight"):
        w[name] = np.abs(w[name]) + np.float32(0.1)
    monkeypatch.setattr("models.ensemble.forward.read_weights", lambda _: w)
    graph, x, out = (
        Forward(Path("made")),
        rng.normal(0, 1, (20, features)).astype(np.float32),
        np.zeros((20, 6), np.float32),
    )
    graph.run(x, out)
    forecast, members, known = reference({name: value.astype(np.float64) for name, value in w.items()}, x)
    np.testing.assert_allclose(out, forecast, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(graph.members, members[-1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(graph.known, known[-1], rtol=1e-4, atol=1e-4)


def reference(w: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`models.training.graph.Ensemble`, written with whole arrays."""
    students, latents = len(w["base"]), len(w["projection"])
    hidden = np.clip(x - w["mean"], -w["limit"], w["limit"]) @ w["layer"] + w["layer_bias"]
    z = np.maximum(hidden[:, : students * latents], 0.0).reshape(-1, students, latents)
    known = np.concatenate([z, hidden[:, students * latents :, None], np.cos(z @ w["projection"] + w["phase"])], -1)
    m = ((known * w["readout"]).sum(-1) + w["base"]).reshape(len(x), 3, -1)
    c = w["weight"] / (1.0 + (m - np.median(m, -1, keepdims=True)) ** 2 * w["bandwidth"])
    natural = np.concatenate([(c * m).sum(-1) / c.sum(-1), x[:, -3:]], 1) @ w["units"] + w["offset"]
    return np.concatenate([natural[:, :3] * np.exp(natural[:, 3:]), c.sum(-1) * w["inverse_total"]], 1), m, known


def test_cosine_is_right_to_the_last_bits() -> None:
    x = np.concatenate([np.linspace(-300, 300, 20_001), [0.0, np.pi, -np.pi, 1e4]]).astype(np.float32)
    ours = np.array([_cosine(value) for value in x])
    assert np.abs(ours - np.cos(x.astype(np.float64))).max() < 1e-7
    assert np.isnan(_cosine(np.float32(np.nan)))


def test_a_graph_of_other_steps_does_not_verify(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(SHIPPED, folder)
    graph = onnx.load(folder / artifact.GRAPH)
    next(node for node in graph.graph.node if node.op_type == "Cos").op_type = "Sin"
    onnx.save(graph, folder / artifact.GRAPH)
    manifest = artifact.read(SHIPPED)
    hashes = {**manifest.files, artifact.GRAPH: artifact.file_hash(folder / artifact.GRAPH)}
    (folder / artifact.MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, files=hashes)))
    with pytest.raises(ModelError, match="not one that this version runs"):
        verify_artifact(folder)
    assert verify_artifact(SHIPPED).manifest.hash == manifest.hash


@pytest.mark.parametrize("cut", [0, 1, 100, 60_000, -1])
def test_a_torn_graph_is_refused(tmp_path: Path, cut: int) -> None:
    whole = (SHIPPED / artifact.GRAPH).read_bytes()
    (tmp_path / "torn.onnx").write_bytes(whole[:cut])
    with pytest.raises(ModelError, match=r"torn\.onnx"):
        Forward(tmp_path / "torn.onnx")
