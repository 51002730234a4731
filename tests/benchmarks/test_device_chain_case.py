"""The benchmark of the engine on a GPU: its trains hold what they say, and overlap is told from events."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from device_chain_case import Events, overlap, train_case
from shotsieve import backend as backends
from shotsieve.bench import stages
from shotsieve.bench.stages import EngineStage


@pytest.mark.parametrize("backend", ["cpu", "emu"])
def test_trains_pass_through(tmp_path, backend):
    case = train_case(tmp_path, 1, 5, 2, 2)
    assert case.raw.shape[:3] == (2, 5, 1)
    assert case.hits[:, 0].all()
    stage = EngineStage(case, backends.get(backend), stages.SECTIONS["lit"])
    stage.run()
    stage.check()
    assert [result.table.cell_id.tolist() for result in stage.results] == [[0, 1, 0, 1, 0]] * 2
    if backend == "emu":
        ticks = itertools.count()

        class Event:
            def record(self, stream):
                self.at = next(ticks)

        cuda = SimpleNamespace(
            Event=Event,
            Stream=SimpleNamespace(null=None),
            Device=lambda: SimpleNamespace(synchronize=lambda: None),
            get_elapsed_time=lambda start, stop: stop.at - start.at,
        )
        device = stage.engine.backend.device
        events = Events(SimpleNamespace(cuda=cuda), device, case.raw[0].nbytes // 2)
        with events.watch():
            stage.run()
        assert "record" not in vars(device)
        kinds = [kind for kind, *_ in events.spans]
        assert kinds.count("copy") == kinds.count("work") == 2
        assert all(start < stop for _, start, stop in events.spans)
    stage.engine.close()


def test_what_overlap_says():
    in_turn = [("copy", 0.0, 1.0), ("work", 1.0, 2.0), ("copy", 2.0, 3.0), ("work", 3.0, 4.0)]
    assert overlap(in_turn) == {"seconds": 4.0, "copy_share": 0.5, "work_beside_copies": 0.0}
    beside = [("copy", 0.0, 2.0), ("work", 2.0, 3.0), ("copy", 2.0, 4.0), ("work", 4.0, 5.0)]
    assert overlap(beside) == {"seconds": 5.0, "copy_share": 0.8, "work_beside_copies": 0.5}
    assert np.isclose(overlap([("copy", 0.0, 1.0)])["copy_share"], 1)
