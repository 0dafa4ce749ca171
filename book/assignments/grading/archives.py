"""The files in a folder or a zip, and in the zips in it. Nothing is unpacked to the disk.

A zip may come from a student. So it is opened apart, its members are read one at a time, and what
it may hold is bounded in size, number and depth.
"""

import functools
import io
import os
import stat
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from grading.apart import Apart, StoppedError
from grading.names import NOTEBOOK, ZIP

LARGEST = 50 * 2**20  # bytes of a notebook
DEPTH = 4  # zips within zips
MEMBERS = 100_000  # of an export: three hundred repositories
# Notebooks and zips, and their bytes, in a zip and the zips in it: a student's, and an export.
FILES, BYTES, LISTED = 100, 4 * LARGEST, 10_000
EXPORT_FILES, EXPORT_BYTES = 20_000, 20 * 2**30
LONGEST = 1_000  # characters of a path in a zip
GRADEBOOK = "gradebook.db"  # the folder that holds it is one of results


@dataclass(frozen=True)
class File:
    """A file that was handed in.

    Args:
        name: its path in what was handed in, where a zip is a folder.
        path: on the disk: the file, or the outermost zip that holds it.
        members: the number of each zip in the one before, and of the file in the last one.
        size: in bytes.
        time: when it was saved, in seconds since 1970.
        refused: why it cannot be read, if that is known already.
    """

    name: PurePosixPath
    path: Path
    members: tuple[int, ...]
    size: int
    time: float
    refused: str = ""


@dataclass
class Room:
    """What a zip may still hold."""

    files: int
    bytes: int
    listed: int


class Archives:
    """Lists the files of `source`, a folder or a zip; zips are opened in `apart`.

    `left_out` has a line on each folder, zip and member that is not read.
    """

    def __init__(self, apart: Apart) -> None:
        self.apart, self.left_out = apart, []

    def files(self, source: Path, output: Path | None = None) -> list[File]:
        """All files that are not hidden. What lies in `output` is none."""
        if source.is_dir():
            return [file for found in self._on_disk(source, output) for file in self._in(found)]
        about = source.stat()
        file = File(PurePosixPath(), source.absolute(), (), about.st_size, about.st_mtime)
        return list(self._members(file, _export()))

    def _on_disk(self, folder: Path, output: Path | None) -> Iterator[File]:
        def unreadable(error: OSError) -> None:
            name = Path(error.filename).relative_to(folder)
            self.left_out.append(f"{name}: the folder cannot be read ({error.strerror})")

        for root, folders, files in os.walk(folder, onerror=unreadable):
            links = [name for name in folders if Path(root, name).is_symlink()]
            folders[:] = sorted(name for name in folders if not hidden(name) and name not in links)
            if GRADEBOOK in files or (output and Path(root).resolve() == output.resolve()):
                folders.clear()
                self.left_out.append(
                    f"{Path(root).relative_to(folder)}: the folder holds results of grading"
                )
                continue
            for name in sorted(files + links):
                if not hidden(name):
                    path = Path(root, name)
                    shown = PurePosixPath(path.relative_to(folder).as_posix())
                    # The process apart may be in another folder.
                    about = path.lstat()
                    yield File(shown, path.absolute(), (), about.st_size, about.st_mtime)

    def _in(self, file: File) -> Iterator[File]:
        """The file itself, or what is in it if it is a zip."""
        if ZIP.search(file.name.name) and not file.path.is_symlink():
            # A zip that lies in the folder itself may be an export.
            yield from self._members(file, _export() if len(file.name.parts) == 1 else _student())
        else:
            yield file

    def _members(self, file: File, room: Room) -> Iterator[File]:
        """The files in a zip, as far as there is room."""
        try:
            listed = self.apart.do(members, file.path, file.members, room.listed)
        except StoppedError as error:
            self.left_out.append(f"{file.name}: {error}")
            return
        for number, (name, size, when, refused) in enumerate(listed):
            inner = PurePosixPath(name.replace("\\", "/"))
            if name.endswith("/") or any(map(hidden, set(inner.parts) - {".."})):
                continue
            if len(name) > LONGEST:
                self.left_out.append(
                    f"{file.name}: the name of a file in it has more than {LONGEST:,} characters"
                )
                continue
            if ".." in inner.parts or inner.is_absolute() or not inner.parts:
                self.left_out.append(f"{file.name / inner.name}: its name leads out of the zip")
                continue
            inside = *file.members, number
            found = File(file.name / inner, file.path, inside, size, when, refused)
            is_zip = bool(ZIP.search(inner.name))
            if is_zip or NOTEBOOK.search(inner.name):
                room.files -= 1
                room.bytes -= size
                if min(room.files, room.bytes) < 0:
                    self.left_out.append(
                        f"{file.name}: it holds too much: the rest of its files are not read"
                    )
                    return
            if refused or not is_zip:
                yield found
            elif len(inside) > DEPTH:
                self.left_out.append(f"{found.name}: it is a zip within {DEPTH} others")
            else:
                yield from self._members(found, _student() if room.listed == MEMBERS else room)


def _export() -> Room:
    return Room(EXPORT_FILES, EXPORT_BYTES, MEMBERS)


def _student() -> Room:
    return Room(FILES, BYTES, LISTED)


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is somebody's own, and not handed in."""
    return name.startswith(".") or name == "__MACOSX"


def members(path: Path, numbers: tuple[int, ...], most: int) -> list[tuple]:
    """Name, size, time and why it cannot be read, of all in a zip: done apart.

    Raises:
        StoppedError: it is damaged, or holds more than `most`.
    """
    listed = _opened(path, numbers, path.stat().st_mtime_ns).infolist()
    if len(listed) > most:
        raise StoppedError(f"it holds {len(listed):,} files: at most {most:,} are read")
    return [(_name(one), one.file_size, _time(one), _refused(one)) for one in listed]


def content(path: Path, numbers: tuple[int, ...], most: int) -> bytes:
    """What is in a member of a zip: done apart.

    Raises:
        StoppedError: it is damaged, or larger than `most` bytes.
    """
    *outer, number = numbers
    archive = _opened(path, tuple(outer), path.stat().st_mtime_ns)
    member = archive.infolist()[number]
    if member.file_size > most:
        raise StoppedError(f"it is larger than {most >> 20} MiB")
    try:
        return archive.read(member)  # no more than its stated size
    except MemoryError:
        raise
    except Exception as error:  # zlib's, lzma's, zipfile's own: whatever damage leads to
        raise StoppedError(f"it is damaged in the zip ({error})") from error


@functools.lru_cache(maxsize=DEPTH)
def _opened(path: Path, numbers: tuple[int, ...], saved: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(content(path, numbers, BYTES)) if numbers else path)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise StoppedError(f"it is damaged: it is no zip ({error})") from error


def forget() -> None:
    """Close the zips that are open, so that they take no memory: done apart."""
    _opened.cache_clear()


def _name(member: zipfile.ZipInfo) -> str:
    """Its name; macOS writes UTF-8 without saying so."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode()
    except UnicodeError:
        return member.filename


def _time(member: zipfile.ZipInfo) -> float:
    try:
        return time.mktime((*member.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


def _refused(member: zipfile.ZipInfo) -> str:
    if stat.S_ISLNK(member.external_attr >> 16):
        return "it is a link to another file, which is not followed"
    if member.flag_bits & 0x1:
        return "it is protected by a password"
    return ""
