"""Real frames of a JUNGFRAU module with its own pedestals and gains: the facility's own photons come out."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import cli, detectors
from shotsieve.constants import Constants, Steps, fold
from shotsieve.reference.calibrate import calibrate_count_folded, calibrate_unfolded

DATA = Path(os.environ.get("SHOTSIEVE_DATA") or Path(__file__).parents[3] / "shared" / "data")
FILE = DATA / "jungfrau_psi_mod5" / "jf_mod5_shared.h5"

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"real data {FILE} is not here (SHOTSIEVE_DATA)")


@pytest.fixture(scope="module")
def real():
    """Frames as the facility's receiver splits them, the constants, and the reference photons."""
    with h5py.File(FILE) as file:
        raw = file["raw"][:2]
        pedestal = np.stack([file[f"pedeG{g}"][()] for g in range(3)])
        gain = file["gain_recovered"][()]
        photons = file["converted_photons"][()]
    # Gains are per photon of this experiment, so that the photon unit takes the place of keV.
    constants = Constants.from_arrays(
        "JUNGFRAU", {"offset": pedestal[:, None], "adu_per_kev": gain[:, None]}, modules=[1]
    )
    words = np.stack([raw & 0x3FFF, raw >> 14], axis=1).reshape(2, 2, -1)
    return words, constants, photons.reshape(2, -1)


def test_reference_frames_are_reproduced(real):
    words, constants, photons = real
    detector = detectors.load("JUNGFRAU")
    folded = fold(constants, detector, 1, [15], Steps())
    result = calibrate_count_folded(words, [0, 0], folded.table, encoding=1)
    stage = result.stage & 3
    gain = constants.load("adu_per_kev", 1)[:, 0].reshape(3, -1)
    known = np.isfinite(np.take_along_axis(gain, stage.astype(np.int64), 0))
    saturated = (words[:, 1] == 3) & (words[:, 0] == 0)
    wrong = (words[:, 1] == 2) | ((words[:, 1] == 3) & (words[:, 0] == 0x3FFF))
    good = known & ~saturated & ~wrong

    assert good.mean() > 0.99
    assert set(np.unique(stage[good])) == {0, 1, 2}
    difference = np.abs(result.pixels[good] - photons[good])
    assert difference.max() < 1e-3
    assert np.isnan(result.pixels[~good]).all()
    assert result.counts[:, 1].tolist() == good.sum(axis=1).tolist()


def test_folded_and_unfolded_agree(real):
    words, constants, _ = real
    detector = detectors.load("JUNGFRAU")
    table = fold(constants, detector, 1, [15], Steps()).table
    result = calibrate_count_folded(words, [0, 0], table, encoding=1)
    oracle = calibrate_unfolded(
        words,
        [0, 0],
        offset=constants.load("offset", 1).reshape(3, 1, -1),
        adu_per_kev=constants.load("adu_per_kev", 1).reshape(3, 1, -1),
        encoding=1,
        signed_gain=True,
    )
    np.testing.assert_array_equal(result.stage & 3, oracle.stage)
    np.testing.assert_array_equal(np.isnan(result.pixels), np.isnan(oracle.pixels))
    scale = 2.0**-20 * 16384 * np.abs(np.take_along_axis(table[0, 5:8], oracle.stage.astype(np.int64), 0))
    good = np.isfinite(oracle.pixels)
    assert (np.abs(result.pixels - oracle.pixels)[good] <= scale[good]).all()


PHOTON_KEV = 12.4  # about; the gains of the file are in ADU per photon


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The same constants as files of PSI and of jungfrau_utils, converted by the command."""
    folder = tmp_path_factory.mktemp("psi")
    with h5py.File(FILE) as file:
        gain = file["gain_recovered"][()].astype("<f8") / PHOTON_KEV
        # The maps of high gain 0 are not used in this mode; they have to be there, and have their signs.
        np.concatenate([gain, gain]).tofile(folder / "gainMaps_M351.bin")
        with h5py.File(folder / "pedestal_res.h5", "w") as out:
            out["gains"] = np.stack([file[f"pedeG{g}"][()] for g in range(3)]).astype("f8")
    out = folder / "constants.h5"
    told = ("--pedestals", folder / "pedestal_res.h5", "--module", "gainMaps_M351.bin=1", "-o", out)
    assert cli.main(["constants", "convert", str(folder / "gainMaps_M351.bin"), *map(str, told)]) == 0
    return out


def check_photons(real, found, module):
    """Constants of a module are those of the file, and frames have the photons of their makers."""
    words, constants, photons = real
    assert found.cell_ids.tolist() == [15]
    np.testing.assert_array_equal(found.load("offset", module), constants.load("offset", 1))
    gain = found.load("adu_per_kev", module).astype("f8") * PHOTON_KEV
    np.testing.assert_allclose(gain, constants.load("adu_per_kev", 1), rtol=1e-7)
    frames = words.reshape(2, 2, 512, 1024)
    told = {"unit": "photon", "photon_energy_kev": PHOTON_KEV, "backend": "cpu"}
    calibrated = shotsieve.calibrate_frames(frames, [15, 15], found, [module], ["data", "gain"], **told)
    values, stage = calibrated.data.reshape(2, -1), calibrated.gain.reshape(2, -1)
    good = np.isfinite(values)
    assert good.mean() > 0.99
    assert set(np.unique(stage[good])) == {0, 1, 2}
    assert np.abs(values[good] - photons[good]).max() < 1e-3


def test_the_same_through_the_files_of_psi(real, imported):
    found = Constants.open(imported)
    assert found.modules == (1,)
    check_photons(real, found, 1)


def test_the_same_through_the_metadata_of_a_real_correction(real, tmp_path):
    """Its names of files and datasets, in the layout of the store; in them the real pedestals and gains."""
    yaml = pytest.importorskip("yaml")
    metadata = DATA / "calib_meta" / "cal-metadata-jf-p900491-r487.yml"
    if not metadata.exists():
        pytest.skip(f"no {metadata}")
    _, constants, _ = real
    bad = np.zeros((1024, 512, 1, 3), "u4")
    values = {
        "Offset10Hz": constants.load("offset", 1).T.astype("f8"),
        "RelativeGain10Hz": constants.load("adu_per_kev", 1).T.astype("f8") / PHOTON_KEV,
        "BadPixelsDark10Hz": bad,
        "BadPixelsFF10Hz": bad,
    }
    for group in yaml.safe_load(metadata.read_text())["retrieved-constants"].values():
        for name, entry in group["constants"].items():
            path = tmp_path / entry["path"].split("caldb_store/")[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file[entry["dataset"] + "/data"] = values[name]
                file[entry["dataset"]]["data"].attrs["dims"] = ["fast_scan", "slow_scan", "cell", "gain"]
    out = tmp_path / "constants.h5"
    told = ("--store", tmp_path, "-o", out)
    assert cli.main(["constants", "convert", str(metadata), *map(str, told)]) == 0
    found = Constants.open(out)
    assert found.modules == (1, 2)
    assert found.provenance["pdus"] == {"1": "Jungfrau_M530", "2": "Jungfrau_M512"}
    check_photons(real, found, 2)
