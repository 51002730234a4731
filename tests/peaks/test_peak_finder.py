"""Running the search in batches: room for peaks, streams, and arrays of all kinds."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import shotsieve
from foreign import Interface
from shotsieve.emulated import EmulatedDevice
from shotsieve.errors import BadInput
from shotsieve.measure.peak_finder import PeakFinder, Peaks
from shotsieve.measure.peaks import MIN_BIN_PIXELS, PeakParams, PeakPlan, pack_bits

SHAPE = (24, 70)
RADIUS = np.hypot(*np.mgrid[-12:12, -35:35]).astype("f4")


def frames_with_peaks(rng, shots=3, spots=12):
    """Noise with two-pixel spots, far enough from each other that none touch."""
    frames = rng.normal(0, 1, (shots, *SHAPE)).astype("f4")
    for frame in frames:
        for k in rng.permutation(20)[:spots]:
            ss, fs = 3 + 6 * (k // 5), 5 + 13 * (k % 5)
            frame[ss, fs : fs + 2] = rng.uniform(50, 90, 2)
    return frames


@pytest.fixture
def plan():
    return PeakPlan.make(PeakParams(threshold=20.0), RADIUS)


def same(a: Peaks, b: Peaks) -> bool:
    return all(
        getattr(a, name).tobytes() == getattr(b, name).tobytes()
        for name in ("records", "first", "panel_counts", "rejected")
    )


def upload(backend, array, stream):
    pinned = backend.device.empty_pinned(array.shape, array.dtype)
    pinned[...] = array
    target = backend.device.twin(pinned)
    backend.device.to_device(target, pinned, stream)
    return target, pinned  # the pinned memory has to live until the copy ran


def test_too_little_room_is_repeated_with_more(native_backend, plan, rng):
    frames = frames_with_peaks(rng).reshape(3, -1)
    stream = native_backend.device.stream()
    pixels, pinned = upload(native_backend, frames, stream)
    expected = shotsieve.peakfinder8(frames.reshape(3, *SHAPE), plan=plan, backend="cpu")
    most = int(expected.panel_counts.max())
    assert most > 3
    for slots in (1, most - 1, most, 64):
        finder = PeakFinder(native_backend, plan, 3, slots=slots)
        assert same(finder.find(pixels, None, stream), expected)
        if native_backend.name != "cpu":
            assert finder.slots == (slots if slots >= most else 2 * most)
    del pinned


def test_given_candidates_are_those_it_would_find(native_backend, plan, rng):
    frames = frames_with_peaks(rng).reshape(3, -1)
    stream = native_backend.device.stream()
    pixels, keep = upload(native_backend, frames, stream)
    bits, also_keep = upload(native_backend, np.stack([pack_bits(f >= 20) for f in frames]), stream)
    finder = PeakFinder(native_backend, plan, 3)
    assert same(finder.find(pixels, bits, stream), finder.find(pixels, None, stream))
    del keep, also_keep


def test_no_frames(native_backend, plan):
    found = shotsieve.peakfinder8(np.zeros((0, *SHAPE), "f4"), plan=plan, backend=native_backend)
    assert len(found) == 0
    assert found.panel_counts.shape == (0, 1)


def test_frames_on_the_device_stay_there(native_backend, plan, rng):
    if native_backend.name == "cpu":
        pytest.skip("the CPU has one memory")
    frames = frames_with_peaks(rng)
    device, stream = native_backend.device, native_backend.device.stream()
    on_device, pinned = upload(native_backend, frames, stream)
    # Queued on the stream that still has to make the frames: the order is the stream's.
    found = shotsieve.peakfinder8(on_device, plan=plan, backend=native_backend, stream=device.handle(stream))
    expected = shotsieve.peakfinder8(frames, plan=plan, backend="cpu")
    assert expected.n_peaks.min() > 0
    assert same(found, expected)
    one = shotsieve.peakfinder8(
        on_device.reshape(-1)[: SHAPE[0] * SHAPE[1]].reshape(*SHAPE),
        plan=plan,
        backend=native_backend,
        stream=stream,
    )
    assert np.array_equal(one[0], expected[0])
    foreign = Interface(on_device)
    assert same(shotsieve.peakfinder8(foreign, plan=plan, backend=native_backend, stream=stream), expected)
    with pytest.raises(BadInput, match="on a GPU"):
        shotsieve.peakfinder8(on_device, plan=plan, backend="cpu")
    wrong, kept = upload(native_backend, frames.astype("f8"), stream)
    with pytest.raises(BadInput, match="float32"):
        shotsieve.peakfinder8(wrong, plan=plan, backend=native_backend, stream=stream)
    device.wait(device.record(stream))
    del pinned, kept


def test_mask_radius_and_panels_that_lie_on_a_gpu(rng, monkeypatch):
    """CuPy copies them to the host; without it one is told to."""
    emu = pytest.importorskip("shotsieve._emu")
    host = {
        "mask": rng.random(SHAPE) > 0.1,
        "radius": RADIUS,
        "panels": np.int32([[0, 24, 0, 35], [0, 24, 35, 70]]),
    }
    there = {
        name: Interface(EmulatedDevice(emu).empty(array.shape, array.dtype)) for name, array in host.items()
    }
    copies = {id(there[name].array): host[name] for name in host}
    frames = frames_with_peaks(rng)
    monkeypatch.setitem(sys.modules, "cupy", None)
    for name, what in (("mask", "the mask"), ("radius", "the radius map"), ("panels", "panels")):
        with pytest.raises(BadInput, match=f"{what} is on a GPU: copy it to the host"):
            shotsieve.peakfinder8(frames, **(host | {name: there[name]}), threshold=20.0, backend="cpu")
    cupy = SimpleNamespace(asarray=lambda given: given.array, asnumpy=lambda array: copies[id(array)])
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    found = shotsieve.peakfinder8(frames, **there, threshold=20.0, backend="cpu")
    assert same(found, shotsieve.peakfinder8(frames, **host, threshold=20.0, backend="cpu"))


class Foreign:
    """An array of another library that speaks DLPack alone."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("kind", ["u1", "i2", "f2", "list", "dlpack", "strided", "big-endian"])
