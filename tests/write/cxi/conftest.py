"""A small detector of three modules, hits on it, and a maker of CXI files with them."""

from types import SimpleNamespace

import numpy as np
import pytest
from shotsieve.geometry import Geometry
from shotsieve.measure.peaks import PEAK_DTYPE
from shotsieve.write.cxi import CxiWriter
from shotsieve.write.encoded import EncodedFrames

MODULES, SS, FS, TILE = (0, 1, 2), 8, 6, 4


def make_geom(clen="clen = 0.13\n", energy="photon_energy = 9300 eV\n"):
    """Three modules of two panels each, not quite parallel, in the slab layout."""
    lines = [clen, energy, "res = 5000\ndim0 = %\ndim1 = ss\ndim2 = fs\ndata = /data\nadu_per_eV = 0.001\n"]
    for m in MODULES:
        for a in range(SS // TILE):
            name, top = f"p{m}a{a}", m * SS + a * TILE
            lines.append(
                f"{name}/min_fs = 0\n{name}/max_fs = {FS - 1}\n{name}/min_ss = {top}\n"
                f"{name}/max_ss = {top + TILE - 1}\n{name}/fs = +0.9999x +0.01y\n"
                f"{name}/ss = -0.01x +0.9999y\n"
                f"{name}/corner_x = {-10 + 9 * m}\n{name}/corner_y = {3 + 6 * a}\n{name}/coffset = 0\n"
            )
    return "".join(lines)


@pytest.fixture
def geometry(tmp_path):
    path = tmp_path / "given.geom"
    path.write_text(make_geom())
    return Geometry.load(path, module_shape=(SS, FS))


def peak_records(rng, place, ss, fs):
    """Peaks near the given pixels, inside their panels as the finder's are."""
    records = np.zeros(len(place), PEAK_DTYPE)
    for name in ("total", "max", "snr", "background", "sigma"):
        records[name] = rng.random(len(place)) * 1000
    shift = rng.uniform(-0.45, 0.45, (2, len(place)))
    first = ss // TILE * TILE
    records["ss"] = place * SS + np.clip(ss + shift[0], first, first + TILE - 1)
    records["fs"] = np.clip(fs + shift[1], 0, FS - 1)
    records["panel"] = (place * SS + ss) // TILE
    records["n_pixels"] = rng.integers(1, 9, len(place))
    return records


def make_hits(counts=(3, 0, 7, 1), seed=5):
    """Hits with bright pixels where their peaks are; module 1 of hit 2 is missing."""
    rng = np.random.default_rng(seed)
    n = len(counts)
    data = rng.normal(0, 1, (n, len(MODULES), SS, FS)).astype("f4")
    mask = np.where(rng.random(data.shape) < 0.05, rng.integers(1, 2**32, data.shape), 0).astype("u4")
    present = np.ones((n, len(MODULES)), bool)
    present[2:3, 1] = False
    peaks, pixels = [], []
    for k, count in enumerate(counts):
        place = rng.choice(np.flatnonzero(present[k]), count)
        ss, fs = rng.integers(0, SS, count), rng.integers(0, FS, count)
        data[k, place, ss, fs], mask[k, place, ss, fs] = 5000, 0
        peaks.append(peak_records(rng, place, ss, fs))
        pixels.append(np.stack([place, ss, fs], axis=1))
    data[mask > 0] = np.nan
    return SimpleNamespace(
        train=np.repeat([10_001, 10_003], [n - n // 2, n // 2]), pulse=np.arange(n) * 4,
        cell=np.arange(n) + 30, data=data, mask=mask, present=present, peaks=peaks,
        pixels=pixels, counts=np.array(counts),
    )  # fmt: skip


@pytest.fixture
def hits():
    """Return the maker of hits."""
    return make_hits


@pytest.fixture
def geom_text():
    """Return the maker of geometry files."""
    return make_geom


@pytest.fixture
def options(geometry):
    return {
        "source_name": "SPB_DET_AGIPD1M-1", "modules": MODULES, "module_shape": (SS, FS),
        "geometry": geometry, "max_peaks": 2048, "unit": "keV", "photon_energy_kev": 9.3,
        "distance_m": 0.13, "pixel_size_m": 2e-4,
        "params": {"recipe": "[keep]\n", "peaks.threshold": 4.3, "input_files": ["a.h5", "b.h5"]},
    }  # fmt: skip


@pytest.fixture
def write(tmp_path, options):
    """Return a maker of CXI files: hits, number of calls, and options of the writer or of append."""

    def make(h=None, blocks=1, folder="out", name="hits.cxi", encoded=None, n_peaks=None, **changes):
        h = make_hits() if h is None else h
        (tmp_path / folder).mkdir()
        with CxiWriter(tmp_path / folder / name, **options | changes) as writer:
            for part in np.array_split(np.arange(len(h.train)), blocks):
                given = {} if n_peaks is None else {"n_peaks": np.asarray(n_peaks)[part]}
                if encoded is not None:
                    frames = {"data": h.data[part], "mask": h.mask[part]}
                    given["encoded"] = EncodedFrames(frames, h.present[part], encoded, threads=2)
                writer.append(
                    h.train[part], h.pulse[part], h.cell[part], h.data[part], h.mask[part],
                    [h.peaks[k] for k in part], present=h.present[part], **given,
                )  # fmt: skip
            files = writer.finish()
        return SimpleNamespace(files=files, folder=tmp_path / folder, notes=writer.notes, writer=writer, h=h)

    return make
