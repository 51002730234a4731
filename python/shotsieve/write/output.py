"""The folder a reduced run appears in: complete under its final name, or not at all."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from ..errors import BadInput, OutputError, ShotsieveError
from .disk_errors import NO_SPACE, disk_error, reason_of, remove_folder
from .hdf5 import sync
from .journal import Journal
from .lock import locked

SIDE = "shotsieve"
"""Folder beside the data files for the table, the recipe and the accounts."""

SIDE_FILES = (
    "table.h5",
    "peaks.h5",
    "profiles.h5",
    "projections.h5",
    "pump_probe.h5",
    "averages.h5",
    "xcca.h5",
    "xpcs.h5",
    "recipe.toml",
    "accounts.json",
    "machine.json",
    "settings.json",
    "ledger.json",
)
"""All that we write into it, and into a folder in it for each further detector; ``accounts.json``
marks a folder as an output of shotsieve."""

_MARK = "accounts.json"
# EXtra-data leaves the map, a cache, in every run that it opens.
_DATA = re.compile(
    r"(RAW|CORR)-R\d+-[\w-]+-S\d{5}\.(h5|cxi|geom|lst|indexamajig\.sh)|(RAW|CORR)-R\d+-[\w-]+\.nxs|"
    r"overview\.h5|report\.html|karabo_data_map\.json"
)


class OutputFolder:
    """A folder that is filled under a temporary name and renamed when it is complete.

    Use it as a context manager: leaving it normally commits, leaving it by any exception (Ctrl-C too) removes
    everything that was written and keeps what stood there before.

    Parameters
    ----------
    path : path-like
        The final name. Folders above it are made if they are missing.
    overwrite : bool, default False
        Replace an earlier output of shotsieve once the new one is complete. It has to hold
        ``shotsieve/accounts.json`` and nothing that shotsieve did not write; no other folder is replaced.
        What an interrupted process has left is removed.
    resume : bool, default False
        Go on with what an interrupted process has left, if there is anything.

    Attributes
    ----------
    path : Path
        The final name.
    folder : Path
        Where to write until the commit: a hidden folder beside `path`, on the same file system.
    side : Path
        ``<folder>/shotsieve``, made on entry.
    journal : Journal
        Says which parts of the output are complete. Where any is, leaving the context by an exception keeps
        these parts, for a later process with `resume`.

    Raises
    ------
    BadInput
        If `path` is a file, or a folder that is not empty and may not be replaced; the text names what is
        in the way. Or if an interrupted process has left complete parts, and neither `overwrite` nor `resume`
        says what is to become of them.
    OutputError
        If the folder cannot be made, the disk is full, or the rename fails.

    Examples
    --------
    >>> with OutputFolder("red/r0001") as out:    # doctest: +SKIP
    ...     (out.folder / "CORR-R0001-AGIPD00-S00000.h5").write_bytes(data)
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False, resume: bool = False) -> None:
        # Resolved, so that a symbolic link to a folder keeps pointing at the new output.
        self.path = Path(path).expanduser().resolve()
        self.overwrite, self.resume = overwrite, resume
        self.folder = self._free_name("partial")
        self.journal = self._journal_of(self.folder)
        self._old = self._free_name("replaced")
        self._made: list[Path] = []
        self._open = False
        self._lock: int | None = None
        self._check()

    @property
    def side(self) -> Path:
        """Folder for everything that is not detector data."""
        return self.folder / SIDE

    @property
    def finished(self) -> bool:
        """Whether there is nothing to resume, since an output stands there already."""
        return self.resume and not self.overwrite and (self.path / SIDE / _MARK).is_file()

    def __enter__(self) -> OutputFolder:
        try:
            self.clear_up()
            self._check()
            for parent in reversed(self.folder.parents):
                if not parent.exists():
                    parent.mkdir()
                    self._made.append(parent)
            self._make_folder()
            self.side.mkdir(exist_ok=True)
            if self.path.exists():
                # An empty folder that was prepared for the output may be shared with a group.
                shutil.copymode(self.path, self.folder)
        except BaseException as err:
            self.abort()
            self._remove_parents()
            if isinstance(err, OSError) and not isinstance(err, ShotsieveError):
                raise disk_error(self.path, self.folder, err) from err
            raise
        return self

    def __exit__(self, exc_type: object, exc: BaseException | None, tb: object) -> None:
        if exc is None:
            self.commit()
            return
        written = self._size()
        self.abort()
        reason, error = reason_of(exc, self.folder), exc
        if reason is not None and (reason in NO_SPACE or not isinstance(exc, ShotsieveError)):
            error = disk_error(self.path, self.folder, exc, written)
        self._note_kept(error)
        if error is not exc:
            raise error from exc

    def commit(self) -> None:
        """Put everything on the disk and give it its final name; a second call does nothing.

        Raises
        ------
        OutputError
            If the disk refuses: nothing new stands under the final name, and what stood there still does.
            Or if somebody has filled the folder meanwhile: the output stays under its temporary name.

        Examples
        --------
        >>> out.commit()    # doctest: +SKIP
        """
        if not self._open:
            return
        written = self._size()
        try:
            for entry in sorted(self.folder.rglob("*")):
                sync(entry)
            sync(self.folder)
            self._rename()
            sync(self.path.parent)
        except BaseException as err:
            self.abort()
            error = err
            if isinstance(err, OSError) and not isinstance(err, ShotsieveError):
                error = disk_error(self.path, self.folder, err, written)
            self._note_kept(error)
            if error is not err:
                raise error from err
            raise
        self._unlock()
        self.journal.remove()
        shutil.rmtree(self._old, ignore_errors=True)

    def abort(self) -> None:
        """Remove what was written and put back what stood there before; a second call does nothing.

        Parts that are complete stay, under the temporary name.

        Examples
        --------
        >>> out.abort()    # doctest: +SKIP
        """
        if not self._open:
            return
        self._open = False
        try:
            if self._old.exists():
                # Only an interrupt between or after the two renames of a commit leads here.
                if self.path.exists():
                    shutil.rmtree(self._old, ignore_errors=True)
                else:
                    os.rename(self._old, self.path)
            if self.folder.exists() and self.journal.complete:
                with suppress(
                    OSError, ShotsieveError
                ):  # whoever resumes cleans it again, and says what is wrong
                    self.journal.clean()
            else:
                remove_folder(self.folder)
                self.journal.remove()
        finally:
            self._unlock()
            self._remove_parents()

    def clear_up(self) -> None:
        """Remove what killed processes have left of this output; put back what they were about to replace.

        With `resume` take over what is furthest.
        """
        partial = sorted(self._siblings("partial"), key=lambda entry: -self._journal_of(entry).complete)
        replaced = self._siblings("replaced")
        locks = [locked(entry) for entry in partial]
        for entry, lock in zip(partial, locks, strict=True):
            journal = self._journal_of(entry)
            if lock is None:
                continue
            if self.resume and not self.finished and self._lock is None and journal.complete:
                self.folder, self.journal, self._lock, self._open = entry, journal, lock, True
                continue
            shutil.rmtree(entry, ignore_errors=True)
            journal.remove()
            os.close(lock)
        if None in locks:
            return  # somebody is at work, perhaps between the two renames of a commit
        for entry in self._siblings("parts"):
            # Killed after the last rename of a commit.
            if entry != self.journal.folder:
                shutil.rmtree(entry, ignore_errors=True)
        for entry in replaced:
            with suppress(OSError):
                if self.path.exists():
                    shutil.rmtree(entry)
                else:
                    os.rename(entry, self.path)

    # ------------------------------------------------------------------ inside

    def _make_folder(self) -> None:
        """Make the folder and lock it, so that nobody takes it for one that a killed process has left."""
        while not self._open:
            # Fails if somebody else has just taken the name: then it is not ours to fill or to remove.
            self.folder.mkdir()
            self._lock = locked(self.folder, wait=True)
            # Between the two it may have been cleared up.
            self._open = self.folder.exists()
            if not self._open:
                self._unlock()

    def _note_kept(self, error: BaseException) -> None:
        """Say with an error that complete parts are kept, if there are any."""
        if complete := self.journal.complete:
            error.add_note(
                f"what is complete of {self.path} is kept ({_parts(complete)}): with --resume (from Python: "
                "resume=True) the same command goes on from there"
            )

    def _journal_of(self, folder: Path) -> Journal:
        number = folder.name.removeprefix(f".{self.path.name}.partial-")
        return Journal(folder.with_name(f".{self.path.name}.parts-{number}"), folder)

    def _check_interrupted(self) -> None:
        """An interrupted process may have left what took hours."""
        if self._open or self.overwrite:
            return
        for entry in self._siblings("partial"):
            journal = self._journal_of(entry)
            if not journal.complete:
                continue
            lock = locked(entry)
            if lock is not None:
                os.close(lock)
            if lock is None and self.resume:
                raise BadInput(
                    f"{entry} cannot be resumed: another process is writing it, or its file system has no "
                    f"locks; wait for that process, or remove it together with {journal.folder.name}"
                )
            if lock is not None and not self.resume:
                raise BadInput(
                    f"an interrupted reduction has left {_parts(journal.complete)} of {self.path} complete; "
                    "add --resume (from Python: resume=True) to go on, or --overwrite to begin anew"
                )

    def _siblings(self, word: str) -> list[Path]:
        if not self.path.parent.is_dir():
            return []
        start = f".{self.path.name}.{word}-"
        return sorted(entry for entry in self.path.parent.iterdir() if entry.name.startswith(start))

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _rename(self) -> None:
        try:
            self._check()
        except BadInput as err:
            # Hours of work are not thrown away because somebody wrote into the folder meanwhile.
            self._open = False
            raise OutputError(f"{err}. The complete output is left in {self.folder}") from err
        if self.path.exists() and any(self.path.iterdir()):
            os.rename(self.path, self._old)
        # Replaces an empty folder in one step.
        os.rename(self.folder, self.path)
        self._open = False

    def _remove_parents(self) -> None:
        for made in reversed(self._made):
            with suppress(OSError):
                made.rmdir()

    def _check(self) -> None:
        try:
            if not self.path.exists():
                if self.path.is_symlink():
                    raise BadInput(f"output {self.path} is a link that leads nowhere; give a folder")
                self._check_interrupted()
                return
            if not self.path.is_dir():
                raise BadInput(f"output {self.path} is a file; give a folder that is empty or does not exist")
            names = sorted(entry.name for entry in self.path.iterdir())
        except OSError as err:
            if isinstance(err, ShotsieveError):
                raise
            raise disk_error(self.path, self.folder, err) from err
        if not self.finished:
            self._check_interrupted()
        if not names or self.finished:
            return
        shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        if not self.overwrite:
            raise BadInput(
                f"output {self.path} is not empty (it holds {shown}); choose another one or add --overwrite"
                " (from Python: overwrite=True) to replace an earlier output of shotsieve"
            )
        if not (self.path / SIDE / _MARK).is_file():
            raise BadInput(
                f"output {self.path} holds {shown} and no {SIDE}/{_MARK}, so it is not an earlier output of"
                " shotsieve and is not overwritten; choose another folder or remove it yourself"
            )
        foreign = self._foreign()
        if foreign is not None:
            raise BadInput(
                f"output {self.path} is an earlier output of shotsieve, but {foreign} in it was not written"
                " by shotsieve and would be lost, so nothing is overwritten; move it away or choose another"
                " folder"
            )

    def _foreign(self) -> str | None:
        """The first thing in the folder that replacing it would destroy although it is not ours."""
        for entry in sorted(self.path.iterdir()):
            if entry.name == SIDE and entry.is_dir() and not entry.is_symlink():
                if (foreign := _foreign_in(entry, SIDE)) is not None:
                    return foreign
            elif not _DATA.fullmatch(entry.name) or not entry.is_file():
                return entry.name
        return None

    def _free_name(self, word: str) -> Path:
        """A hidden sibling that does not exist; the process id keeps two reductions apart."""
        stem = f".{self.path.name}.{word}-{os.getpid()}"
        names = (stem if n == 0 else f"{stem}-{n}" for n in range(10_000))
        return next(p for p in map(self.path.with_name, names) if not p.exists())

    def _size(self) -> int:
        total = 0
        for entry in self.folder.rglob("*"):
            with suppress(OSError):
                total += entry.stat().st_size
        return total


def _foreign_in(side: Path, name: str, deeper: bool = True) -> str | None:
    """The first thing in the side folder that is not ours; folders in it are of further detectors."""
    for inner in sorted(side.iterdir()):
        its_name = f"{name}/{inner.name}"
        if deeper and inner.is_dir() and not inner.is_symlink() and (inner / _MARK).is_file():
            if (foreign := _foreign_in(inner, its_name, deeper=False)) is not None:
                return foreign
        elif inner.name not in SIDE_FILES or not inner.is_file():
            return its_name
    return None


def _parts(number: int) -> str:
    return "1 part" if number == 1 else f"{number} parts"
