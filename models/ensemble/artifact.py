"""The artifact: a folder with the graph and a manifest that says what it is and proves that it still is.

manifest.json   schema, feature spec and its hash, cells, training data, file hashes, golden
ensemble.onnx   the graph
fusion.npz      what refitting the fusion needs
metrics.json    numbers of the ensemble and of all baselines
probe.json      which layer of the teacher knows what; absent where no language model took part
MODEL_CARD.md   what it is worth, for people
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from models.errors import ModelError
from models.features.book_features import FeatureSpec

SCHEMA = 2
MANIFEST, GRAPH, CARD = "manifest.json", "ensemble.onnx", "MODEL_CARD.md"
FUSION, METRICS, PROBE = "fusion.npz", "metrics.json", "probe.json"


class Golden(msgspec.Struct, frozen=True):
    """One input (features,) with the output (6,) it must give."""

    features: list[float]
    output: list[float]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about an artifact."""

    schema: int
    name: str
    kind: str
    """ofdd, labels, one-student, kd or fitnets."""
    teacher: str
    """The language model, or `labels`."""
    spec: FeatureSpec
    spec_hash: str
    tasks: list[str]
    regimes: int
    students: int
    splits: dict[str, list[str]]
    """`instrument date sha256` of the recordings behind train, valid, calibrate and test."""
    instruments: list[str]
    depth: int
    feature_low: list[float]
    feature_high: list[float]
    summary: dict[str, str | bool | float]
    """A few of the metrics."""
    settings: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str]
    golden: Golden

    @property
    def hash(self) -> str:
        """Identity of the artifact, 16 hex digits."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @property
    def seen(self) -> list[str]:
        """Dates that took part in training, in choices or in the calibration."""
        names = ("train", "valid", "calibrate")
        return sorted({entry.split(" ")[1] for name in names for entry in self.splits.get(name, [])})


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write(folder: Path, staged: Path, manifest: Manifest, card: str) -> None:
    """Complete a staged folder (it holds the graph) and put it in the place of `folder`."""
    (staged / CARD).write_text(card)
    (staged / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    folder.parent.mkdir(parents=True, exist_ok=True)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(staged, folder)
    shutil.rmtree(old, ignore_errors=True)


def read(folder: Path) -> Manifest:
    """Read and verify an artifact: schema, feature spec, file hashes. The predictor adds the golden check.

    Raises
    ------
    ModelError
        Missing, of another version, or changed since it was written.

    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelError(f"{folder}: no artifact there (no {MANIFEST}); train one with `cmm train --out {folder}`")
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path}: not a manifest of this version ({error}); train the artifact again") from error
    if manifest.schema != SCHEMA:
        raise ModelError(f"{path}: schema {manifest.schema}, this version reads {SCHEMA}; train the artifact again")
    if manifest.spec_hash != manifest.spec.hash:
        raise ModelError(f"{path}: its features are computed differently by this version; train the artifact again")
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file() or file_hash(file) != expected:
            raise ModelError(f"{file}: missing or changed since the artifact was written; restore it or train again")
    return manifest
