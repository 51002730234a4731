"""Linearisation of words: the same words as the reference, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import download, upload
from shotsieve.calibrate import list_frames
from shotsieve.linearise import apart, queue_linearisation
from shotsieve.reference.linearise import linearise


def run(backend, raw, frames, groups, linear, poison=0xEEEE, entries=0):
    stream = backend.device.stream()
    inputs = [upload(backend, array, stream) for array in (raw, frames, groups, linear)]
    words = upload(backend, np.full_like(raw, poison), stream)
    queue_linearisation(backend, *inputs, words, stream, entries)
    return download(backend, words, stream)


@pytest.mark.parametrize(
    ("shots", "modules", "planes", "pixels", "entries"),
    [(1, 1, 2, 8, 4096), (19, 2, 2, 264, 16), (5, 3, 1, 1280, 2), (3, 1, 2, 40, 1)],
)
def test_words_are_those_of_the_reference(native_backend, rng, shots, modules, planes, pixels, entries):
    raw = rng.integers(0, 65536, (shots * modules, planes, pixels), "u2")
    linear = rng.integers(0, 65536, (3, pixels, entries), "u2")
    rows = rng.integers(-1, 3, (shots, modules)).astype("i4")
    present = rng.random((shots, modules)) < 0.8
    frames, groups = list_frames(present, rows)
    expected = np.full_like(raw, 0xEEEE)
    linearise(raw, frames, groups, linear, expected)
    np.testing.assert_array_equal(run(native_backend, raw, frames, groups, linear), expected)
    found = run(native_backend, raw, frames, groups, apart(linear), entries=entries)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(expected[~present.ravel()], 0xEEEE)


def test_every_word_of_twelve_bits_and_those_above(native_backend):
    raw = np.arange(65536, dtype="u2").reshape(256, 1, 256)
    linear = ((np.arange(4096)[None, None] * 7 + np.arange(256)[None, :, None]) % 65536).astype("u2")
    frames, groups = list_frames(np.ones((256, 1), bool), np.zeros((256, 1), "i4"))
    pixel = np.arange(256)
    found = run(native_backend, raw, frames, groups, linear)
    np.testing.assert_array_equal(found[:, 0], linear[0, pixel, raw[:, 0] & 0xFFF])


def test_tables_that_are_no_power_of_two_are_refused(native_backend):
    raw, linear = np.zeros((1, 2, 8), "u2"), np.zeros((1, 8, 12), "u2")
    frames, groups = list_frames(np.ones((1, 1), bool), np.zeros((1, 1), "i4"))
    with pytest.raises(ValueError, match="power of two"):
        run(native_backend, raw, frames, groups, linear)
    with pytest.raises(ValueError, match="at least 16 entries, got 12"):
        run(native_backend, raw, frames, groups, linear, entries=16)
