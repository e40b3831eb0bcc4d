"""Teacher, states and probe: a small real language model of the same family, and planted answers."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from models.errors import ModelError
from models.features import splits
from models.features.scaler import Scaler
from models.features.splits import Part
from models.training import (
    backbone,
    layer_groups,
    probe,
    responses,
    states,
    store,
    teacher,
    teacher_training,
    whiten,
    windows,
)
from models.training.states import Extraction, Shard, Shards
from models.training.teacher_training import TeacherData
from models.training.train_config import ProbeConfig, TeacherConfig
from models.training.windows import Epoch
from tests.markets import NS, SPEC, made, save, settings


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Part]:
    folder = tmp_path_factory.mktemp("days")
    return [Part(save(folder, made(700, seed, seed * 10_000))) for seed in (1, 2)]


def config(llama: str, **changes: object) -> TeacherConfig:
    return settings(**({"model": llama} | changes)).teacher  # type: ignore[arg-type]


def taught(config: TeacherConfig, days: list[Part], folder: Path, report: Callable[[str], None] = print) -> Any:
    scaler = Scaler.fit(part.load() for part in days)
    return teacher_training.train(config, TeacherData(days, scaler, ["X.SIM"], 5.0), folder, report)


def test_a_killed_teacher_goes_on_and_ends_at_the_same_weights(llama: str, days: list[Part], tmp_path: Path) -> None:
    whole = config(llama)
    taught(whole, days, tmp_path / "a")

    class Killed(BaseException):
        pass

    def kill(line: str) -> None:
        if "step 10 " in line:
            raise Killed

    with pytest.raises(Killed):
        taught(whole, days, tmp_path / "b", kill)
    assert (tmp_path / "b" / "checkpoint.pt").exists()
    lines: list[str] = []
    taught(whole, days, tmp_path / "b", lines.append)
    assert "goes on at step 8" in lines[0]
    one, other = ((tmp_path / name / "teacher.safetensors").read_bytes() for name in "ab")
    assert one == other
    assert not (tmp_path / "b" / "checkpoint.pt").exists()


def test_the_teacher_learns_and_gradients_accumulate_to_the_same_step(
    llama: str, days: list[Part], tmp_path: Path
) -> None:
    scaler = Scaler.fit(part.load() for part in days)
    forecasts = []
    for accumulate in (1, 4):
        model = taught(config(llama, accumulate=accumulate), days, tmp_path / str(accumulate))
        day = windows.open_day(days[0], scaler, 8)
        answer, kept = teacher.forecast(
            model, day.windows(day.ends, 8), ["X.SIM"] * len(day.ends), config(llama), states=True
        )
        assert kept is not None
        assert kept.shape == (len(day.ends), 5, 32)
        assert np.corrcoef(answer[:, 0], day.targets[day.ends][:, 0])[0, 1] > 0.4
        forecasts.append(answer)
    np.testing.assert_allclose(forecasts[0], forecasts[1], atol=2e-3)


def test_a_cached_prefix_gives_what_a_prefix_in_every_pass_gives(llama: str, tmp_path: Path) -> None:
    frozen = teacher.Teacher(config(llama, lora_rank=0), len(SPEC.names), ["A", "B"], 5.0, tmp_path)
    frozen.ids = torch.randint(1, 60, (2, 5))
    x, names = torch.randn(6, 8, len(SPEC.names)), ["A", "B", "B", "A", "B", "A"]
    _, cached = frozen(x, names, states=True)
    frozen.lora = True  # the other way: prefix and patches in one pass
    _, whole = frozen(x, names, states=True)
    torch.testing.assert_close(cached, whole, rtol=1e-4, atol=1e-4)


def test_killed_extraction_goes_on_with_identical_shards(llama: str, days: list[Part], tmp_path: Path) -> None:
    scaler, c = Scaler.fit(part.load() for part in days), config(llama)
    model = taught(c, days, tmp_path / "t")
    run = lambda folder: states.extract(lambda: model, c, scaler, Extraction(days, 600, True, tmp_path / folder), print)  # noqa: E731
    whole = run("a")
    before = [file.read_bytes() for file in whole.files]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "shards.json").unlink()
    (tmp_path / "b" / whole.files[0].name).unlink()
    assert [file.read_bytes() for file in run("b").files] == before
    small = whole.small()
    assert len(small.ts_ns) == 600
    assert set(small.part.tolist()) == {0, 1}


@pytest.mark.parametrize("model", ["random", "none"])
def test_the_controls_run(model: str, llama: str, days: list[Part], tmp_path: Path) -> None:
    c = config(llama, backbone=model, windows=64)
    answer = taught(c, days, tmp_path / "t")
    scaler = Scaler.fit(part.load() for part in days)
    found = states.extract(lambda: answer, c, scaler, Extraction(days, 100, True, tmp_path / "s"), print)
    layers = next(iter(found)).states.shape[1]
    assert layers == (5 if model == "random" else 2)


def _bert(folder: Path) -> str:
    BertModel(BertConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)).save_pretrained(folder)  # fmt: skip
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"bert"', '"nonsense"'))
    return str(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: {"model": _bert(folder)}, "cannot be loaded as a language model"),
        (lambda folder: {"model": str(folder / "nowhere")}, "neither a folder"),
        (lambda folder: {"model": "no-such-model"}, "neither a folder"),
        (lambda folder: {"device": "cuda"}, "there is no GPU here"),
        (lambda folder: {"device": "abacus"}, "expected auto, cpu or cuda"),
        (lambda folder: {"window": 9}, "no multiple"),
    ],
)
def test_unfit_settings_are_refused(
    change: Any, says: str, llama: str, days: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "m").mkdir()
    with pytest.raises(ModelError, match=says):
        taught(config(llama, **change(tmp_path / "m")), days, tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_full_disk_gives_a_sentence_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ModelError, match="disk is full"):
            store.write_arrays(tmp_path / "a.safetensors", {"x": np.zeros(100_000)})
        with pytest.raises(ModelError, match="disk is full"):
            store.write_json(tmp_path / "a.json", list(range(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_smollm2_is_found_converted_once_and_read_without_the_network(tmp_path: Path) -> None:
    c = TeacherConfig(window=16, patch=8, prompt=True, device="cpu")
    model = teacher.Teacher(c, len(SPEC.names), ["X.SIM"], 5.0, tmp_path)
    assert model.ids.shape[1] > 20
    folder, here = backbone.find("smollm2", tmp_path)
    assert here
    assert [path.name for path in tmp_path.iterdir()] == [Path(folder).name]
    answer, kept = teacher.forecast(
        model.eval(), np.zeros((3, 16, len(SPEC.names)), np.float32), ["X.SIM"] * 3, c, states=True
    )
    assert answer.shape == (3, 3)
    assert kept is not None
    assert kept.shape == (3, 31, 576)
    np.testing.assert_allclose((kept[:, 1:].astype(np.float32) ** 2).mean(-1), 1.0, atol=0.01)


@hypothesis_settings(max_examples=25)
@given(st.integers(0, 12), st.integers(1, 3), st.integers(0, 60), st.integers(0, 5))
def test_an_epoch_begun_in_its_middle_is_the_rest_of_the_epoch(skip: int, group: int, budget: int, seed: int) -> None:
    days = _memory_days()
    scaler = Scaler.fit(day.load() for day in days)
    available = windows.counts(days, 8)
    epoch = Epoch(8, budget, 7, group, (seed, 0))

    def run(skip: int) -> list[np.ndarray]:
        return [targets for _, targets, _ in windows.batches(days, available, scaler, epoch, skip)]

    whole = run(0)
    assert len(whole) == epoch.steps(available)
    rest = run(skip)
    assert len(rest) == max(len(whole) - skip, 0)
    for one, other in zip(whole[skip:], rest, strict=True):
        np.testing.assert_array_equal(one, other)


class _MemoryPart(Part, frozen=True):
    seed: int = 0

    def load(self) -> Any:
        return made(20, self.seed, self.seed * 1000)


def _memory_days() -> list[Part]:
    return [_MemoryPart(Path(str(seed)), seed=seed) for seed in (1, 2, 3)]


def test_no_window_reaches_over_a_break() -> None:
    data = made(100, 1)
    data.ts_ns[40:] += 3600 * NS
    ends = windows.ends_of(data, 16)
    assert not set(range(40, 55)) & set(ends.tolist())
    assert {39, 55} <= set(ends.tolist())


def test_one_span_is_divided_in_time_and_purged(tmp_path: Path) -> None:
    path = save(tmp_path, made(1000, 1))
    found = splits.make([path], [], [], [], 8)
    loaded = [splits.load(parts) for _, parts in found.named()]
    assert [len(data) for data in loaded] == pytest.approx([500, 150, 200, 150], abs=20)
    for earlier, later in pairwise(loaded):
        assert later.ts_ns[0] - earlier.ts_ns[-1] >= (SPEC.horizon_s + 8) * NS
    other = save(tmp_path, made(500, 2, 5000))
    with pytest.raises(ModelError, match="--valid begin before those of --train end"):
        splits.make([other], [path], [], [], 8)


# ── probe ─────────────────────────────────────────────────────────────────────────────────────


class PlantedShards(Shards):
    """Six layers of noise; layer 2 knows the mid, layer 5 the volume in every regime, none the spread."""

    def __init__(self, seed: int, rows: int = 1500) -> None:
        rng = np.random.default_rng(seed)
        h = rng.normal(size=(rows, 6, 24)).astype(np.float32)
        target = rng.normal(size=(rows, 3)).astype(np.float32)
        target[:, 0] += 0.8 * h[:, 2, 0]
        target[:, 2] += 0.8 * h[:, 5, 1]
        ts, regime = np.arange(rows) * NS, rng.integers(0, 3, rows).astype(np.int8)
        none = np.zeros((rows, 4), np.float16)
        self.shard = Shard(
            np.zeros(rows, np.int32), ts, regime, target, np.zeros_like(target), none, h.astype(np.float16)
        )

    def __iter__(self) -> Any:
        yield self.shard

    def small(self) -> Shard:
        return self.shard


def test_the_probe_finds_what_was_planted_and_claims_nothing_else() -> None:
    c = ProbeConfig(components=24, shifts=8, draws=50, groups="probe")
    response = responses.respond(PlantedShards(1), PlantedShards(2), whiten.layers, c)
    controls = {"input": responses.respond(PlantedShards(1), PlantedShards(2), whiten.inputs, c)}
    found = probe.analyse(response, controls, list(range(6)), 3, c)
    for cell in found.cells:
        if cell.task == "spread":
            assert cell.dark
        else:
            assert not cell.dark
            assert cell.peak_layer == {"mid": 2, "volume": 5}[cell.task]
            assert cell.response[cell.peak_layer] > 0.5
            assert cell.winning_probability > 0.9
            assert abs(cell.controls["input"]) < 0.2
        assert sum(cell.profile) == pytest.approx(1.0, abs=1e-6)
    assert (5, 5) in found.groups


@pytest.mark.parametrize(("first", "second"), [(4, 9), (2, 5), (10, 11)])
def test_groups_are_cut_where_profiles_change(first: int, second: int) -> None:
    rng = np.random.default_rng(1)
    level = np.zeros((16, 4))
    level[1:first], level[first:second], level[second:] = (1, 0, 0, 1), (0, 1, 0, 0), (0, 0, 1, 0)
    noisy = level + 0.01 * rng.normal(size=level.shape)
    assert layer_groups.segment(noisy, 3) == [(1, first - 1), (first, second - 1), (second, 15)]


def test_thirds() -> None:
    assert layer_groups.thirds(31, 3) == [(1, 10), (11, 20), (21, 30)]
    assert layer_groups.thirds(2, 3) == [(0, 1)] * 3


def test_whitening_is_of_unit_variance_and_streams() -> None:
    shards = PlantedShards(3)
    whitener = whiten.Whitener.fit(shards, whiten.layers, 24)
    white = whitener(whiten.layers(shards.shard))
    covariance = np.cov(white[:, 0].T)
    np.testing.assert_allclose(covariance, np.eye(24), atol=0.05)
