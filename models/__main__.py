"""`python -m models`: `cmm train` on dataset files, for machines that have no trading engine.

    python -m models --train a.parquet b.parquet --valid c.parquet --out runs/x --settings train.json

Settings are the `train` section of the configuration as JSON; datasets are what `cmm record` writes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

import msgspec

from models.errors import ModelError
from models.features import splits
from models.training import export, recipes
from models.training.context import Job
from models.training.train_config import Kind, TrainConfig


def main() -> int:
    """Train on dataset files; return the exit code, 2 after an error that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m models", description=__doc__.partition("\n")[0] if __doc__ else "")
    for name in ("train", "valid", "calibrate", "test"):
        parser.add_argument(f"--{name}", nargs="+", type=Path, default=[], required=name == "train", metavar="FILE")
    parser.add_argument("--kind", choices=get_args(Kind.__value__), default="ofdd")
    parser.add_argument("--settings", type=Path, help="JSON of the configuration's train section")
    parser.add_argument("--cache", type=Path, default=Path("data/teachers"))
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    try:
        config = _settings(asked.settings)
        window = config.teacher.window
        job = Job(
            asked.kind,
            config,
            splits.make(asked.train, asked.valid, asked.calibrate, asked.test, window),
            asked.cache,
            asked.out.name,
        )
        trained = recipes.run(job, _report)
        manifest = export.write(trained, [trained.metrics], asked.out, _report)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"artifact {asked.out}, hash {manifest.hash}")
    return 0


def _settings(path: Path | None) -> TrainConfig:
    if path is None:
        return TrainConfig()
    try:
        return msgspec.json.decode(path.read_bytes(), type=TrainConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"--settings {path}: {error}") from error


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
