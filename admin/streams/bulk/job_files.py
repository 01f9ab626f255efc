"""The place of jobs across restarts: a folder beside the data of a `file:` log, or none."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from admin.model.bulk import BulkJob
from admin.own_files import data_folder, open_own, replace_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gateway.settings import Settings

NAME = "headgate.jobs"
# Bytes of the names of one job: four million usual ones in a file, 250,000 in memory.
LARGEST_FILE = 256 << 20
MOST_IN_MEMORY = 16 << 20

# A stream of a job: its name, and its id where its log has ids.
CountedStream = tuple[str, str | None]
_decoder = msgspec.json.Decoder(CountedStream)


def job_folder(settings: Settings) -> Path | None:
    """Return the folder of jobs, or None where no route keeps its log in a folder."""
    folder = data_folder(settings)
    return None if folder is None else folder / NAME


class SavedJob(msgspec.Struct, frozen=True):
    """A job as its file has it, and the place in its names up to which it was carried out."""

    job: BulkJob
    position: int = 0


class NameFile:
    """The counted streams of a job, a line each; a thread at a time uses it."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        self._file = file
        self.most_bytes = most_bytes
        self.position = 0

    def add(self, streams: Iterable[CountedStream]) -> bool:
        """Append streams; return False, and append none, if there is no room for them."""
        lines = b"".join(msgspec.json.encode(it) + b"\n" for it in streams)
        if self._file.tell() + len(lines) > self.most_bytes:
            return False
        self._file.write(lines)
        return True

    def finish(self) -> None:
        """Store what was appended, and begin at the first stream."""
        self._file.flush()
        if not isinstance(self._file, io.BytesIO):
            os.fsync(self._file.fileno())
        self.seek(0)

    def seek(self, position: int) -> None:
        """Read on from a position."""
        self._file.seek(position)
        self.position = position

    def read(self, most: int) -> Sequence[CountedStream]:
        """Return the next streams, at most so many; `position` stays until they are passed."""
        self._file.seek(self.position)
        lines = (self._file.readline() for _ in range(most))
        return [_decoder.decode(line) for line in lines if line]

    def pass_read(self) -> None:
        """Go on behind the streams that were read last."""
        self.position = self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JobFiles:
    """The files of all jobs: two for an open one, one for one that has ended.

    Without a folder nothing is stored, and names are in memory. All methods raise OSError.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def is_durable(self) -> bool:
        """True if jobs outlive the process."""
        return self._folder is not None

    def read(self) -> list[SavedJob]:
        """Return the jobs of former processes. A damaged file is left out."""
        if self._folder is None or not self._folder.is_dir():
            return []
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                saved = msgspec.json.decode(path.read_bytes(), type=SavedJob)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if saved.job.id == path.stem:
                found.append(saved)
        return found

    def save(self, saved: SavedJob) -> None:
        """Write a job in place of its former state."""
        if self._folder is None:
            return
        replace_lines(self._made() / f"{saved.job.id}.json", [msgspec.json.encode(saved)])

    def new_names(self, job_id: str) -> NameFile:
        """Return an empty list of names for a job."""
        if self._folder is None:
            return NameFile(io.BytesIO(), MOST_IN_MEMORY)
        return NameFile(open_own(self._made() / f"{job_id}.names", "w+b"), LARGEST_FILE)

    def names(self, saved: SavedJob) -> NameFile:
        """Return the names of a job of a former process, from its position on."""
        assert self._folder is not None, "there are no former jobs without a folder"
        path = self._folder / f"{saved.job.id}.names"
        found = NameFile(path.open("rb"), LARGEST_FILE)
        found.seek(saved.position)
        return found

    def drop_names(self, job_id: str) -> None:
        """Remove the names of a job that has ended."""
        if self._folder is not None:
            (self._folder / f"{job_id}.names").unlink(missing_ok=True)

    def drop(self, job_id: str) -> None:
        """Remove all files of a job."""
        self.drop_names(job_id)
        if self._folder is not None:
            (self._folder / f"{job_id}.json").unlink(missing_ok=True)

    def _made(self) -> Path:
        assert self._folder is not None
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return self._folder
