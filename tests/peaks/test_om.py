"""The peak finder against OM's: the same rows, but for those that OM's stale queue entry makes.

OM (OnDA Monitor, GPL-3) is used as it is installed, as an oracle in a process and an environment of its own,
because it needs an older NumPy:

    python3.11 -m venv om
    om/bin/pip install "numpy<2"
    om/bin/pip install --no-deps ondamonitor==23.8.3
    SHOTSIEVE_OM_PYTHON=$PWD/om/bin/python pytest tests/peaks/test_om.py

Only its compiled module is loaded, so none of its other dependencies is needed.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import h5py
import numpy as np
import pytest
from shotsieve.reference.peaks_margin import distance_to_half

from .cases import Case, grid, known_cases, put

OM = os.environ.get("SHOTSIEVE_OM_PYTHON")
pytestmark = pytest.mark.skipif(
    not OM, reason="SHOTSIEVE_OM_PYTHON names no Python that has OM 23.8.3; see the head of test_om.py"
)
CHILD = """
import importlib.util, sys
from pathlib import Path
import numpy as np

package = importlib.util.find_spec("om")
if package is None:
    sys.exit("OM is not installed here: pip install --no-deps ondamonitor==23.8.3")
(path,) = Path(package.submodule_search_locations[0], "algorithms").glob("_crystallography*.so")
spec = importlib.util.spec_from_file_location("om.algorithms._crystallography", path)
om = importlib.util.module_from_spec(spec)
spec.loader.exec_module(om)
for path in sys.argv[1:]:
    given = np.load(path)
    threshold, snr, least, most, ring = given["params"].tolist()
    height, width = given["panel"].tolist()
    rows, columns = given["frame"].shape
    found = om.peakfinder_8(
        100000, given["frame"], given["mask"].view("i1"), given["radius"], 0, None, None, 0, width, height,
        columns // width, rows // height, threshold, snr, int(least), int(most), int(ring),
    )
    np.save(path.replace(".npz", ".npy"), np.array(found, "f8").reshape(8, -1).T)
