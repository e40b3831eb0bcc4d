"""Zip and tar files: each member is a file of its own, with a path `archive.zip/member`.

Nothing is unpacked to disk: a member is read from its archive as it streams. Archives and Parquet inside archives,
encrypted members and members that unfold to far more than a text would are refused.
"""

from __future__ import annotations

import contextlib
import io
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from market.errors import DataError, EmptyFileError

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_MARK, TAR_HEADER = slice(257, 262), 512
_MAX_MEMBERS = 10_000
_LARGE, _MAX_RATIO = 1 << 30, 200
"""A member of more bytes than `_LARGE` may not be more than so many times its compressed size: captures of books
come to 10 to 40 times."""
_NUMPY = ".npy"
_NOT_STREAMED = {b"PAR1": "Parquet", b"\x93NUMPY": "an array of numpy's", b"CMMCAP1\n": "a segment of a capture"}
"""How files begin that are not read from start to end."""


def is_tar(start: bytes) -> bool:
    """Whether a (decompressed) file that begins so is a tar file."""
    return start[_TAR_MARK] == b"ustar"


def is_zip(start: bytes) -> bool:
    return start[:4] in ZIP


def not_streamed(start: bytes) -> str | None:
    """What a file that begins so is, if it cannot be read as it streams from an archive."""
    if is_zip(start) or is_tar(start):
        return "an archive"
    return next((name for mark, name in _NOT_STREAMED.items() if start.startswith(mark)), None)


def archive_of(path: Path) -> Path | None:
    """The archive that a path leads into; None where it leads into none."""
    return next((parent for parent in path.parents if parent.is_file()), None)


def zip_members(path: Path) -> list[Path]:
    """The members of a zip file in its order; only itself where it holds arrays of numpy (`.npz`).

    Raises
    ------
    DataError
        It is damaged or encrypted, or no recording would unfold as its members do.

    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise DataError(f"{path}: the zip file is damaged ({error}); copy it again") from error
    if any(info.filename.endswith(_NUMPY) for info in infos):
        return [path]
    for info in infos:
        if info.flag_bits & 1:
            raise DataError(f"{path}: {info.filename} is encrypted; unpack the zip file and give what it holds")
        if info.file_size > _LARGE and info.file_size > _MAX_RATIO * info.compress_size:
            raise DataError(
                f"{path}: {info.filename} unfolds from {info.compress_size:,} to {info.file_size:,} bytes, as no "
                "recording does; unpack it yourself if it is one"
            )
    return _paths(path, [info.filename for info in infos])


def tar_members(path: Path, stream: IO[bytes]) -> list[Path]:
    """The members of a tar file, decompressed, in its order."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            names = [info.name for info in archive if info.isfile()]
    except tarfile.TarError as error:
        raise DataError(f"{path}: the tar file is damaged ({error}); copy it again") from error
    return _paths(path, names)


@contextlib.contextmanager
def open_zip_member(archive: Path, path: Path) -> Iterator[IO[bytes]]:
    """Open a member, given by its path, for reading."""
    name = path.relative_to(archive).as_posix()
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(zipfile.ZipFile(archive))
            member = stack.enter_context(opened.open(_written(name, opened.namelist(), path)))
        except NotImplementedError as error:
            raise DataError(
                f"{path}: it cannot be unpacked here ({error}); unpack it and give what it holds"
            ) from error
        except (zipfile.BadZipFile, ValueError, OSError, struct.error) as error:
            raise DataError(f"{path}: the zip file is damaged ({error}); copy it again") from error
        try:
            yield member
        except zipfile.BadZipFile as error:
            raise DataError(f"{path}: the zip file is damaged ({error}); copy it again") from error


@contextlib.contextmanager
def open_tar_member(archive: Path, stream: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """Open a member of a decompressed tar stream for reading, once."""
    name = path.relative_to(archive)
    try:
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            for info in opened:
                if info.isfile() and Path(*_steps(info.name)) == name:
                    member = opened.extractfile(info)
                    assert member is not None
                    yield io.BufferedReader(_Forward(member))
                    return
    except tarfile.TarError as error:
        raise DataError(f"{path}: the tar file is damaged ({error}); copy it again") from error
    raise DataError(f"{path}: no such file in the archive")


class _Forward(io.RawIOBase):
    """A stream that is read once, from its start to its end: a member of a tar file cannot be asked for more."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        block = self._source.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


def _written(name: str, names: Sequence[str], path: Path) -> str:
    """A member's name as the archive writes it."""
    for written in names:
        if not written.endswith("/") and "/".join(_steps(written)) == name:
            return written
    raise DataError(f"{path}: no such file in the archive")


def _paths(archive: Path, names: Sequence[str]) -> list[Path]:
    odd = next((name for name in names if not name.isprintable()), None)
    if odd is not None:
        raise DataError(f"{archive}: it holds a file of the name {odd!r}; unpack it and give what it holds")
    steps = [_steps(name) for name in names]
    paths = [archive.joinpath(*s) for s in steps if s and not s[-1].startswith(".") and s[0] != "__MACOSX"]
    if not paths:
        raise EmptyFileError(f"{archive}: the archive is empty")
    if len(paths) > _MAX_MEMBERS:
        raise DataError(f"{archive}: it holds {len(paths):,} files; unpack it and give those of one recording")
    twice = next((path for path in paths if paths.count(path) > 1), None) if len(set(paths)) < len(paths) else None
    if twice is not None:
        raise DataError(f"{twice}: the archive holds two files of this name; unpack it and give one of them")
    return paths


def _steps(name: str) -> list[str]:
    """Folders and name of a member; what would lead out of the archive is left out."""
    return [step for step in PurePosixPath(name.replace("\\", "/")).parts if step not in ("/", ".", "..")]
