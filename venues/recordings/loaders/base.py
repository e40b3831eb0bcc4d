"""What all loaders share: opening files, exact numbers, counted drops, the loader's shape."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import lzma
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, Protocol

import msgspec
import zstandard

from market.errors import DataError, EmptyFileError
from market.events import Event
from venues.recordings.loaders import archives
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.units import epoch_ns, stamp_ns, whole_number
from venues.recordings.terms import RecordingTerms

NOTHING = frozenset({"", "nan", "na", "n/a", "#n/a", "#na", "null", "none", "nat", "-"})
"""How vendors write that there is nothing, in lower case."""


class Traits(msgspec.Struct, frozen=True):
    """How a feed tells of trades.

    Parameters
    ----------
    snapshots : bool
        Trades are those of the interval since the last book, told at its end.
    books_first : bool
        A best price may be seen to shrink before the trade that shrank it.
    asks : str
        What a user says of files that cannot tell: the `instrument` they are of, or which `symbols` to read of many.

    """

    snapshots: bool = False
    books_first: bool = False
    asks: Literal["", "instrument", "symbols"] = ""


class Recording(msgspec.Struct, frozen=True):
    """Files that together are one recording, in the order in which they are read.

    With `trades_alone` it tells of no book: its trades stand without one. `chosen` is what a user said of its
    instruments (`Traits.asks`): with another choice the same files are another recording.
    """

    format: str
    files: tuple[Path, ...]
    trades_alone: bool = False
    chosen: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.files[0].name if len(self.files) == 1 else f"{self.files[0].name} +{len(self.files) - 1}"


class Loader(Protocol):
    """Reads one format. Streams: memory never grows with the file."""

    name: str
    """Format's name, as `cmm import --format` takes it."""
    traits: Traits

    def recognises(self, path: Path, head: str) -> bool:
        """Tell by a file's first 4 KiB of (decompressed) text whether it is of this format."""

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        """Split files of this format into recordings, each in reading order."""

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        """Yield events in order of arrival; count in `findings` what is left out, by reason.

        Raises `DataError` for input that cannot be read for what it claims to be.
        """


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain, gzip, xz or zstd file for reading bytes, told apart by content; or a member of an archive."""
    with _readable(path), _opened(path) as raw, _decompressed(raw) as stream:
        yield stream


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in a sentence why a file cannot be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise DataError(f"{path}: the compressed file is truncated or damaged; copy it again") from error
    except gzip.BadGzipFile as error:
        raise DataError(f"{path}: the gzip file is damaged ({error}); copy it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """A file's bytes as they stand on disk, or a member's as they stand in its archive."""
    archive = None if path.is_file() else archives.archive_of(path)
    with contextlib.ExitStack() as stack:
        if archive is None:
            yield stack.enter_context(path.open("rb"))
            return
        raw = stack.enter_context(archive.open("rb"))
        if archives.is_zip(raw.peek(4)):
            member = stack.enter_context(archives.open_zip_member(archive, path))
        else:
            stream = stack.enter_context(_decompressed(raw))
            member = stack.enter_context(archives.open_tar_member(archive, stream, path))
        yield io.BufferedReader(member, 1 << 16)  # type: ignore[arg-type]


@contextlib.contextmanager
def _decompressed(raw: io.BufferedReader) -> Iterator[IO[bytes]]:
    magic = raw.peek(6)[:6]
    if magic[:2] == b"\x1f\x8b":
        yield gzip.open(raw, "rb")  # type: ignore[misc]
    elif magic == b"\xfd7zXZ\x00":
        yield lzma.open(raw, "rb")
    elif magic[:4] == b"\x28\xb5\x2f\xfd":
        yield zstandard.ZstdDecompressor().stream_reader(raw)
    else:
        yield raw


def parts(path: Path) -> list[Path]:
    """The files that a path stands for: the members of a zip or tar file, or itself.

    Raises
    ------
    DataError
        The archive is damaged, encrypted, or holds what cannot be read as it streams.
    EmptyFileError
        It holds nothing.

    """
    with open_binary(path) as stream:
        start = stream.read(archives.TAR_HEADER)
    if archives.is_zip(start):
        members = archives.zip_members(path)
    elif archives.is_tar(start):
        with open_binary(path) as stream:
            members = archives.tar_members(path, stream)
    else:
        return [path]
    for member in members if members != [path] else ():
        with open_binary(member) as stream:
            start = stream.read(archives.TAR_HEADER)
        if what := archives.not_streamed(start):
            raise DataError(f"{member}: {what} inside an archive; unpack the outer one and give what it holds")
    return members


def members(paths: Sequence[Path], empty: list[Path] | None = None) -> Iterator[Path]:
    """Files as they are given, archives as the files they hold; what holds nothing goes into `empty`, where one is
    given."""
    for path in dict.fromkeys(paths):
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        try:
            yield from parts(path)
        except EmptyFileError:
            if empty is None:
                raise
            empty.append(path)


def is_there(path: Path) -> bool:
    """Whether a file, or a member of an archive, is there."""
    archive = None if path.exists() else archives.archive_of(path)
    return path.exists() or (archive is not None and path in parts(archive))


def digest(path: Path) -> str:
    """SHA-256 of a file as it stands on disk, of an archive's member as it stands unpacked."""
    with _readable(path), _opened(path) as raw:
        found = hashlib.sha256()
        while block := raw.read(1 << 20):
            found.update(block)
        return found.hexdigest()


