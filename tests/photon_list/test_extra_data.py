"""Photon lists as EXtra-data reads them: a reader that somebody else wrote."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve

extra_data = pytest.importorskip("extra_data")
SOURCE = "SPB_DET_AGIPD1M-1/CORR/{}CH0:output"


@pytest.mark.parametrize("write", [{}, {"trains_per_file": 1, "whole": 0.3}])
def test_lists_are_groups_with_an_index(reduced, write):
    """Rows of shots and of their photons are counted for every train, and are the dense frames again."""
    out = reduced("photon_list", **write).out
    run = extra_data.RunDirectory(out)
    with shotsieve.PhotonLists(out) as photons:
        dense, _ = photons.frames()
        keys = np.stack([photons.train_id, photons.pulse_id], axis=1).tolist()
        for m, module in enumerate(photons.modules):
            source, seen = run[SOURCE.format(module)], 0
            assert {"photons.first", "photonList.pixel", "photonMask.mask"} <= source.keys()
            shots = source["photons.number"].data_counts(labelled=False)
            events = source["photonList.count"].data_counts(labelled=False)
            assert shots.sum() == photons.present[:, m].sum()
            assert events.sum() == (dense[photons.present[:, m], m] > 0).sum()
            for train in source.train_ids:
                at = run.select_trains(extra_data.by_id[[train]])[SOURCE.format(module)]
                number, pulse = at["photons.number"].ndarray(), at["photons.pulseId"].ndarray()
                pixel, count = at["photonList.pixel"].ndarray(), at["photonList.count"].ndarray()
                assert number.sum() == len(pixel) == len(count)
                assert (at["photons.trainId"].ndarray() == train).all()
                for first, stop, one in zip(
                    np.cumsum(number) - number, np.cumsum(number), pulse, strict=True
                ):
                    frame = np.zeros(dense[0, m].size, dense.dtype)
                    frame[pixel[first:stop]] = count[first:stop]
                    np.testing.assert_array_equal(
                        frame, dense[keys.index([int(train), int(one)]), m].ravel(), strict=True
                    )
                    seen += 1
            assert seen == photons.present[:, m].sum()


def test_its_validation_finds_nothing(reduced):
    from extra_data.validation import RunValidator

    validator = RunValidator(str(reduced("photon_list", whole=0.3).out))
    validator.run_checks()
    assert validator.problems == []
