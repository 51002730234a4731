"""The cases of the benchmark of kernels hold, at small sizes, what the CPU and the emulator agree on."""

from __future__ import annotations

import pytest
from kernel_case import POISON, Prepared
from kernel_cases import CASES
from shotsieve import backend as backends
from test_kernels import check


@pytest.mark.parametrize("name", [name for name in CASES if name != "bank_mode"])  # slow on the emulator
def test_a_case_is_the_same_on_the_device(name):
    case = CASES[name](True)
    there, here = (Prepared(case, backends.get(backend)) for backend in ("emu", "cpu"))
    for one in (there, here):
        one.run()
    found, wanted = there.answers(), here.answers()
    check(name, case.exact, found, wanted)
    assert any(values.any() and not (values.view("u1") == POISON).all() for values in wanted.values())
    # A case that cannot fail would time anything.
    spoilt = {key: values.copy() for key, values in found.items()}
    next(iter(spoilt.values())).view("u1").flat[0] ^= 0xFF
    with pytest.raises(AssertionError):
        check(name, True, spoilt, wanted)