def lines(path: Path, errors: str = "strict") -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end); `errors` as `open` takes it, for what is not UTF-8."""
    with open_binary(path) as raw, io.TextIOWrapper(io.BufferedReader(raw, 1 << 20), "utf-8-sig", errors) as text:  # type: ignore[type-var]
        try:
            for number, line in enumerate(text, 1):
                yield number, line.rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not a text file ({error.reason})") from error


class Rows:
    """Rows of a CSV file as fields by name, with errors that name file, line and column.

    Parameters
    ----------
    path : Path
    columns : Sequence[str], optional
        Names of the columns, instead of those in the first line.
    headed : bool
        The first line is a header even where `columns` are given: it may be written in another encoding.

    """

    def __init__(self, path: Path, columns: Sequence[str] | None = None, *, headed: bool = False) -> None:
        self.path, self._headed = path, headed
        self.line = 0
        self._given = columns
        self.columns: dict[str, int] = {}
        self._row: list[str] = []

    def __iter__(self) -> Iterator[Rows]:
        source = lines(self.path, "replace" if self._headed else "strict")
        if self._headed:
            next(source, None)
        if self._given is None:
            header = next(source, None)
            if header is None:
                raise DataError(f"{self.path}: the file is empty")
            self.line = header[0]
            names = self._split(header[1])
        else:
            names = list(self._given)
        self.columns = {name.strip(): index for index, name in enumerate(names)}
        width = len(names)
        for self.line, text in source:
            if not text:
                continue
            self._row = self._split(text) if '"' in text else text.split(",")
            if len(self._row) != width:
                raise DataError(f"{self.path}, line {self.line}: {len(self._row)} fields where {width} are expected")
            yield self

    def _split(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text]), [""])
        except csv.Error as error:
            raise DataError(f"{self.path}, line {self.line}: {error}") from error

    def require(self, names: Sequence[str]) -> None:
        """Raise unless all columns are there."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise DataError(f"{self.path}: column {missing[0]!r} is missing")

    def text(self, name: str) -> str:
        return self._row[self._index(name)]

    def number(self, name: str) -> float:
        """The field as a finite number, 0 where it is empty."""
        value = self.optional(name)
        if value is None:
            if self._row[self.columns[name]]:
                raise self.error(name, "a number")
            return 0.0
        return value

    def optional(self, name: str) -> float | None:
        """The field as a finite number, None where the vendor writes nothing (empty, nan, NA, …)."""
        text = self._row[self._index(name)]
        try:
            value = float(text)
        except ValueError:
            if text.strip().lower() in NOTHING:
                return None
            raise self.error(name, "a number") from None
        if math.isnan(value):
            return None
        if math.isinf(value):
            raise self.error(name, "a number")
        return value

    def integer(self, name: str) -> int:
        """The field as a whole number, also as R and pandas write it (1e+08, 100000000.0)."""
        text = self._row[self._index(name)]
        try:
            return whole_number(text)
        except ValueError:
            raise self.error(name, "a whole number") from None

    def time(self, name: str) -> int:
        """The field, a time since 1970 in s, ms, µs or ns, as nanoseconds."""
        try:
            return epoch_ns(self.integer(name))
        except ValueError:
            raise self.error(name, "a time since 1970 in s, ms, µs or ns") from None

    def stamp(self, name: str) -> int:
        """The same of a field that may have decimals."""
        try:
            return stamp_ns(self._row[self._index(name)])
        except ValueError:
            raise self.error(name, "a time since 1970 in s, ms, µs or ns") from None

    @property
    def where(self) -> str:
        return f"{self.path}, line {self.line}"

    def error(self, name: str, expected: str) -> DataError:
        found = self._row[self.columns[name]]
        return DataError(f"{self.path}, line {self.line}, column {name!r}: {found!r} is not {expected}")

    def _index(self, name: str) -> int:
        try:
            return self.columns[name]
        except KeyError:
            raise DataError(f"{self.path}: column {name!r} is missing") from None


def is_header_alone(path: Path) -> bool:
    """Tell whether a text file holds a header and no row: an empty day is normal."""
    with open_binary(path) as raw:
        first, _, rest = raw.read(1 << 16).lstrip().partition(b"\n")
    is_text = b"\0" not in first and not first.startswith(b"DBN")
    return not rest.strip() and first[:1].isalpha() and b"," in first and is_text


def head(path: Path, size: int = 4096) -> str:
    """First `size` characters of the decompressed file, undecodable bytes replaced."""
    with open_binary(path) as raw:
        return raw.read(size).decode("utf-8-sig", "replace")


def one_each(name: str, paths: Sequence[Path]) -> list[Recording]:
    """Each file is a recording of its own."""
    return [Recording(name, (path,)) for path in paths]
