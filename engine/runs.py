"""Run folders: results with all it takes to get them again, complete or not there at all."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine.config import Config

_PACKAGES = ("cmm", "nautilus_trader", "onnxruntime", "numpy", "numba", "pyarrow")


@contextmanager
def run_folder(config: Config, command: str, arguments: dict[str, Any]) -> Iterator[Path]:
    """Make `runs/<utc time>-<command>-<config hash>`; it takes its name when the block ends well."""
    now = dt.datetime.now(dt.UTC)
    root = Path(config.runs.path)
    final = _free(root / f"{now:%Y%m%dT%H%M%S}-{command}-{config.hash}")
    staged = final.with_name(f".{final.name}.tmp")
    staged.mkdir(parents=True)
    try:
        (staged / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(config)))
        (staged / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(_identity(command, arguments))))
        yield staged
        os.replace(staged, final)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def final_name(staged: Path) -> Path:
    """The name that a staged folder will take."""
    return staged.with_name(staged.name.removeprefix(".").removesuffix(".tmp"))


def write_json(path: Path, value: object) -> None:
    """Write JSON beside the target and rename: a reader never sees half of it."""
    write_text(path, msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text beside the target and rename."""
    beside = path.with_suffix(".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def _free(path: Path) -> Path:
    count, candidate = 1, path
    while candidate.exists() or candidate.with_name(f".{candidate.name}.tmp").exists():
        count += 1
        candidate = path.with_name(f"{path.name}-{count}")
    return candidate


def _identity(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"command": command, "arguments": arguments, "versions": versions, "git_commit": _commit()}


def _commit() -> str:
    try:
        head = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(head, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
