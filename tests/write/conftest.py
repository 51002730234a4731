"""A run in memory, a table of its shots, and a reduced run made of them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.sources.base import RunMeta, TrainList
from shotsieve.sources.memory import MemorySource
from shotsieve.table import Table
from shotsieve.write.exdf import ReducedRunWriter

META = RunMeta(1234, 35, "20260102T030405Z", "20260102T040506Z", "water", "test", "1.9.0", "2.7.0")
TRAINS = np.array([10_001, 10_002, 10_003], "u8")


@pytest.fixture
def meta():
    return META


@pytest.fixture
def make_source():
    """Return a maker of sources: shots per train, modules, and where a module has no data."""

    def make(
        per_train=(4, 4, 4),
        name="AGIPD1M",
        shape=None,
        modules=None,
        absent=(),
        status=None,
        cells=None,
        skip=0,
    ):
        listed = TRAINS[skip : skip + len(per_train)]
        detector = detectors.load(name)
        if shape is not None:
            detector = dataclasses.replace(detector, shape=shape)
        rng = np.random.default_rng(7)
        train = np.repeat(listed, per_train)
        index = np.concatenate([np.arange(n) for n in per_train])
        pulse = index * 4 if detector.pulse_key else index
        count = detector.module_count or 2
        modules = modules or tuple(range(detector.first_module, detector.first_module + count))
        present = np.ones((len(train), len(modules)), bool)
        for train_index, module_index in absent:
            rows = slice(None) if train_index is None else train == listed[train_index]
            present[rows, module_index] = False
        shape = (len(train), len(modules), detector.plane_count, *detector.shape)
        return MemorySource(
            detector,
            rng.integers(0, 4, shape, dtype="u2"),
            train,
            pulse,
            np.asarray(cells)[index] if cells is not None else index * 2 + 1,
            modules=modules,
            present=present,
            status=status,
            trains=TrainList(listed, listed * 10**8, np.full(len(per_train), 4)),
            meta=META,
            name="SPB_DET_AGIPD1M-1" if detector.pulse_key else "SPB_IRDA_JF4M",
        )

    return make


@pytest.fixture
def make_table():
    """Return a maker of tables with lit pixels known wherever a module has data."""

    def make(source, dropped=(), **status):
        shots = source.shots
        table = Table(shots.train_id, shots.pulse_id, shots.cell_id, source.modules, 512 * 128)
        rng = np.random.default_rng(11)
        size = shots.present.shape
        table.set_module_status(slice(None), np.where(shots.present, 0, 1))
        table.set_measure("unmasked_pixels", slice(None), rng.integers(60_000, 65_536, size))
        table.set_measure("lit_pixels", slice(None), rng.integers(0, 5_000, size))
        table.set_measure("intensity", slice(None), rng.normal(0, 900, size))
        table.set_fate(list(dropped), "dropped")
        return table

    return make


@pytest.fixture
def frames_of():
    """Return a maker of corrected frames (data, gain, mask) for some shots of a source."""

    def make(source, shots):
        size = (len(shots), len(source.modules), *source.detector.shape)
        rng = np.random.default_rng((13, *source.shots.train_id[:1].tolist()))
        data = rng.normal(5, 3, size).astype("f4")
        gain = rng.integers(0, 3, size, dtype="u1")
        mask = np.where(rng.random(size) < 0.01, rng.integers(1, 2**32, size), 0).astype("u4")
        return {"data": data, "gain": gain, "mask": mask}

    return make


@pytest.fixture
def reduce_run(tmp_path, make_source, make_table, frames_of):
    """Return a maker of reduced runs; the answer holds everything that went in."""

    def make(keep=(0, 2, 3, 8, 10), content="corrected", blocks=1, table=True, folder="red", **options):
        writing = {key: options.pop(key) for key in ("compression", "unit", "params") if key in options}
        source = make_source(**options)
        kept = np.array(keep, "i8")
        whole = {"raw": source._frames[kept]} if content == "raw" else frames_of(source, kept)
        present = source.shots.present[kept]
        rows = make_table(source, np.setdiff1d(np.arange(len(source.shots)), kept)) if table else None
        target = tmp_path / folder
        target.mkdir(parents=True)
        writing = {"unit": "keV", "params": {"recipe": "[keep]\n", "threshold": 0.7}, **writing}
        with ReducedRunWriter(target, source, content, **writing) as writer:
            for part in np.array_split(np.arange(len(kept)), blocks):
                writer.append(kept[part], present[part], {k: v[part] for k, v in whole.items()})
            files = writer.finish(rows)
        return SimpleNamespace(
            source=source, kept=kept, frames=whole, present=present, table=rows, folder=target, files=files
        )

    return make


@pytest.fixture
def two_sequences(reduce_run, make_source):
    """Return a maker of reduced runs whose modules have two files each; the second has the last train."""

    def make(absent=(), **options):
        early = [(train, module) for train, module in absent if train != 2]
        late = [(train and 0, module) for train, module in absent if train in (None, 2)]
        first = reduce_run(keep=(0, 2, 3), per_train=(4, 4), absent=early, folder="red", **options)
        second = reduce_run(keep=(0, 2), per_train=(4,), skip=2, absent=late, folder="rest", **options)
        files = list(first.files)
        for path in second.files:
            files.append(first.folder / path.name.replace("S00000", "S00001"))
            path.rename(files[-1])
        both = {name: np.concatenate([first.frames[name], second.frames[name]]) for name in first.frames}
        kept = np.array([0, 2, 3, 8, 10])
        shape = {key: options[key] for key in ("modules", "shape", "name") if key in options}
        source = make_source(absent=absent, **shape)
        present = np.concatenate([first.present, second.present])
        np.testing.assert_array_equal(present, source.shots.present[kept])
        return SimpleNamespace(
            source=source, kept=kept, frames=both, present=present, folder=first.folder, files=files
        )

    return make
