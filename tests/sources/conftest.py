"""Small EuXFEL files, written with h5py alone, with every odd thing a run can hold."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

DETECTOR = "SPB_DET_AGIPD1M-1"
JUNGFRAU = "SPB_IRDA_JF4M"


def words(train, pulse, module, shape, planes=2):
    """The raw words of one frame: different for every frame, plane and pixel."""
    n = planes * shape[0] * shape[1]
    seed = (int(train) * 1000003 + int(pulse) * 8191 + module * 131) % 60000
    return ((np.arange(n) * 7 + seed) % 65521).astype("u2").reshape(planes, *shape)


class RunMaker:
    """Writes the files of one run; `shape` is that of a module."""

    def __init__(self, folder, shape=(8, 4)):
        self.folder, self.shape = folder, shape
        folder.mkdir(parents=True, exist_ok=True)

    def head(self, f, trains, sources, version="1.2", flags=None, pad=0, run=1):
        n = len(trains)
        text = h5py.string_dtype()
        where = "METADATA/dataSourceId" if version == "0.5" else "METADATA/dataSources/dataSourceId"
        # The facility pads the list of sources with empty strings.
        f.create_dataset(where, data=[*sources, ""], dtype=text)
        f["INDEX/trainId"] = np.array([*trains, *[0] * pad], "u8")
        f.create_group("RUN")
        if version == "0.5":
            return
        f.create_dataset("METADATA/dataFormatVersion", data=[version], dtype=text)
        f.create_dataset("METADATA/creationDate", data=["20240501T100000Z"], dtype=text)
        f.create_dataset("METADATA/sample", data=["virus"], dtype=text)
        f["METADATA/proposalNumber"], f["METADATA/runNumber"] = np.array([2012], "u4"), np.array([run], "u4")
        f["INDEX/timestamp"] = np.array([int(t) * 100 for t in trains] + [0] * pad, "u8")
        f["INDEX/flag"] = np.array(([1] * n if flags is None else list(flags)) + [0] * pad, "i4")

    def module(
        self,
        module,
        trains,
        *,
        sequence=0,
        version="1.2",
        flags=None,
        pad=0,
        flat_ids=False,
        layout="frame",
        cells=None,
        last_status=False,
        source=None,
        name=None,
        run=1,
        dtype="u2",
    ):
        """Write an AGIPD module file; `trains` is a list of (trainId, pulseIds). Returns its path."""
        source = source or f"{DETECTOR}/DET/{module}CH0:xtdf"
        path = self.folder / (name or f"RAW-R{run:04d}-AGIPD{module:02d}-S{sequence:05d}.h5")
        ids = [t for t, _ in trains]
        count = np.array([len(p) for _, p in trains], "u8")
        first = np.cumsum(count) - count
        rows = [(t, p) for t, pulses in trains for p in pulses]
        data = np.array([words(t, p, module, self.shape) for t, p in rows], dtype)
        data = data.reshape(len(rows), 2, *self.shape)
        with h5py.File(path, "w", userblock_size=512 if layout == "userblock" else 0) as f:
            self.head(f, ids, [f"INSTRUMENT/{source}/image"], version, flags, pad, run)
            zeros = np.zeros(pad, "u8")
            f[f"INDEX/{source}/image/first"] = np.append(first, zeros)
            if last_status:
                f[f"INDEX/{source}/image/last"] = np.append(np.maximum(first + count, 1) - 1, zeros)
                f[f"INDEX/{source}/image/status"] = np.append((count > 0).astype("u8"), zeros)
            else:
                f[f"INDEX/{source}/image/count"] = np.append(count, zeros)
            g = f.create_group(f"INSTRUMENT/{source}/image")
            put_frames(g, "data", data, layout)
            column = (lambda a: a) if flat_ids else (lambda a: a[:, None])
            g["trainId"] = column(np.array([t for t, _ in rows], "u8"))
            g["pulseId"] = column(np.array([p for _, p in rows], "u8"))
            own = [i for _, p in trains for i in range(len(p))] if cells is None else cells
            g["cellId"] = column(np.array(own, "u2"))
        return path

    def corrected(
        self,
        module,
        trains,
        planes,
        *,
        sequence=0,
        source=None,
        name=None,
        units=None,
        packed=True,
        cells=None,
    ):
        """Write corrected frames as the facility does: `planes` by name, each with a row per frame."""
        source = source or f"{DETECTOR}/CORR/{module}CH0:output"
        path = self.folder / (name or f"CORR-R0001-AGIPD{module:02d}-S{sequence:05d}.h5")
        count = np.array([len(p) for _, p in trains], "u8")
        rows = [(t, p) for t, pulses in trains for p in pulses]
        with h5py.File(path, "w") as f:
            self.head(f, [t for t, _ in trains], [f"INSTRUMENT/{source}/image"])
            f[f"INDEX/{source}/image/first"], f[f"INDEX/{source}/image/count"] = (
                np.cumsum(count) - count,
                count,
            )
            g = f.create_group(f"INSTRUMENT/{source}/image")
            for plane, values in planes.items():
                how = {"compression": "gzip", "shuffle": True} if packed and plane != "data" else {}
                g.create_dataset(plane, data=values, chunks=(1, *values.shape[1:]), **how)
            if units is not None:
                g["data"].attrs["units"] = units
            g["trainId"] = np.array([t for t, _ in rows], "u8")
            g["pulseId"] = np.array([p for _, p in rows], "u8")
            own = [i for _, p in trains for i in range(len(p))] if cells is None else cells
            g["cellId"] = np.array(own, "u2")
        return path

    def jungfrau(self, module, trains, cells, *, layout="frame", gain_layout="frame", sequence=0):
        """Write a JUNGFRAU file: one row per train, `cells` on axis 1."""
        source = f"{JUNGFRAU}/DET/JNGFR{module:02d}:daqOutput"
        path = self.folder / f"RAW-R0001-JNGFR{module:02d}-S{sequence:05d}.h5"
        count = np.array([n for _, n in trains], "u8")
        rows = [t for t, n in trains for _ in range(n)]
        full = [[words(t, i, module, self.shape) for i in range(len(cells))] for t in rows]
        data = np.array(full, "u2").reshape(len(rows), len(cells), 2, *self.shape)
        with h5py.File(path, "w") as f:
            self.head(f, [t for t, _ in trains], [f"INSTRUMENT/{source}/data"])
            f[f"INDEX/{source}/data/first"], f[f"INDEX/{source}/data/count"] = np.cumsum(count) - count, count
            g = f.create_group(f"INSTRUMENT/{source}/data")
            put_frames(g, "adc", data[:, :, 0], layout)
            put_frames(g, "gain", (data[:, :, 1] % 4).astype("u1"), gain_layout)
            g["memoryCell"] = np.tile(np.array(cells, "u1"), (len(rows), 1))
        return path

    def aggregator(
        self, trains, control=None, instrument=None, *, name="RAW-R0001-DA01-S00000.h5", flags=None
    ):
        """Write control {source: {key: (per train, at start)}}, instrument {source: {key: {train: row}}}."""
        control, instrument = control or {}, instrument or {}
        n, one = len(trains), np.ones(len(trains), "u8")
        listed = [f"CONTROL/{s}" for s in control] + [f"INSTRUMENT/{s}/data" for s in instrument]
        with h5py.File(self.folder / name, "w") as f:
            self.head(f, trains, listed, flags=flags)
            for source, keys in control.items():
                f[f"INDEX/{source}/first"], f[f"INDEX/{source}/count"] = np.arange(n, dtype="u8"), one
                f.create_group(f"RUN/{source}")
                for key, (each, start) in keys.items():
                    if each is not None:
                        f[f"CONTROL/{source}/{key.replace('.', '/')}/value"] = each
                    if start is not None:
                        f[f"RUN/{source}/{key.replace('.', '/')}/value"] = start
            for source, keys in instrument.items():
                count = np.array([next(iter(keys.values())).get(t) is not None for t in trains], "u8")
                f[f"INDEX/{source}/data/first"] = np.cumsum(count) - count
                f[f"INDEX/{source}/data/count"] = count
                for key, rows in keys.items():
                    f[f"INSTRUMENT/{source}/data/{key}"] = np.array([rows[t] for t in trains if t in rows])
        return self.folder / name


def put_frames(g, name, data, layout):
    """Store frames in one of the ways that HDF5 knows."""
    frame = data.shape[-3:] if name == "data" else data.shape[-2:]
    lead = data.shape[: data.ndim - len(frame)]
    one = (1,) * len(lead)
    room = (None, *data.shape[1:])
    if layout == "contiguous" or layout == "userblock" or (layout in ("frame", "gzip") and data.size == 0):
        g.create_dataset(name, data=data)
    elif layout == "frame":
        g.create_dataset(name, data=data, chunks=one + frame)
    elif layout == "several":
        # More room than rows, as the DAQ does: the last chunk is not full, and chunks behind it do not exist.
        d = g.create_dataset(name, shape=(len(data) + 9, *data.shape[1:]), maxshape=room, dtype=data.dtype,
                             chunks=(3, *([2] * (len(lead) - 1)), *frame))  # fmt: skip
        d[: len(data)] = data
    elif layout == "gzip":
        g.create_dataset(name, data=data, chunks=one + frame, compression="gzip", shuffle=True)
    elif layout == "checked":
        g.create_dataset(name, data=data, chunks=one + frame, fletcher32=True)
    elif layout == "bigendian":
        g.create_dataset(name, data=data.astype(data.dtype.newbyteorder(">")))
    elif layout == "split":
        g.create_dataset(name, data=data, chunks=(*one, *frame[:-1], frame[-1] // 2))
    elif layout == "external":
        raw = str(g.file.filename) + "." + name
        d = g.create_dataset(name, shape=data.shape, dtype=data.dtype, external=raw)
        d[...] = data
    elif layout == "virtual":
        source = str(g.file.filename) + ".part"
        with h5py.File(source, "w") as f:
            f["real"] = data
        view = h5py.VirtualLayout(data.shape, data.dtype)
        view[...] = h5py.VirtualSource(source, "real", data.shape)
        g.create_virtual_dataset(name, view)
    else:
        raise AssertionError(layout)


@pytest.fixture
def maker(tmp_path):
    return RunMaker(tmp_path / "r0001")


@pytest.fixture
def new_maker(tmp_path):
    """Makers of further runs, of any module shape."""
    return lambda name, shape=(8, 4): RunMaker(tmp_path / name, shape)


@pytest.fixture(scope="session")
def truth():
    return words


@pytest.fixture
def small(maker):
    """Detectors with small modules: the shape is a field like any other."""
    from shotsieve import detectors

    def load(name="AGIPD1M", shape=None, **changes):
        return dataclasses.replace(detectors.load(name), shape=shape or maker.shape, **changes)

    return load


@pytest.fixture
def opened(maker, small):
    """Open the run of `maker` with small modules, and check that the accounts of the source add up."""
    from shotsieve.sources import open_run

    def go(run=None, name="AGIPD1M", **options):
        source = open_run(maker.folder if run is None else run, small(name), **options)
        assert int(source.trains.expected.sum()) == len(source.shots) + source.missing_shots
        order = np.lexsort((source.shots.pulse_id, source.shots.train_id))
        assert (source.shots.train_id[order] == source.shots.train_id).all()
        assert (source.shots.pulse_id[order] == source.shots.pulse_id).all()
        return source

    return go


@pytest.fixture
def read_all():
    """Everything readable of a source, in cuts; absent frames stay 7."""

    def read(source, max_bytes=1 << 30):
        d = source.detector
        out = np.full(
            (len(source.readable), len(source.modules), d.plane_count, *d.frame_shape), 7, np.uint16
        )
        for start, stop in source.cuts(max_bytes):
            source.read(start, stop, out[start:stop])
        return out

    return read
