"""JUNGFRAU of any number of modules, under whatever numbers: a run opens and is reduced."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import detectors
from shotsieve.check import check
from shotsieve.errors import BadInput
from shotsieve.sources import open_run

from .receiver_runs import recipe_of
from .test_reduce import frames_of

TINY = {"n_trains": 1, "n_frames": 1, "hit_rate": 1.0}


@pytest.mark.parametrize(
    ("name", "modules"), [("SPB_IRDA_JF4M", tuple(range(1, 9))), ("SPB_IRDA_JF16M", (9, 12))]
)
def test_modules_and_their_numbers(simulated, tmp_path, name, modules):
    run = simulated("JUNGFRAU", detector_name=name, modules=modules, **TINY)
    source = open_run(run.raw)
    assert (source.name, tuple(source.modules), len(source.shots)) == (name, modules, 1)
    result = shotsieve.reduce(
        run.raw, recipe_of(run, keep={"rule": "lit_pixels >= 0"}), tmp_path / "o", backend="cpu"
    )
    assert result.accounts.kept == 1
    again = open_run(result.out)
    assert (again.name, tuple(again.modules)) == (name, modules)
    frames = frames_of(result.out)
    assert frames.shape == (1, 1, len(modules), 512, 1024)
    energy = run.parameters.photon_energy_kev
    for at in (0, len(modules) - 1):
        alone = shotsieve.reduce(
            source.of_modules([modules[at]]),
            recipe_of(run, keep={"rule": "lit_pixels >= 0"}),
            tmp_path / f"{at}",
            backend="cpu",
        )
        np.testing.assert_array_equal(frames_of(alone.out)[:, :, 0], frames[:, :, at])
        # Each module has constants of its own; with those of another, dark pixels are not at zero.
        assert abs(np.nanmedian(frames[:, :, at])) < 0.1 * energy
    assert check(result.out).ok


def test_a_name_that_fits_no_pattern(simulated, tmp_path):
    """A file of one's own, with other patterns, reads the run; the shipped one says what it holds."""
    run = simulated("JUNGFRAU", **TINY)
    old, new = run.parameters.detector_name, "MID_EXD_BIGJF"
    folder = shutil.copytree(run.raw, tmp_path / "r0002")
    for path in folder.glob("*.h5"):
        with h5py.File(path, "r+") as f:
            for group in ("INDEX", "INSTRUMENT", "CONTROL", "RUN"):
                if old in f.get(group, ()):
                    f.move(f"{group}/{old}", f"{group}/{new}")
            listed = f["METADATA/dataSources/dataSourceId"]
            listed[:] = [name.replace(old.encode(), new.encode()) for name in listed[:]]
    with pytest.raises(BadInput, match=f"holds no data of a detector that shotsieve knows.*{new}"):
        open_run(folder)
    text = Path(detectors.__file__).with_name("jungfrau.toml").read_text()
    own = tmp_path / "jungfrau.toml"
    own.write_text(text.replace("JNGFR|JUNGF|", "BIGJF|"))
    for given in (own, str(own)):
        assert open_run(folder, given).name == new
    recipe = recipe_of(run, detector=[{"name": str(own)}], keep={"rule": "lit_pixels >= 0"})
    result = shotsieve.reduce(folder, recipe, tmp_path / "o", backend="cpu")
    usual = shotsieve.reduce(run.raw, recipe_of(run, keep=recipe["keep"]), tmp_path / "u", backend="cpu")
    np.testing.assert_array_equal(frames_of(result.out), frames_of(usual.out))
    assert check(result.out).ok
