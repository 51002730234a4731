"""Tables on their way to a device: all of them, however many pieces they are copied in."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve import backend as backends
from shotsieve import device as devices


@pytest.mark.parametrize("rows", [0, 1, 5, 8])
@pytest.mark.parametrize("nbytes", [1, 100, 1 << 22])
def test_every_row_arrives(backend_name, monkeypatch, rows, nbytes):
    monkeypatch.setattr(devices, "UPLOAD_BYTES", nbytes)
    device = backends.get(backend_name).device
    given = np.arange(12 * rows, dtype="f4").reshape(rows, 3, 4)
    there, stream, back = devices.upload(device, given), device.stream(), np.zeros_like(given)
    assert (there.shape, there.dtype) == (given.shape, given.dtype)
    device.to_host(back, there, stream)
    device.wait(device.record(stream))
    assert back.tobytes() == given.tobytes()
