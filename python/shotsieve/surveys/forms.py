"""What kept frames may be written as, and how many bytes each of these takes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..constants.bad_pixels import DEFAULT_BAD_BITS
from ..cpus import usable_cpus
from ..engine.content import form_of
from ..errors import BadInput
from ..filters import packing, register_plugins
from ..recipe import Recipe, Write
from ..units import parse_quantity
from ..write.content import FrameForm
from ..write.encoded import DTYPES, encode_chunk

if TYPE_CHECKING:
    from ..engine.job import Job

COMPRESSED = ("gzip", "bitshuffle-lz4", "bitshuffle-zstd")
ROUNDED_TO = ("0.05 photon", "0.2 photon", "0.5 photon")
ROUNDED_WITHIN = (0.001, 0.01)
FRAMES = 96
"""Frames that are encoded in every form, of those that the rule keeps; as many of the others, at most."""


@dataclass
class Coded:
    """One form, and what frames take in it.

    Attributes
    ----------
    name : str
    keys : dict of str to Any
        What [write] says for it.
    form : FrameForm
    is_recipe : bool
        Whether it is the recipe's own.
    bytes : list of int
        Of each shot that was encoded, all modules, in the files of the run.
    error : float
        Largest change of a pixel that was met, in the unit of the frames.
    """

    name: str
    keys: dict[str, Any]
    form: FrameForm
    is_recipe: bool = False
    bytes: list[int] = field(default_factory=list)
    error: float = 0.0

    @property
    def lossless(self) -> bool:
        """Whether every pixel comes back as it was."""
        return self.form.rounding is None and self.form.photons is None


class Forms:
    """All forms of a survey; encodes frames in each of them.

    Parameters
    ----------
    job : Job
        Whose frames come.
    recipe : Recipe
        The user's, whose form is one of them; without [write] it is what [write] says if it is silent.
    given : mapping of str to list
        Values of `shotsieve.surveys.grid.WRITE_KEYS` that replace the usual ones.
    written : ndarray of bool, shape (M * ss, fs), optional
        Pixels that are written; by default all.

    Attributes
    ----------
    coded : list of Coded
    notes : list of str
    seconds : float
        That the recipe's own form took.

    Raises
    ------
    BadInput
        If a value is not allowed, or a compression is asked for that is not installed.
    """

    def __init__(
        self, job: Job, recipe: Recipe, given: Mapping[str, list[Any]], written: np.ndarray | None = None
    ) -> None:
        self._job, self._written, self.notes, self.seconds = job, written, [], 0.0
        self.modules = np.isin(job.source.modules, job.modules)
        self.wrote = recipe.write or Write()
        self.coded: list[Coded] = []
        own = self.wrote
        if own.content == "raw":
            keys = {"content": "raw", "compression": own.compression or "none"}
            if keys["compression"] != "none":
                self.notes.append(
                    "raw words are not compressed in a survey: the size of the output is not known"
                )
            self._add(dataclasses.replace(own, compression=keys["compression"]), keys, True)
        elif own.content == "photon_list":
            self.notes.append(
                "photon lists are not encoded in a survey: the size of the output is not known; below about "
                '0.5 photons a pixel it is less than that of content = "photons"'
            )
            self._add(own, {}, True)
        else:
            self._add(own, {}, True)
        for write, keys in self._others(given):
            self._add(write, keys)

    def _others(self, given: Mapping[str, list[Any]]) -> list[tuple[Write, dict[str, Any]]]:
        """List what [write] may say beside what it says."""
        job, asked = self._job, given.get("write.compression")
        packed = list(asked or COMPRESSED)
        if asked is None and not register_plugins():
            packed = ["gzip"]
            self.notes.append("hdf5plugin is not installed: bitshuffle was not tried")
        found: list[dict[str, Any]] = [{"content": "raw", "compression": "none"}]
        if job.source.detector.is_corrected:
            found = []
        plain = packed if asked else ["none", *packed]
        found += [{"content": "corrected", "compression": name} for name in plain]
        small = [name for name in packed if name != "none"]
        steps = given.get("write.rounding_absolute")
        shares = given.get("write.rounding_relative", () if steps else ROUNDED_WITHIN)
        usual = [] if "write.rounding_relative" in given else self._steps()
        rounds = [{"rounding_absolute": step} for step in steps or usual]
        rounds += [{"rounding_relative": share} for share in shares]
        found += [{"content": "rounded", **one, "compression": name} for one in rounds for name in small]
        if job.mode.photon_energy_kev and job.unit != "ADU":
            found += [{"content": "photons", "compression": name} for name in small]
        return [(self._write(keys), keys) for keys in found]

    def _steps(self) -> list[str]:
        """Return the usual steps of rounding, in a unit that the frames have."""
        if self._job.unit == "ADU":
            return []
        if self._job.unit == "keV" and not self._job.mode.photon_energy_kev:
            return []
        return list(ROUNDED_TO)

    def _write(self, keys: Mapping[str, Any]) -> Write:
        plain: dict[str, Any] = dict.fromkeys(("dtype", "rounding_absolute", "rounding_relative"))
        plain |= keys
        if isinstance(plain["rounding_absolute"], str):
            plain["rounding_absolute"] = parse_quantity(
                plain["rounding_absolute"],
                option="--scan write.rounding_absolute",
                units=("ADU", "keV", "photon"),
            )
        return dataclasses.replace(self.wrote, **plain)

    def _add(self, write: Write, keys: dict[str, Any], own: bool = False) -> None:
        job = self._job
        written = None if write.content == "raw" else self._written
        recipe = dataclasses.replace(job.recipe, write=write)
        try:
            form = form_of(recipe, job.unit, job.mode.photon_energy_kev, written)
            form.written = None  # what is hidden is hidden once for all forms
            packing(form.compression)
        except BadInput as err:
            raise BadInput(f"survey: {err}") from None
        name = _name(form, write)
        if any(other.name == name for other in self.coded):
            return
        self.coded.append(Coded(name, keys, form, own))

    @property
    def own(self) -> Coded:
        """That of the recipe."""
        return self.coded[0]

    def raw_bytes(self, present: np.ndarray) -> int:
        """Return what the raw words of a shot take without compression; `present` is bool (M,)."""
        detector = self._job.source.detector
        return int((present & self.modules).sum()) * detector.frame_bytes

    def encode(self, frames: Mapping[str, np.ndarray], present: np.ndarray) -> None:
        """Encode one shot in every form.

        Parameters
        ----------
        frames : mapping of str to ndarray
            ``data``, ``gain`` and ``mask``, (M, ss, fs), as they are calibrated; left as they are.
        present : ndarray of bool, shape (M,)
        """
        began = time.perf_counter()
        at = np.flatnonzero(present & self.modules)
        plain = {name: np.array(array[None]) for name, array in frames.items()}
        if self._written is not None:
            plain = FrameForm(written=self._written).apply(plain)
        plain = {name: np.ascontiguousarray(array[:, at]) for name, array in plain.items()}
        copies = 2 if self.wrote.cxi else 1  # of data and mask
        beside: dict[bool | str, int] = {}
        for coded in self.coded:
            if coded.form.content == "raw":
                if coded.form.compression == "none":  # else nothing is known: these words are not here
                    coded.bytes.append(self.raw_bytes(present))
                continue
            if coded.form.content == "photon_list":
                continue
            packed = packing(coded.form.compression)
            made = coded.form.apply({name: array.copy() for name, array in plain.items()})
            if packed["mask"] not in beside:
                sizes = [_size(plain[name], DTYPES[name], packed[name]) for name in ("gain", "mask")]
                beside[packed["mask"]] = sizes[0] + copies * sizes[1]
            data = _size(made["data"], coded.form.dtype, packed["data"])
            coded.bytes.append(copies * data + beside[packed["mask"]])
            if not coded.lossless:
                coded.error = max(coded.error, self._change(coded.form, plain, made))
            if coded.is_recipe:
                self.seconds += time.perf_counter() - began
            began = time.perf_counter()

    def _change(
        self, form: FrameForm, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
    ) -> float:
        """Return the largest change of a pixel that counts."""
        values = after["data"].astype("f4")
        if form.photons is not None:
            values /= np.float32(form.photons.per_unit)
        bad = np.uint32(DEFAULT_BAD_BITS if self._job.tables is None else self._job.tables.bad_bits)
        good = np.isfinite(before["data"]) & (after["mask"] & bad == 0)
        return float(np.abs(values - before["data"])[good].max(initial=0.0))


def _size(planes: np.ndarray, dtype: Any, packed: bool | str) -> int:
    """Return the bytes of the chunks of some frames (1, m, ss, fs), which are encoded in threads."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        chunks = list(pool.map(lambda frame: encode_chunk(frame, dtype, packed), planes[0]))
    return sum(len(chunk) if isinstance(chunk, bytes) else chunk.nbytes for chunk in chunks)


def _name(form: FrameForm, write: Write) -> str:
    """Return what a table calls a form."""
    parts = [form.content]
    if form.content == "rounded":
        bounds = [str(write.rounding_absolute)] if write.rounding_absolute is not None else []
        bounds += [f"{100 * write.rounding_relative:g} %"] if write.rounding_relative is not None else []
        parts.append(" or ".join(bounds))
    if form.photons is not None:
        parts.append(form.photons.dtype)
    return ", ".join([*parts, form.compression])
