"""Pages about reduced runs of the receivers' detectors, whose files have other names for the values."""

from __future__ import annotations

import numpy as np
import shotsieve
from shotsieve.report.reduced import FATES, Reduced
from shotsieve.view.shots import KeptShots

from .receiver_runs import recipe_of


def test_report_and_viewer_show_what_was_kept(run, tmp_path):
    recipe = recipe_of(run)
    result = shotsieve.reduce(run.raw, recipe, tmp_path / "red", backend="cpu")
    kept = np.flatnonzero(result.table.fate == FATES.index("kept"))
    assert len(kept)
    if run.parameters.detector == "GOTTHARD2":  # drawing takes longer than all else here
        page = shotsieve.write_report(result.out).read_text("utf-8")
        assert f"mean of the shots kept ({len(kept)} of {len(kept)})" in page
    shown, reduced = KeptShots(result.out), Reduced.open(result.out)
    frames, threshold = reduced.frames, reduced.settings["lit_threshold"]
    trains = [shown.values(n)["values"]["train"] for n in range(len(shown))]
    assert trains == result.table.train_id[kept].tolist()
    for number in range(len(shown)):
        picture = np.frombuffer(shown.picture(number), "<f4")
        frame = frames.read(number)
        lit = result.table.measures["lit_pixels"][kept[number]]
        assert [(np.nan_to_num(one) > threshold).sum() for one in frame] == lit.tolist()
        assert lit.all()
        rows = len(picture) // frame.size  # strips are drawn as bands of many equal rows
        assert (rows > 1) == (frame.shape[1] == 1)
        np.testing.assert_array_equal(np.sort(picture), np.sort(np.repeat(frame.ravel(), rows)))
