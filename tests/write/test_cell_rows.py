"""Rows of trains with cells that are never written, by the writer alone."""

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.write.encoded import EncodedFrames
from shotsieve.write.exdf import ReducedRunWriter

OPTIONS = {"per_train": (3, 3, 3), "name": "JUNGFRAU", "shape": (6, 8)}
KEPT = np.array([0, 2, 7])
SOURCE = "SPB_IRDA_JF4M/CORR/JNGFR01:daqOutput"


@pytest.fixture
def write(make_source, frames_of, make_table, tmp_path):
    def run(name, parts, encode=False, compression="none"):
        folder = tmp_path / name
        folder.mkdir()
        source = make_source(**OPTIONS)
        table = make_table(source, dropped=np.setdiff1d(np.arange(9), KEPT))
        with ReducedRunWriter(
            folder, source, "corrected", "keV", {}, compression=compression, drop_cells=True
        ) as writer:
            for shots in parts:
                at = np.searchsorted(KEPT, shots)
                frames = {key: values[at] for key, values in frames_of(source, KEPT).items()}
                present = source.shots.present[shots]
                encoded = EncodedFrames(frames, present, writer.compressed) if encode else None
                writer.append(shots, present, frames, encoded)
            files = writer.finish(table)
        return source, frames_of(source, KEPT), files

    return run


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_train_may_come_in_parts_and_encoded(write, compression):
    """Whatever the calls, the rows are the trains and the bytes are the same."""
    _, frames, files = write("whole", [KEPT], compression=compression)
    for name, parts, encode in (("parts", [KEPT[:1], KEPT[1:2], KEPT[2:]], False), ("encoded", [KEPT], True)):
        _, _, others = write(name, parts, encode, compression)
        assert [a.read_bytes() == b.read_bytes() for a, b in zip(files, others, strict=True)] == [True, True]
    with h5py.File(files[0]) as f:
        group = f[f"INSTRUMENT/{SOURCE}/data"]
        assert group["trainId"][:].tolist() == [10_001, 10_003]
        assert group["memoryCell"][:].tolist() == [[1, 3, 5]] * 2
        assert f[f"INDEX/{SOURCE}/data/count"][:].tolist() == [1, 0, 1]
        for plane, name in (("adc", "data"), ("gain", "gain"), ("mask", "mask")):
            stored = np.stack([group[plane][place] for place in ((0, 0), (0, 2), (1, 1))])
            np.testing.assert_array_equal(stored, frames[name][:, 0])
            assert group[plane].id.get_num_chunks() == 3
        assert np.isnan(group["adc"][0, 1]).all()
        assert (group["mask"][1, 0] == 0xFFFFFFFF).all()
        told = f[f"REDUCTION/SHOTSIEVE/{SOURCE}/data"]
        assert told["framesKept"][:].tolist() == [2, 0, 1]
        assert told["framesDropped"][:].tolist() == [1, 3, 2]


def test_a_place_without_a_shot_says_so(make_source, frames_of, tmp_path):
    source = make_source(**{**OPTIONS, "per_train": (3, 2)})
    with ReducedRunWriter(tmp_path, source, "corrected", "keV", {}, drop_cells=True) as writer:
        shots = np.array([1, 4])
        writer.append(shots, source.shots.present[shots], frames_of(source, shots))
        files = writer.finish()
    with h5py.File(files[0]) as f:
        assert f[f"INSTRUMENT/{SOURCE}/data/memoryCell"][:].tolist() == [[1, 3, 5], [1, 3, 255]]


def test_where_it_does_not_fit(make_source, tmp_path):
    with pytest.raises(BadInput, match="stores single frames"):
        ReducedRunWriter(tmp_path, make_source(shape=(6, 8)), "corrected", "keV", {}, drop_cells=True)
    for option in ("drop_cells", "legacy_names"):
        with pytest.raises(BadInput, match="for calibrated content"):
            ReducedRunWriter(tmp_path, make_source(**OPTIONS), "raw", "ADU", {}, **{option: True})
