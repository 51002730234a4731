"""Every compiled module offers what _native.pyi says, in the same order; memory lies as kernels like it."""

from __future__ import annotations

import ast
import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import shotsieve
from shotsieve.device import HostDevice

STUB = Path(shotsieve.__file__).with_name("_native.pyi")
RUNTIME = {
    "set_seed", "malloc", "free", "live_allocations", "host_alloc", "host_free", "memcpy_async",
    "memset_async", "stream_create", "stream_destroy", "stream_query", "stream_synchronize",
    "stream_wait_event", "event_create", "event_destroy", "event_query", "event_record",
    "event_synchronize", "device_synchronize",
}  # fmt: skip
# What a module may, and then must, have besides the contract.
EXTRA = {"_cuda": {"probe"}, "_emu": RUNTIME}
LEVELS = {"_cpu_v2": 2, "_cpu_v3": 3, "_cpu_v4": 4}
MODULES = ["_cpu", *LEVELS, "_emu", "_cuda"]
REQUIRED_ARGUMENT = "no default"


def default_of(node: ast.expr | None) -> Any:
    """Return a default in a form that compares: NaN, which the stub cannot write, is `...` there."""
    if node is None:
        return REQUIRED_ARGUMENT
    text = ast.unparse(node)
    if text in ("...", "nan"):
        return "nan"
    value = ast.literal_eval(text)
    assert not (isinstance(value, float) and math.isnan(value))
    return (type(value).__name__, value)


def signature(function: ast.FunctionDef) -> dict[str, list[tuple[str, Any]]]:
    """Return name and default of the positional and the keyword-only arguments, in their order."""
    given = function.args
    assert given.vararg is None
    assert given.kwarg is None
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    return {
        "positional": [(a.arg, default_of(d)) for a, d in zip(positional, defaults, strict=True)],
        "keyword only": [
            (a.arg, default_of(d)) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        ],
    }


def contract() -> dict[str, Any]:
    body = ast.parse(STUB.read_text(encoding="utf-8")).body
    return {node.name: signature(node) for node in body if isinstance(node, ast.FunctionDef)}


def functions(module: ModuleType) -> set[str]:
    return {name for name in vars(module) if not name.startswith("__") and callable(getattr(module, name))}


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    name = request.param
    try:
        if name in LEVELS:
            level = importlib.import_module("shotsieve._cpu_v2").cpu_level()
            if level < LEVELS[name]:
                pytest.skip(f"this processor is x86-64-v{level}")
        return importlib.import_module(f"shotsieve.{name}")
    except ImportError as error:
        pytest.skip(f"{name} is not built here ({error})")


def test_the_contract_is_read():
    found = contract()
    assert {"calibrate_count", "keep_list", "gather_rows", "cpu_level"} <= set(found)
    assert found["keep_list"]["keyword only"] == [("stream", ("int", 0)), ("threads", ("int", 1))]


def test_the_functions_are_those_of_the_contract(module):
    name = module.__name__.rpartition(".")[2]
    assert functions(module) == set(contract()) | EXTRA.get(name, set())


@pytest.mark.parametrize("name", contract())
def test_arguments_and_defaults_are_those_of_the_contract(module, name):
    line = getattr(module, name).__doc__.splitlines()[0]
    assert "Overloaded" not in getattr(module, name).__doc__
    [found] = ast.parse(f"def {line}: ...").body
    assert found.name == name
    assert signature(found) == contract()[name]


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 7, 129), (1 << 20,)])
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<f4", "<i8"])
def test_memory_of_the_host_begins_at_a_cache_line(shape, dtype):
    for array in (HostDevice().empty(shape, dtype), HostDevice().empty_pinned(shape, dtype)):
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.size == 0 or array.ctypes.data % 64 == 0  # an empty one has no address to speak of
