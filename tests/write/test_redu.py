"""Lit pixels for the facility's tools, of detectors that store whole trains, and of long runs."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.sources.annotate import AnnotateParams
from shotsieve.sources.exdf import RunFile
from shotsieve.sources.own_columns import OwnColumns
from shotsieve.write.output import OutputFolder
from shotsieve.write.redu import HitFinding, compare_redu, write_redu


@pytest.mark.parametrize("name", ["AGIPD1M", "JUNGFRAU"])
def test_shots_of_every_detector_come_back(make_source, make_table, tmp_path, name):
    source = make_source(name=name, absent=[(1, 1)], per_train=(3, 2, 4))
    table = make_table(source, dropped=[1, 4, 5])
    table.set_verdict(slice(None), [1, 0, 1, -1, 0, 0, 1, 1, 0])
    hits = HitFinding(source.modules[:2], threshold=3.0)
    path = write_redu(
        tmp_path, source, table, lit_threshold=0.7, unit="keV", hits=hits, settings={"recipe": "x"}
    )
    assert path.name == "CORR-R0035-REDU00-S00000.h5"
    assert compare_redu(path, table) == []
    with h5py.File(path) as file:
        assert file.attrs["recipe"] == "x"
        group = file[f"INSTRUMENT/{source.name}/REDU/LITPX_COUNTER:output/data"]
        assert group["litPixels"].shape == (9, len(source.modules))
        modules = file[f"RUN/{source.name}/REDU/SPI_HITFINDER/modules/value"][0]
        assert modules[:2].tolist() == list(source.modules[:2])
    texts = {
        "hit": f"{source.name}/REDU/SPI_HITFINDER:output:data.hitFlag",
        "lit": f"{source.name}/REDU/LITPX_COUNTER:output:data.litPixels[1]",
    }
    notes: list[str] = []
    own = OwnColumns([RunFile.load(path)], AnnotateParams(columns=texts), source.shots, notes)
    np.testing.assert_array_equal(own.read("hit", texts["hit"]), table.verdict == 1)
    known = np.where(table.ok()[:, 1], table.measures["lit_pixels"][:, 1], 0)
    np.testing.assert_array_equal(own.read("lit", texts["lit"]), known)
    assert notes == [f"{n} is matched by train and pulse; unknown for 0 of 9 shots" for n in ("hit", "lit")]
    table.set_verdict([2], 0)
    assert len(compare_redu(path, table)) == 2  # no hit any more, but a miss
    with pytest.raises(BadInput, match="asks for module 99"):
        write_redu(tmp_path, source, table, lit_threshold=0.7, unit="keV", hits=HitFinding((99,)))


def test_an_output_with_it_may_be_replaced(tmp_path):
    """Nothing in an earlier output of shotsieve is taken for somebody else's."""
    out = tmp_path / "red"
    (out / "shotsieve").mkdir(parents=True)
    (out / "shotsieve" / "accounts.json").write_text("{}")
    (out / "CORR-R0035-REDU00-S00000.h5").write_text("")
    with OutputFolder(out, overwrite=True):
        pass
    assert not (out / "CORR-R0035-REDU00-S00000.h5").exists()