"""
ROW = ("fs", "ss", "total", None, "n_pixels", "max", "sigma", "snr")  # None: the index of the centroid
SETTINGS = {
    "A": {"threshold": 120.0, "min_snr": 5.0, "min_pix_count": 1, "max_pix_count": 30, "local_bg_radius": 3},
    "B": {"threshold": 40.0, "min_snr": 5.0, "min_pix_count": 2, "max_pix_count": 30, "local_bg_radius": 3},
}
SENSITIVE = SETTINGS["B"] | {"threshold": 20.0}
NEAR = 1e-5  # OM adds in float32: a decision with a smaller margin may fall the other way


def om_rows(cases, folder):
    """Return what OM finds in each case, (n, 7); panels of a case are a grid of one size, in OM's order."""
    names = ("threshold", "min_snr", "min_pix_count", "max_pix_count", "local_bg_radius")
    for at, case in enumerate(cases):
        top, bottom, left, right = case.panels[0].tolist()
        np.savez(
            folder / f"{at}.npz",
            frame=case.frame,
            radius=case.radius,
            mask=np.ones(case.frame.shape, bool) if case.mask is None else case.mask,
            panel=[bottom - top, right - left],
            params=[case.params[name] for name in names],
        )
    command = [OM, "-c", CHILD, *(folder / f"{at}.npz" for at in range(len(cases)))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "OM is not installed" in done.stderr:
        pytest.skip(f"SHOTSIEVE_OM_PYTHON: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return [np.delete(np.load(folder / f"{at}.npy"), ROW.index(None), axis=1) for at in range(len(cases))]


def as_rows(records):
    """Return records as OM's columns, without the index."""
    return np.array([[record[name] for name in ROW if name] for record in records]).reshape(-1, 7)


def partners(rows, among):
    """Return for each row the index of the same component among others, -1 if there is none."""
    found = []
    for row in rows:
        same = (np.abs(among[:, :2] - row[:2]).max(axis=1, initial=0) <= 2e-3) & (among[:, 3] == row[3])
        found.append(int(np.argmax(same)) if same.any() else -1)
    return np.array(found, int)


def differences(cases, folder):
    """Return the number of OM's rows and of those we lack, after showing that the stale entry made them.

    The numbers of the rows that agree are compared as well.
    """
    counts = [_differences(case, rows) for case, rows in zip(cases, om_rows(cases, folder), strict=True)]
    return np.sum(counts, axis=0).tolist()


def _differences(case, theirs):
    ours = as_rows(case.search(backend="cpu")[0])
    there, back = partners(theirs, ours), partners(ours, theirs)
    if (there < 0).any() or (back < 0).any():
        found = case.oracle(compat="om-23.8")
        stale = as_rows(found.records)
        explained = partners(theirs[there < 0], stale)
        assert (explained >= 0).all(), "OM has a row that its stale entry does not explain"
        lacking = (partners(stale, theirs) < 0) & (found.margin >= NEAR)
        assert not lacking.any(), f"OM lacks {stale[lacking]}"
    equal = there >= 0
    other = equal.copy()
    other[equal] = ~same_numbers(theirs[equal], ours[there[equal]])
    if other.any():
        # OM's first centroid is rounded in float32, about 1e-7 of the position in the whole slab: beside a
        # half its ring may be centred on the next pixel.
        found = case.oracle()
        for row in partners(theirs[other], as_rows(found.records)):
            near = distance_to_half(case.frame, case.radius, found.members[row], found.offset)
            assert near < 1e-6 * max(case.frame.shape), found.records[row]
    return len(theirs), int((there < 0).sum())


def same_numbers(one, other):
    """Return which rows have equal totals, maxima and ratios to 1e-4, or 1e-3 of sigma; sigma to 1e-3."""
    slack = np.maximum(1e-4 * np.abs(one), 1e-3 * one[:, 5:6])
    return (np.abs(one - other) <= slack)[:, [2, 4, 5, 6]].all(axis=1)


def agipd_like(rng, background, shape, spots):
    """Return a frame in keV with noise, a radial background and spots, in panels of 64 x 128."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns].astype("f4")
    radius = np.hypot(y - rows / 2, x - columns / 2).astype("f4")
    profile = 0.15 + 1.6 * np.exp(-radius / 110) + 0.8 * np.exp(-(((radius - 330) / 70) ** 2))
    photons = rng.poisson(background * profile / profile.mean()).astype("f8")
    for _ in range(spots):
        ss, fs, width = rng.uniform(0, rows - 1), rng.uniform(0, columns - 1), rng.uniform(0.5, 0.9)
        at = np.s_[max(int(ss) - 5, 0) : int(ss) + 7, max(int(fs) - 5, 0) : int(fs) + 7]
        shape = np.exp(-((y[at] - ss) ** 2 + (x[at] - fs) ** 2) / (2 * width**2)) / (2 * np.pi * width**2)
        photons[at] += rng.poisson(np.clip(rng.lognormal(5, 1.2), 10, 20000) * shape)
    frame = (9.3 * photons + rng.normal(0, 1.2, photons.shape)).astype("f4")
    mask = rng.random(frame.shape) > 0.008
    mask[::64] = mask[63::64] = False
    frame[~mask] = rng.choice(np.float32([0, -300, 5000, np.nan]), (~mask).sum())
    return Case(frame, radius, mask, grid(rows, columns, 64, 128))


def some_frames(rng, count):
    """Yield frames at three strengths of the background."""
    for background in (0.05, 0.5, 2.0):
        for _ in range(count):
            yield agipd_like(rng, background, (1024, 1024), int(rng.integers(5, 101)))


@pytest.mark.parametrize(("setting", "share"), [("A", 0.999), ("B", 0.99)])
def test_rows_are_equal_but_for_those_of_the_stale_entry(setting, share, tmp_path):
    # How often OM joins pixels depends on the frames, so these are always the same. The sensitive setting has
    # more single pixels to join: there it costs OM a few rows of a thousand.
    frames = some_frames(np.random.default_rng(2024), 8)
    rows, lost = differences([replace(frame, params=SETTINGS[setting]) for frame in frames], tmp_path)
    assert rows > 800
    assert lost <= (1 - share) * rows, f"{lost} of {rows}"


@pytest.mark.parametrize("params", [*SETTINGS.values(), SENSITIVE], ids=[*SETTINGS, "sensitive"])
def test_every_difference_is_explained_on_frames_never_seen(params, rng, tmp_path):
    frames = [replace(frame, params=params) for frame in some_frames(rng, 1)]
    assert differences(frames, tmp_path)[0] > 3


def test_where_the_stale_entry_is_common_it_explains_every_row(rng, tmp_path):
    backgrounds = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    frames = [agipd_like(rng, background, (512, 256), 100) for background in backgrounds]
    rows, lost = differences([replace(frame, params=SENSITIVE) for frame in frames], tmp_path)
    assert lost > 0, f"no joined pixel among {rows} rows: this setting has some"


def test_one_small_frame_for_each_rule(rng, tmp_path):
    """But for infinities, of which OM dies, and constant frames, where float32 decides if they scatter."""
    cases = []
    for name, case in known_cases(rng).items():
        if (
            name.startswith(("constant ", "nothing good"))
            or np.isinf(case.frame).any()
            or case.params.get("noise_floor")
        ):
            continue
        whole = grid(*case.frame.shape, *case.frame.shape)
        cases.append(case if case.panels is not None else replace(case, panels=whole))
    assert len(cases) > 25
    rows, lost = differences(cases, tmp_path)
    assert rows > 100
    assert lost <= 1  # the case that is made for the stale entry


def test_two_spots_that_om_joins(rng, tmp_path):
    frame = rng.normal(0, 1, (128, 128)).astype("f4")
    frame = put(frame, (30, 60, 50), (30, 61, 58), (74, 20, 50), (94, 61, 40))
    params = {"threshold": 3.0, "min_snr": 8.0, "min_pix_count": 1, "max_pix_count": 50, "local_bg_radius": 3}
    case = Case(frame, np.full((128, 128), 10, "f4"), None, grid(128, 128, 64, 128), params)
    assert len(case.search(backend="cpu")[0]) == 3
    assert differences([case], tmp_path) == [2, 1]


def test_cspad(real_data, tmp_path):
    frame = np.load(real_data / "sfx" / "cxitut13_r10_32_cspadAsic.npy")
    radius = np.hypot(*(np.mgrid[:185, :388] - np.reshape((200, -150), (2, 1, 1)))).astype("f4")
    params = {"min_snr": 7.0, "min_pix_count": 2, "max_pix_count": 30, "local_bg_radius": 4}
    case = Case(frame, radius, None, grid(185, 388, 185, 194))
    cases = [replace(case, params=params | {"threshold": threshold}) for threshold in (200.0, 50.0)]
    rows, lost = differences(cases, tmp_path)
    assert rows >= 10
    assert lost <= 1


def test_jungfrau(real_data, tmp_path):
    with h5py.File(real_data / "jungfrau_psi_mod5" / "jf_mod5_shared.h5") as file:
        frames = file["converted_photons"][()].astype("f4")
    radius = np.hypot(np.arange(512)[:, None] + 26, np.arange(1024) - 76.5).astype("f4")
    mask = np.ones(radius.shape, bool)
    mask[[0, 255, 256, 511]] = False
    mask[:, [0, *np.r_[255:1023:256], *np.r_[256:1023:256], 1023]] = False
    params = SETTINGS["B"] | {"threshold": 10.0, "max_pix_count": 50}
    panels = grid(512, 1024, 256, 256)
    cases = [Case(frame, radius, mask & (np.abs(frame) < 30000), panels, params) for frame in frames]
    rows, lost = differences(cases, tmp_path)
    assert rows > 20
    assert lost <= 1
