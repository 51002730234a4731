"""Where compiled code has no libdeflate to call: the same words, and whoever waits is told why, once."""

import ctypes
import re
import sys

import pytest
from shotsieve import telling, unpack
from shotsieve.errors import UnreadableData

from .test_compressed import FRAME, IN_THREADS, damage, read, store, words

TOLD = {
    "package": r"the package deflate is not installed \(pip install 'shotsieve\[fast\]'\): .* with ISA-L",
    "library": "this build of the package deflate does not let its library be called: .* with it",
}


@pytest.fixture(params=TOLD)
def missing(request, monkeypatch):
    """What is not there: the package, or the functions of its library."""
    monkeypatch.setattr(telling, "_said", set())
    if request.param == "package":
        monkeypatch.setitem(sys.modules, "deflate", None)
        monkeypatch.delitem(sys.modules, "deflate._deflate", raising=False)
    else:
        pytest.importorskip("deflate")
        other = ctypes.CDLL(unpack.native().__file__)
        monkeypatch.setattr(unpack.ctypes, "CDLL", lambda name: other)
    unpack._deflate.cache_clear()
    unpack.inflate_functions.cache_clear()
    yield request.param
    unpack._deflate.cache_clear()
    unpack.inflate_functions.cache_clear()


@pytest.mark.parametrize("dtype", ["u4", "u8"], ids=["as it is", "widened"])
def test_the_same_words_and_a_line_that_says_why_it_is_slower(tmp_path, capsys, missing, dtype):
    data = words((4, *FRAME), "u4")
    path = store(tmp_path / "x.h5", data, (2, *FRAME), IN_THREADS["shuffled gzip"])
    plain = store(tmp_path / "plain.h5", data, (2, *FRAME), IN_THREADS["shuffle"])
    assert (read(plain, range(4), dtype=dtype) == data).all()
    assert capsys.readouterr().err == ""  # nothing was to be inflated
    for _ in range(2):
        assert (read(path, range(4), dtype=dtype) == data).all()
    assert re.fullmatch(f"shotsieve: {TOLD[missing]}.*\n", capsys.readouterr().err)
    assert unpack.inflate_functions() is None
    damage(path, 1)
    with pytest.raises(UnreadableData, match="is damaged: deflate: "):
        read(path, range(4))
    assert capsys.readouterr().err == ""