def test_what_becomes_float32_without_loss(kind, plan, rng):
    frames = np.rint(frames_with_peaks(rng) + 5).clip(0, 200).astype("f4")
    given = {
        "list": frames.tolist() if kind == "list" else None,
        "dlpack": Foreign(frames),
        "strided": np.asfortranarray(frames),
        "big-endian": frames.astype(">f4"),
    }.get(kind)
    if given is None:
        given = frames.astype(kind)
    if kind == "list":
        with pytest.raises(BadInput, match="float64"):
            shotsieve.peakfinder8(given, plan=plan, backend="cpu")
        return
    expected = shotsieve.peakfinder8(frames, plan=plan, backend="cpu")
    assert expected.n_peaks.sum() > 0
    assert same(shotsieve.peakfinder8(given, plan=plan, backend="cpu"), expected)


def call(**changes):
    arguments = {
        "frames": np.zeros(SHAPE, "f4"),
        "radius": RADIUS,
        "threshold": 5.0,
        "backend": "cpu",
    } | changes
    return shotsieve.peakfinder8(**arguments)


OVERLAP = [[0, 24, 0, 40], [0, 24, 39, 70]]
WRONG = {
    "frame of another shape": ({"frames": np.zeros((24, 71), "f4")}, r"\(24, 71\): expected \(24, 70\)"),
    "five axes": ({"frames": np.zeros((1, 1, 1, *SHAPE), "f4")}, "shape"),
    "too many modules": ({"frames": np.zeros((1, 2, *SHAPE), "f4")}, "shape"),
    "float64": ({"frames": np.zeros(SHAPE)}, "float64 do not fit into float32"),
    "complex": ({"frames": np.zeros(SHAPE, "c8")}, "complex64"),
    "mask of another shape": ({"mask": np.ones((24, 71), bool)}, r"mask has shape \(24, 71\)"),
    "mask of bits": ({"mask": np.full(SHAPE, 4, "u4")}, "bits & bad_bits"),
    "flat radius": ({"radius": RADIUS.ravel()}, "radius map has shape"),
    "negative radius": ({"radius": RADIUS - 1}, "radii run from"),
    "infinite radius": ({"radius": np.where(RADIUS < 1, np.inf, RADIUS)}, "radii run from"),
    "radius in metres": ({"radius": RADIUS * 1e-4}, "not in metres"),
    "masked array": ({"frames": np.ma.zeros(SHAPE, "f4")}, "filled"),
    "threshold with a unit": ({"threshold": "4 photon"}, "threshold = '4 photon'"),
    "endless pixels": ({"max_pix_count": np.inf}, "max_pix_count"),
    "too many pixels": ({"max_pix_count": 10**10}, "max_pix_count"),
    "parameters as plan": ({"plan": PeakParams(5.0)}, "expected a PeakPlan"),
    "plan and parameters": (
        {"plan": PeakPlan.make(PeakParams(5.0), RADIUS), "radius": None, "threshold": None, "min_snr": 500.0},
        "min_snr belong to the plan",
    ),
    "plan and a default": (
        {
            "plan": PeakPlan.make(PeakParams(5.0, 7.0), RADIUS),
            "radius": None,
            "threshold": None,
            "min_snr": 5.0,
        },
        "min_snr belong to the plan",
    ),
    "half a thread": ({"threads": 1.5}, "threads = 1.5"),
    "radius in micrometres": ({"radius": RADIUS * 1e4}, "in pixels"),
    "no radius": ({"radius": None}, "radius is missing"),
    "no threshold": ({"threshold": None}, "threshold is missing"),
    "panels overlap": ({"panels": OVERLAP}, "panel 1 .* overlaps panel 0"),
    "panel leaves": ({"panels": [[0, 25, 0, 70]]}, "leaves the slab of 24 x 70"),
    "empty panel": ({"panels": [[3, 3, 0, 70]]}, "is empty"),
    "panels of three": ({"panels": [[0, 24, 0]]}, "ss_start, ss_stop, fs_start, fs_stop"),
    "fractional panels": ({"panels": [[0.0, 24.0, 0.0, 70.0]]}, "whole numbers"),
    "pixels": ({"min_pix_count": 5, "max_pix_count": 4}, "min_pix_count = 5 is above max_pix_count = 4"),
    "range": ({"min_res": 30, "max_res": 20}, "min_res = 30 is not below max_res = 20"),
    "nan threshold": ({"threshold": np.nan}, "threshold"),
    "huge threshold": ({"threshold": 1e39}, "float32"),
    "negative snr": ({"min_snr": -1}, "min_snr"),
    "half a pixel": ({"min_pix_count": 1.5}, "min_pix_count = 1.5"),
    "no pixel": ({"min_pix_count": 0}, "min_pix_count = 0"),
    "no peaks": ({"max_num_peaks": 0}, "max_num_peaks"),
    "no ring": ({"local_bg_radius": 0}, "local_bg_radius"),
    "huge ring": ({"local_bg_radius": 101}, "local_bg_radius"),
    "statistics": ({"statistics": "fast"}, "'lazy' or 'full'"),
    "threads": ({"threads": 0}, "threads = 0"),
    "plan and mask": (
        {"plan": PeakPlan.make(PeakParams(5.0), RADIUS), "radius": None, "mask": np.ones(SHAPE, bool)},
        "belong to the plan",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input(what):
    changes, text = WRONG[what]
    with pytest.raises(BadInput, match=text):
        call(**changes)


def test_a_bin_with_few_pixels_is_said_once():
    plan = PeakPlan.make(PeakParams(5.0), RADIUS)
    size = np.diff(plan.arrays["bin_start"])
    few = np.flatnonzero((size > 0) & (size < MIN_BIN_PIXELS))
    assert len(few) > 0
    [note] = plan.notes
    assert f"{len(few)} of {np.count_nonzero(size)} radial bins" in note
    wide = PeakPlan.make(PeakParams(5.0, min_res=10, max_res=11.4), RADIUS)
    assert wide.notes == []
    with pytest.warns(UserWarning, match="no pixel is left"):
        assert call(mask=np.zeros(SHAPE, bool)).n_peaks.tolist() == [0]


def test_a_pixel_without_radius_is_not_used(plan, rng):
    """As pixels between the panels of a geometry, which have no radius."""
    frames = frames_with_peaks(rng, shots=1)
    holes = RADIUS.copy()
    holes[:, 30:] = np.nan
    mask = ~np.isnan(holes)
    with_nan = shotsieve.peakfinder8(frames, radius=holes, threshold=20.0, backend="cpu")
    with_mask = shotsieve.peakfinder8(frames, mask=mask, radius=RADIUS, threshold=20.0, backend="cpu")
    assert same(with_nan, with_mask)
    assert (with_nan[0]["fs"] < 30).all()


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_missing_wait_is_noticed(native_backend, plan, rng, monkeypatch, seed):
    """Without the finder's waits its lists are wrong, or there are none, on every seed of the emulator."""
    if native_backend.name != "emu":
        pytest.skip("only the emulator runs work as late as it may")
    frames = frames_with_peaks(rng)
    expected = shotsieve.peakfinder8(frames, plan=plan, backend="cpu")
    native_backend.native.set_seed(seed)
    wait, skipped = EmulatedDevice.wait, []

    def maybe_wait(self, event):
        if sys._getframe(1).f_code.co_name == "find":
            skipped.append(seed)
            self._native.event_destroy(event)
        else:
            wait(self, event)

    monkeypatch.setattr(EmulatedDevice, "wait", maybe_wait)
    try:
        found = shotsieve.peakfinder8(frames, plan=plan, backend=native_backend)
    except Exception:
        found = None
    assert skipped
    assert found is None or not same(found, expected)


def test_no_limit_of_stored_peaks_costs_no_memory(native_backend, rng):
    """As many as can lie side by side are room enough."""
    frames = frames_with_peaks(rng, shots=2)
    endless = PeakPlan.make(PeakParams(threshold=20.0, max_num_peaks=10**9), RADIUS)
    assert endless.stored_peaks == 12 * 35
    usual = PeakPlan.make(PeakParams(threshold=20.0), RADIUS)
    assert same(
        shotsieve.peakfinder8(frames, plan=endless, backend=native_backend),
        shotsieve.peakfinder8(frames, plan=usual, backend=native_backend),
    )
    with pytest.raises(ValueError, match="read-only"):
        endless.arrays["order"][0] = 10**9
