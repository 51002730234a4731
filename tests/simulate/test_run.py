"""The raw run on disk: the facility's reader takes it, and it holds what the truth says."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput, OutputError
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.simulate.memory import build
from shotsieve.simulate.run import write_run
from shotsieve.simulate.truth import SpiTruth, TruthFile

from .conftest import SMALL

MODULE = "SPB_DET_AGIPD1M-1/DET/{}CH0:xtdf"


def digest(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def image(path, module, key):
    with h5py.File(path, "r") as file:
        return file[f"INSTRUMENT/{MODULE.format(module)}/image/{key}"][()]


def raw_file(run, module, sequence=0):
    return run.raw / f"RAW-R0001-AGIPD{module:02d}-S{sequence:05d}.h5"


def test_places_and_names(small):
    names = ["AGIPD03", "AGIPD04", "AGIPD1MCTRL00", "DA01"]
    assert [f.name for f in small.files] == [f"RAW-R0001-{n}-S00000.h5" for n in names]
    out = small.truth_file.parent
    assert small.raw == out / "raw" / "r0001"
    assert (small.constants / "modules.toml").exists()
    assert small.geometry == out / "agipd.geom"


def test_same_seed_same_bytes(small, tmp_path):
    simulate_spi(tmp_path / "again", SpiParameters(**SMALL))
    first, again = digest(small.truth_file.parent), digest(tmp_path / "again")
    assert len(first) > 20
    assert first == again
    other = simulate_spi(tmp_path / "other", SpiParameters(**{**SMALL, "seed": 8}))
    assert not np.array_equal(image(raw_file(other, 3), 3, "data"), image(raw_file(small, 3), 3, "data"))


def test_truth_has_hits_all_stages_and_photons_as_expected(small):
    truth = SpiTruth.open(small.truth_file)
    assert truth.hit.sum() >= 3
    with h5py.File(small.truth_file, "r") as file:
        stage = file["stage"][()]
        assert file["pulse_energy"].attrs["unit"] == "uJ"
        assert "n_trains" in file.attrs["parameters"]
    assert stage.shape == (12, 2, 512, 128)
    assert set(np.unique(stage)) == {0, 1, 2}
    assert not stage[~truth.hit].any()
    assert (np.abs(truth.photons - truth.photons_expected) <= 5 * np.sqrt(truth.photons_expected) + 1).all()
    assert (truth.photons[truth.n_pulses == 0] == 0).all()
    assert (truth.lit_expected >= truth.background_lit_expected).all()
    np.testing.assert_allclose(
        truth.hit_photons_expected.sum(1), truth.strength * truth.pulse_energy / 1500, rtol=1e-3
    )


def test_words_on_disk_give_the_stages_of_the_truth(small):
    _, model, _ = build(small.parameters)
    truth = small.truth
    with h5py.File(small.truth_file, "r") as file:
        stages = file["stage"][()].reshape(12, 2, -1)
    for row, module in enumerate((3, 4)):
        words = image(raw_file(small, module), module, "data").reshape(12, 2, -1)
        for shot in range(12):
            cell = int(truth.cell_id[shot])
            t0, t1 = model.module(module).thresholds(cell)[:2]
            d = words[shot, 1]
            stage = (d > t0).astype(int) + ((d > t0) & (d > t1))
            near = np.minimum(np.abs(d - t0), np.abs(d - t1)) < 5 * 25
            assert (stage == stages[shot, row])[~near].all()
            assert (stage == stages[shot, row]).mean() > 0.998


def test_extra_data_opens_and_validates_it(small):
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    run = extra_data.RunDirectory(str(small.raw))
    assert len(run.files) == len(small.files)
    detector = components.AGIPD1M(run, raw=True)
    assert sorted(detector.modno_to_source) == [3, 4]
    array = detector["image.data"].xarray()
    assert array.shape == (2, 12, 2, 512, 128)
    np.testing.assert_array_equal(array.coords["pulse"], small.truth.pulse_id)
    np.testing.assert_array_equal(array.coords["train"], small.truth.train_id)
    np.testing.assert_array_equal(array.values[1], image(raw_file(small, 4), 4, "data"))
    meta = run.run_metadata()
    assert (meta["dataFormatVersion"], meta["proposalNumber"], meta["runNumber"]) == ("1.2", 900000, 1)
    assert run["SPB_IRU_AGIPD1M1/MDL/FPGA_COMP", "gainModeIndex"].as_single_value() == 0
    assert run.get_run_value("SPB_IRU_AGIPD1M1/MDL/FPGA_COMP", "classId") == "AgipdComposite"
    assert validate(small.raw) == 0


def raw_run(folder: Path, options: dict) -> SimpleNamespace:
    """Write a raw run without constants, which take most of the time."""
    p = SpiParameters(**{**SMALL, "bad_fraction": 0.0, "truth_stage": False, **options})
    raw = folder / "raw" / "r0001"
    raw.mkdir(parents=True)
    schedule, _, maker = build(p)
    truth = SpiTruth.of(p, schedule, maker)
    with TruthFile(folder / "truth.h5", p, truth) as file:
        files = write_run(raw, p, schedule, maker, file.collect)
    return SimpleNamespace(raw=raw, files=files, truth=SpiTruth.open(folder / "truth.h5"), parameters=p)


def validate(folder) -> int:
    from extra_data.validation import main

    return main([str(folder)]) or 0


ODD = {
    "a missing module": {"missing_modules": (4,)},
    "a module that missed a train": {"missed_trains": ((4, 1),)},
    "an empty train": {"empty_trains": (1,)},
    "all of it empty but one": {"empty_trains": (0, 2)},
    "a second sequence": {"split_at": (2,)},
    "cells with gaps and dark cells": {"cell_ids": (0, 2, 3, 7, 9), "dark_cells": (7,)},
    "wrapped cells": {"cell_ids": (5, 6, 7, 0, 1)},
    "suspect trains": {"suspect_trains": (1,), "suspect": ((4, 2),)},
    "no machine data": {"xgm": False, "time_server": False},
    "pumped trains, a decoder and a lit-frame finder": {
        "pump": "even_trains",
        "pattern_source": "decoder",
        "litfrm": True,
        "litfrm_misses": (1,),
        "delays": (0.1, 0.2),
    },
    "an older time server, dark trains, two pulses in a frame": {
        "pattern_source": "control",
        "dark_trains": (1,),
        "pulses_per_frame": 2,
        "integration_time": 44,
    },
}


@pytest.mark.parametrize("options", ODD.values(), ids=ODD.keys())
def test_odd_runs_are_valid_and_hold_the_frames_they_should(options, tmp_path):
    run = raw_run(tmp_path, options)
    p, truth = run.parameters, run.truth
    for row, module in enumerate(p.modules):
        files = sorted(run.raw.glob(f"RAW-R0001-AGIPD{module:02d}-*.h5"))
        assert len(files) == (0 if module in p.missing_modules else 1 + len(p.split_at))
        present = truth.present[:, row]
        for key, want in (
            ("trainId", truth.train_id),
            ("pulseId", truth.pulse_id),
            ("cellId", truth.cell_id),
        ):
            got = [image(f, module, key) for f in files]
            assert all(g.shape[1:] == (1,) for g in got)
            got = np.concatenate([np.zeros((0, 1)), *got])[:, 0]
            np.testing.assert_array_equal(got, want[present])
        assert (truth.photons[~present, row] == -1).all()
    for t in p.empty_trains:
        assert p.first_train + t not in truth.train_id
    extra_data = pytest.importorskip("extra_data")
    opened = extra_data.RunDirectory(str(run.raw), inc_suspect_trains=True)
    assert len(opened.files) == len(run.files)
    assert len(opened.train_ids) == p.n_trains
    assert validate(run.raw) == 0
    good = extra_data.RunDirectory(str(run.raw), inc_suspect_trains=False)
    assert p.first_train + 1 in good.train_ids or not p.suspect_trains


def test_unequal_counts_are_what_the_facility_reader_refuses(tmp_path):
    run = raw_run(tmp_path, {"short_trains": ((4, 1, 2),)})
    assert run.truth.present[:, 1].tolist() == [True] * 6 + [False] * 2 + [True] * 4
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    with pytest.raises(ValueError, match="Inconsistent frame counts"):
        components.AGIPD1M(extra_data.RunDirectory(str(run.raw)), raw=True)


def test_sequences_may_overlap(tmp_path):
    run = raw_run(tmp_path, {"split_at": (2,), "sequence_overlap": 1})
    first, second = (image(raw_file(run, 3, s), 3, "data") for s in (0, 1))
    np.testing.assert_array_equal(first[4:8], second[:4])
    assert (len(first), len(second)) == (8, 8)


def test_options_of_one_module_leave_the_others_alone(small, tmp_path):
    run = raw_run(tmp_path, {"missing_modules": (4,), "split_at": (1,), "bad_fraction": 0.01})
    parts = np.concatenate([image(raw_file(run, 3, s), 3, "data") for s in (0, 1)])
    np.testing.assert_array_equal(parts, image(raw_file(small, 3), 3, "data"))


def test_a_taken_folder_is_refused_and_left_alone(small, tmp_path):
    (tmp_path / "raw" / "r0001").mkdir(parents=True)
    precious = tmp_path / "raw" / "r0001" / "data.h5"
    precious.write_text("mine")
    with pytest.raises(BadInput, match="exists already"):
        simulate_spi(tmp_path, SpiParameters(**SMALL))
    assert precious.read_text() == "mine"
    with pytest.raises(BadInput, match=r"truth.h5 is missing, the mark of a simulation"):
        simulate_spi(tmp_path, SpiParameters(**SMALL), overwrite=True)
    assert precious.read_text() == "mine"
    (tmp_path / "notes.txt").write_text("also mine")
    with pytest.raises(BadInput, match="is a file"):
        simulate_spi(tmp_path / "notes.txt")


TINY = {**SMALL, "n_trains": 1, "n_cells": 2, "modules": (3,)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return simulate_spi(tmp_path_factory.mktemp("tiny"), SpiParameters(**TINY)).truth_file.parent


def test_an_earlier_simulation_is_replaced_and_nothing_else(tiny, small, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(small.truth_file.parent, out)
    (out / "notes.txt").write_text("mine")
    (out / "raw/r0002").mkdir()
    (out / "raw/r0002/data.h5").write_text("also mine")
    with pytest.raises(BadInput, match=r"exists already.*\(--overwrite; from Python: overwrite=True\)"):
        simulate_spi(out, SpiParameters(**TINY))
    simulate_spi(out, SpiParameters(**TINY), overwrite=True)
    found = digest(out)
    assert {name for name in found if name not in digest(tiny)} == {"notes.txt", "raw/r0002/data.h5"}
    assert {name: found[name] for name in digest(tiny)} == digest(tiny)


@pytest.mark.parametrize(
    "foreign",
    [
        "raw/r0001/RAW-REAL.h5",
        "raw/r0001/RAW-R0001-LPD00-S00000.h5",
        "raw/r0001/analysis/plot.png",
        "constants/mine.h5",
        "constants/xfel/cal/agipd-type/agipd_sim_m003/mine.h5",
        "agipd.geom",
        "truth.h5",
    ],
)
def test_overwrite_refuses_what_no_simulation_made(tiny, tmp_path, foreign):
    out = tmp_path / "out"
    shutil.copytree(tiny, out)
    (out / foreign).parent.mkdir(parents=True, exist_ok=True)
    (out / foreign).write_text("mine")
    before = digest(out)
    with pytest.raises(BadInput, match=f"{re.escape(str(out / foreign))} (was not made|is not the truth)"):
        simulate_spi(out, SpiParameters(**TINY), overwrite=True)
    assert digest(out) == before


@pytest.mark.parametrize("place", ["raw/r0001", "constants", "constants/modules.toml", "agipd.geom"])
def test_overwrite_refuses_links(tiny, tmp_path, place):
    out = tmp_path / "out"
    shutil.copytree(tiny, out)
    (out / place).rename(tmp_path / "elsewhere")
    (out / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match=f"{re.escape(str(out / place))} (is a link|was not made)"):
        simulate_spi(out, SpiParameters(**TINY), overwrite=True)
    assert (out / place).is_symlink()


def test_overwrite_refuses_a_run_of_another_number(tiny, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(tiny, out)
    real = out / "raw/r0002/RAW-R0002-AGIPD03-S00000.h5"
    real.parent.mkdir()
    real.write_text("mine")
    with pytest.raises(BadInput, match=r"r0002 is not of the simulation in .*, which is of run 1"):
        simulate_spi(out, SpiParameters(**TINY, run=2), overwrite=True)
    assert real.read_text() == "mine"


def test_what_fails_leaves_nothing(tmp_path):
    def full(done, total, size):
        if done:
            raise OSError(28, "No space left on device")

    tiny = {**SMALL, "n_trains": 1, "n_cells": 2, "modules": (3,)}
    with pytest.raises(OutputError, match="No space left"):
        simulate_spi(tmp_path / "out", SpiParameters(**tiny), progress=full)
    assert not [f for f in (tmp_path / "out").rglob("*") if f.is_file()]


def test_progress_counts_trains_and_bytes(tmp_path):
    seen = []
    tiny = {**SMALL, "n_trains": 2, "n_cells": 2, "modules": (3,)}
    simulate_spi(tmp_path, SpiParameters(**tiny), progress=lambda *a: seen.append(a))
    frame = 2 * 2 * 512 * 128
    assert seen == [(0, 2, 0), (1, 2, 2 * frame), (2, 2, 4 * frame)]


def test_importing_it_loads_nothing_heavy():
    heavy = "{'extra_data', 'pandas', 'xarray', 'click', 'cupy'}"
    code = f"import sys, shotsieve.simulate; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
