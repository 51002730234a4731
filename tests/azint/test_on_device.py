"""Frames, masks and maps of the integrator that lie on a GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import shotsieve
from foreign import Interface
from shotsieve.errors import BadInput


def test_frames_on_the_device_stay_there(pixels, mask, frames, rng, make_on_device):
    """Variance and masks of frames lie beside them or in host memory, masks in any of their dtypes."""
    variance, bad = rng.random(frames.shape).astype("f4"), rng.random(frames.shape) < 0.1
    for backend, upload in make_on_device:
        ai = shotsieve.AzimuthalIntegrator(pixels, mask, 20, error_model="variance", backend=backend)
        host = ai(frames, variance=variance, mask=bad)
        there, more = upload(frames), upload(variance)
        flat = bad.astype("u4").reshape(-1, 4, 20, 40)
        masks = [bad, bad.astype("u1"), flat, upload(bad), upload(flat), Interface(upload(bad))]
        for given in ({"variance": v, "mask": m} for v in (variance, more, Interface(more)) for m in masks):
            for form in (there, Interface(there)):
                found = ai(form, **given)
                for name in ("intensity", "sigma", "count"):
                    np.testing.assert_array_equal(getattr(found, name), getattr(host, name))
        for given, text in (
            ({"frames": upload(frames.astype("f8")), "variance": more}, "expected float32"),
            ({"frames": there, "variance": upload(variance.astype("f8"))}, "variance: .* expected float32"),
            ({"frames": there, "variance": more[:2]}, "variance of 2 frames, and 19 frames"),
            (
                {"frames": there, "variance": more, "mask": upload(bad.astype("i8"))},
                "int64 .*: expected bool",
            ),
            ({"frames": there, "variance": more, "mask": upload(bad[:1])}, r"bool \(1, 80, 40\): expected"),
            (
                {"frames": frames, "variance": more},
                "the variance is on a GPU and the frames are in host memory",
            ),
            ({"frames": frames, "variance": variance, "mask": upload(bad)}, "the mask is on a GPU"),
        ):
            with pytest.raises(BadInput, match=text):
                ai(**given)
    with pytest.raises(BadInput, match="on a GPU, and the backend is cpu"):
        shotsieve.AzimuthalIntegrator(pixels, mask, 20, backend="cpu")(there)


def test_masks_of_regions_beside_frames_on_the_device(frames, rng, make_on_device):
    bad = rng.random(frames.shape) < 0.1
    labels = rng.integers(0, 4, frames.shape[1:])
    for backend, upload in make_on_device:
        summer = shotsieve.RegionSums(labels, frames.shape[1:], backend=backend)
        host = summer(frames, mask=bad)
        for given in (bad, upload(bad), upload(bad.astype("u4"))):
            np.testing.assert_array_equal(summer(upload(frames), mask=given).sum, host.sum)


def test_a_mask_and_maps_that_lie_on_a_gpu(pixels, mask, frames, make_on_device, monkeypatch):
    """They are copied to the host by CuPy, where there is one."""
    _, upload = make_on_device[0]
    there = Interface(upload(mask))
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BadInput, match="the mask is on a GPU: copy it to the host, or install CuPy"):
        shotsieve.AzimuthalIntegrator(pixels, there, 9, backend="cpu")
    cupy = SimpleNamespace(asarray=lambda array: array.array, asnumpy=lambda array: known[id(array)])
    flat = np.full(mask.shape, 2.0)
    known = {id(there.array): mask}
    beside = Interface(upload(flat))
    known[id(beside.array)] = flat
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    found = shotsieve.AzimuthalIntegrator(pixels, there, 9, flat=beside, backend="cpu")(frames)
    expected = shotsieve.AzimuthalIntegrator(pixels, mask, 9, flat=flat, backend="cpu")(frames)
    np.testing.assert_array_equal(found.intensity, expected.intensity)


@pytest.mark.parametrize("model", [None, "poisson", "variance"])
def test_profiles_that_stay_on_a_cuda_device(pixels, mask, frames, rng, make_on_device, model):
    variance = rng.random(frames.shape).astype("f4") if model == "variance" else None
    monitor = rng.uniform(1, 2, len(frames))
    for backend, upload in make_on_device:
        ai = shotsieve.AzimuthalIntegrator(pixels, mask, 9, error_model=model, backend=backend)
        given = {"variance": None if variance is None else upload(variance), "monitor": monitor}
        if backend.name != "cuda":
            with pytest.raises(BadInput, match="on_device leaves profiles on a GPU"):
                ai(upload(frames), on_device=True, **given)
            continue
        here, there = ai(upload(frames), **given), ai(upload(frames), on_device=True, **given)
        for name in ("intensity", "sigma", "std", "sum_signal", "sum_normalization", "count", "sum_variance"):
            expected, found = getattr(here, name), getattr(there, name)
            assert (expected is None) == (found is None)
            if found is not None:
                assert not isinstance(found, np.ndarray)
                np.testing.assert_array_equal(found.get(), expected)
        with pytest.raises(BadInput, match="frames that are there already"):
            ai(frames, on_device=True, variance=variance)
    ai = shotsieve.AzimuthalIntegrator(pixels, mask, 9, backend="cpu")
    with pytest.raises(BadInput, match='this is "cpu"'):
        ai(frames, on_device=True)
