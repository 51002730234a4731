"""A survey on a disk that refuses frames: with `tolerant` these are passed over."""

import numpy as np
import pytest
from shotsieve.errors import UnreadableData
from shotsieve.sources import run as runs

from .conftest import MODULE, look


def test_frames_that_are_refused_are_not_among_those_that_were_seen(
    simulated, recipe, tmp_path, disk, monkeypatch, capsys
):
    monkeypatch.setattr(runs, "rows_together", lambda _, cell_id: np.arange(len(cell_id)) // 4)
    (path,) = simulated.raw.glob(f"*AGIPD{MODULE:02d}*")
    disk.refuse(path, f"INSTRUMENT/SPB_DET_AGIPD1M-1/DET/{MODULE}CH0:xtdf/image/data", 15)
    given = {"shots": None, "block_bytes": 1}
    with pytest.raises(UnreadableData, match="Input/output error"):
        look(simulated.raw, recipe, tmp_path / "a.html", simulated.constants, **given)
    found = look(simulated.raw, recipe, tmp_path / "a.html", simulated.constants, tolerant=True, **given)
    assert capsys.readouterr().err.count("everything is begun anew") == 1
    assert any("1 frame cannot be read (15)" in note for note in found.notes)
