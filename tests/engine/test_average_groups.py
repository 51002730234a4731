"""Frame statistics by what is measured on the way: hits and misses, bins of measures, ranks of the run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve import detectors
from shotsieve.check import check
from shotsieve.constants import Constants
from shotsieve.emulated import EmulatedDevice
from shotsieve.engine import averages
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.sources.base import OperatingMode
from shotsieve.sources.memory import MemorySource

SHAPE, CELLS, TRAINS, MODULES = (64, 128), 32, 3, (0, 1)
HIT, FEW = 900, 300
RECIPE = {
    "calibrate": {"unit": "keV"},
    "measure": {"lit": {"threshold": "4 keV"}},
    "keep": {"rule": f"lit_pixels > {HIT} and pulse_energy > 0", "misses": 0.5},
    "write": {"content": "raw", "trains_per_file": 1},
}


@dataclasses.dataclass
class Run:
    source: MemorySource
    constants: Constants
    frames: np.ndarray  # as they are calibrated
    lit: np.ndarray  # pixels of the shot; a lower bound where a module is missing


@pytest.fixture(scope="module")
def run() -> Run:
    """Shots with anything from nothing to 1600 lit pixels; a module is missing in a train, an energy once."""
    rng = np.random.default_rng(5)
    detector = dataclasses.replace(detectors.load("AGIPD1M"), shape=SHAPE)
    stages = (len(MODULES), 3, CELLS, *SHAPE)
    arrays = {
        "offset": rng.uniform(4030, 4050, stages).astype("f4"),
        "thresholds": np.broadcast_to(np.float32([7000, 9000])[:, None, None, None], (2, 2, CELLS, *SHAPE)),
        "relative_gain": rng.uniform(0.9, 1.1, stages).astype("f4"),
        "mg_baseline": np.zeros((len(MODULES), 1, CELLS, *SHAPE), "f4"),
        "adu_per_kev": np.full((len(MODULES), 1, CELLS, *SHAPE), 40, "f4"),
        "bad_pixels": (rng.random(stages) < 0.01).astype("u4"),
    }
    constants = Constants.from_arrays(detector, arrays, modules=list(MODULES), cell_ids=np.arange(CELLS))
    n = TRAINS * CELLS
    raw = rng.integers(4000, 4080, (n, len(MODULES), 2, *SHAPE)).astype("u2")
    share = rng.uniform(0, 0.1, (n, 1, 1, 1))
    raw[:, :, 0] += (400 * (rng.random((n, len(MODULES), *SHAPE)) < share)).astype("u2")
    raw[:, :, 1] = 6000
    present = np.ones((n, len(MODULES)), bool)
    present[CELLS : 2 * CELLS, 1] = False
    energy = np.where(np.arange(n) == 11, np.nan, 1000.0)
    train, cell = np.repeat([7, 8, 9], CELLS), np.tile(np.arange(CELLS), TRAINS)
    mode = OperatingMode(gain_mode="adaptive")
    source = MemorySource(
        detector,
        raw,
        train,
        cell,
        cell,
        modules=MODULES,
        present=present,
        columns={"pulse_energy": energy},
        mode=mode,
    )
    result = shotsieve.calibrate_frames(
        raw,
        cell,
        constants,
        MODULES,
        ["data", "lit_pixels"],
        unit="keV",
        lit_threshold=4.0,
        gain_mode="adaptive",
        backend="cpu",
    )
    frames = np.where(present[..., None, None], result.data, np.nan)
    return Run(source, constants, frames, np.where(present, result.lit_pixels, 0).sum(axis=1))


def reduce(run: Run, out: Path, average: dict[str, Any], backend: str = "cpu", recipe=None, **options):
    recipe = {name: section for name, section in {**RECIPE, **(recipe or {})}.items() if section is not None}
    recipe["measure"] = {**recipe["measure"], "average": average}
    return shotsieve.reduce(run.source, recipe, out, constants=run.constants, backend=backend, **options)


def averages_of(out: Path) -> dict[str, np.ndarray]:
    with h5py.File(out / "shotsieve" / "averages.h5") as file:
        return {name: values[()] for name, values in file["entry/frames"].items()}


def check_groups(found: dict[str, np.ndarray], frames: np.ndarray, groups: list[np.ndarray]) -> None:
    """Compare with the plain statistics of the frames of each group, whose number is told."""
    assert found["shots"].tolist() == [int(group.sum()) for group in groups]
    for row, group in enumerate(groups):
        here = frames[group].astype("f8")
        count = np.isfinite(here).sum(axis=0)
        np.testing.assert_array_equal(found["count"][row], count)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.nansum(here, axis=0) / count
            spread = np.nansum((here - mean) ** 2, axis=0) / (count - 1)
        np.testing.assert_allclose(found["mean"][row], mean, rtol=1e-6, atol=1e-6)
        two = count > 1
        np.testing.assert_allclose(found["variance"][row][two], spread[two], rtol=1e-5, atol=1e-6)
        assert np.isnan(found["variance"][row][~two]).all()
        some = count > 0
        np.testing.assert_array_equal(found["maximum"][row][some], np.nanmax(here[:, some], axis=0))


def verdicts(run: Run, level: int = HIT) -> list[np.ndarray]:
    """Return which shots are undecided, misses, hits: by the letter of three values."""
    whole = run.source.shots.present.all(axis=1)
    bright, known = run.lit > level, run.source.columns()["pulse_energy"] > 0
    dim = whole & ~bright
    return [~dim & ~(bright & known), dim, bright & known]


def test_hits_and_misses_apart(run, tmp_path, backend_name):
    """The same bytes for any block size and on every backend, whatever becomes of the shots."""
    found = []
    for k, block_bytes in enumerate((10**9, 3_000_000)):
        out = tmp_path / str(k)
        result = reduce(run, out, {"by": "verdict"}, backend_name, block_bytes=block_bytes)
        found.append((out / "shotsieve" / "averages.h5").read_bytes())
    assert found[0] == found[1]
    if backend_name != "cpu":
        reduce(run, tmp_path / "cpu", {"by": "verdict"})
        assert found[0] == (tmp_path / "cpu" / "shotsieve" / "averages.h5").read_bytes()
    groups = verdicts(run)
    assert min(group.sum() for group in groups) > 3
    np.testing.assert_array_equal(result.table.verdict, np.select(groups, [-1, 0, 1]))
    kept = result.table.fate == 0
    assert 0 < (kept & groups[1]).sum() < groups[1].sum()  # some misses are kept, and all are averaged
    read = averages_of(out)
    assert read["verdict"].tolist() == [-1, 0, 1]
    check_groups(read, run.frames, groups)


def test_bins_of_a_measure(run, tmp_path, backend_name):
    out = tmp_path / "r"
    result = reduce(run, out, {"by": "lit_pixels", "bins": f"0 {FEW} {HIT}"}, backend_name)
    whole = run.source.shots.present.all(axis=1)  # of the others the number is not known
    groups = [whole & (run.lit < FEW), whole & (run.lit >= FEW) & (run.lit <= HIT)]
    read = averages_of(out)
    assert read["edges"].tolist() == [0, FEW, HIT]
    assert read["lit_pixels"].tolist() == [FEW / 2, (FEW + HIT) / 2]
    check_groups(read, run.frames, groups)
    assert any("averages of frames: 2 groups by lit_pixels" in note for note in result.accounts.notes)


@pytest.mark.parametrize("by", ["order", "verdict"])
def test_what_the_whole_run_says_takes_a_second_pass(run, tmp_path, by):
    """A rank is known at the end: frames are read once more, and what is written is the same."""
    last = {"derive": {"order": {"kind": "rank", "of": "lit_pixels"}}, "keep": {"rule": "order < 0.25"}}
    average = {"by": by} if by == "verdict" else {"by": by, "bins": "0 0.25 1"}
    result = reduce(run, tmp_path / "r", average, recipe=last)
    order = result.table.columns["order"]
    unknown, first = np.isnan(order), order < 0.25
    groups = [first, ~first & ~unknown]
    read = averages_of(tmp_path / "r")
    check_groups(read, run.frames, groups if by == "order" else [unknown, *reversed(groups)])
    assert any("frames were read twice" in note for note in result.accounts.notes)
    assert result.accounts.bytes_in == 2 * run.source.shots.present.sum() * run.source.detector.frame_bytes
    kept = (result.table.fate == 0).sum()
    assert 0 < kept < len(order)
    report = check_against(check(tmp_path / "r"), run.source, constants=run.constants, backend="cpu")
    assert report.ok, report.faults
    # Written as if nobody asked for averages.
    plain = shotsieve.reduce(run.source, {**RECIPE, **last}, tmp_path / "p", constants=run.constants)
    for mine, theirs in zip(result.files, plain.files, strict=True):
        assert datasets(mine) == datasets(theirs)


def datasets(path: Path) -> dict[str, bytes]:
    """Return all that a file holds but what it says of its making."""
    found = {}
    with h5py.File(path) as file:
        for top in ("INDEX", "INSTRUMENT"):
            file[top].visititems(
                lambda name, item: (
                    found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
                )
            )
    assert any(name.endswith("image/data") for name in found)
    return found


def test_an_engine_tells_the_same(run, tmp_path, monkeypatch):
    monkeypatch.setattr(detectors, "load", lambda name: run.source.detector)
    told = {"modules": MODULES, "mode": run.source.mode, "columns": ("pulse_energy",), "block_shots": CELLS}
    asked = {**RECIPE, "write": {"content": "raw"}}
    for average in ({"by": "verdict"}, {"by": "lit_pixels", "bins": f"0 {FEW} {HIT}"}):
        recipe = {**asked, "measure": {**RECIPE["measure"], "average": average}}
        with shotsieve.Engine(recipe, run.constants, backend="cpu", detector="AGIPD1M", **told) as engine:
            for _ in engine.run(run.source):
                pass
            mine = engine.frame_statistics()
        reduce(run, tmp_path / average["by"], average)
        theirs = averages_of(tmp_path / average["by"])
        np.testing.assert_array_equal(mine.count.reshape(theirs["count"].shape), theirs["count"])
        np.testing.assert_array_equal(mine.mean.astype("f4").reshape(theirs["mean"].shape), theirs["mean"])
    recipe = {**asked, "measure": {"average": {"by": "train"}}}
    with pytest.raises(BadInput, match="values that are not told"):
        shotsieve.Engine(recipe, run.constants, detector="AGIPD1M", **told)


@pytest.mark.parametrize(
    ("average", "sections", "words"),
    [
        ({"by": "verdict"}, {"keep": None}, "no rule of its own"),
        ({"by": "lit_pixels"}, {}, "known only once a shot was measured"),
        ({"by": "lit_pixles", "bins": "0 1"}, {}, "no such column. Did you mean 'lit_pixels'"),
        ({"by": "keep_probability", "bins": "0 1"}, {}, "no such column"),
        ({"by": "lit_pixels", "bins": "0 b"}, {}, "no number"),
        ({"by": "lit_pixels", "bins": "1 0"}, {}, "ascending"),
    ],
)
def test_wrong_groups(run, tmp_path, average, sections, words):
    with pytest.raises(BadInput, match=words):
        reduce(run, tmp_path / "r", average, recipe=sections)


def test_bins_go_with_a_column():
    with pytest.raises(BadInput, match="bins are of a column"):
        shotsieve.Recipe.from_dict({"calibrate": {}, "measure": {"average": {"bins": "0 1"}}})


def test_the_size_is_told_and_refused_before_the_start(run, tmp_path, capsys, monkeypatch):
    reduce(run, tmp_path / "r", {"by": "cell"})
    size = CELLS * len(MODULES) * 64 * 128 * 32
    assert f"averages of frames: 32 groups by cell take {size / 1e9:.2f} GB" in capsys.readouterr().err
    monkeypatch.setattr(averages, "half_of_memory", lambda: 10_000)
    with pytest.raises(BadInput, match=r"32 groups of 16384 pixels take 0\.02 GB; half of this machine's"):
        reduce(run, tmp_path / "s", {"by": "cell"})
    assert not (tmp_path / "s").exists()


def test_a_run_of_which_nothing_is_read(run, tmp_path):
    reduce(run, tmp_path / "r", {"by": "cell"}, recipe={"select": {"rule": "cell_id > 50"}})
    read = averages_of(tmp_path / "r")
    assert not read["count"].any()
    assert np.isnan(read["mean"]).all()


def test_what_is_there_at_the_same_time_has_to_fit_together(run, tmp_path, monkeypatch):
    """Averages and differences of frames, each of which would fit."""
    cells = CELLS * len(MODULES) * 64 * 128 * 32
    pump = {"pump_probe": {"mode": "even_train_on", "frames": True}}
    recipe = {"measure": {**RECIPE["measure"], **pump}}
    monkeypatch.setattr(averages, "half_of_memory", lambda: cells + 1_000_000)
    with pytest.raises(BadInput, match="32 groups of 16384 pixels and of 3 groups of 16384 pixels take 0"):
        reduce(run, tmp_path / "r", {"by": "cell"}, recipe=recipe)
    monkeypatch.setattr(averages, "half_of_memory", lambda: cells * 35 // 32)
    reduce(run, tmp_path / "r", {"by": "cell"}, recipe=recipe)


def test_a_small_card_is_asked_too(run, tmp_path, monkeypatch):
    try:
        emu = backends.get("emu")
    except shotsieve.errors.BackendUnavailable as error:
        pytest.skip(str(error))
    small = dataclasses.replace(emu, device=EmulatedDevice(emu.native, memory_bytes=10_000_000))
    monkeypatch.setattr(backends, "get", lambda name: small)
    with pytest.raises(BadInput, match=r"take 0\.02 GB; what is free on the device is 0\.01 GB"):
        reduce(run, tmp_path / "r", {"by": "cell"})
