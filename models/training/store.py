"""Results of training's stages on disk: written beside, then renamed, found again by what they were made of."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.errors import ModelError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_VERSION = 1


def key(*parts: object) -> str:
    """Identity of a stage's inputs, 16 hex digits."""
    return hashlib.sha256(msgspec.json.encode([_VERSION, *parts], order="deterministic")).hexdigest()[:16]


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A temporary path that takes the name `path` when the block ends well, and vanishes when it doesn't.

    Raises
    ------
    ModelError
        The disk is full.

    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if is_full(error):
            raise ModelError(
                f"{path}: the disk is full; free some space and run the command again: it goes on"
            ) from error
        raise


def is_full(error: BaseException) -> bool:
    """Whether a disk, a quota or a size limit stopped a write (safetensors reports it as text alone)."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return isinstance(error, SafetensorError) and any(f"os error {code}" in str(error) for code in _FULL)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays as safetensors; `read_arrays` gives them back."""
    with beside(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read arrays by their names.

    Raises
    ------
    ModelError
        The file is damaged.

    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); delete it and run the command again") from error


def write_json(path: Path, value: object) -> None:
    """Write a struct or plain values as JSON."""
    with beside(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")


def read_json[T](path: Path, kind: type[T]) -> T:
    """Read JSON of a type.

    Raises
    ------
    ModelError
        The file is damaged, or of another type.

    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); delete it and run the command again") from error


def cached[T](path: Path, kind: type[T], make: Callable[[], T]) -> T:
    """A JSON result: read if it is there, else made and kept."""
    if not path.exists():
        write_json(path, make())
    return read_json(path, kind)
