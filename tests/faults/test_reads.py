"""A disk that refuses to read: an error that names the file; complete parts stay, the bytes are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
from shotsieve.simulate import SpiParameters, simulate_spi

from .server import build_shim, contents

SCRIPT = """
    import ctypes, json, sys
    import shotsieve

    run, constants, folder, points, tolerant = sys.argv[1:6]
    shim = ctypes.CDLL(None)
    shim.reads_seen.restype = ctypes.c_long
    recipe = {"calibrate": {}, "measure": {"lit": {"threshold": "0.7 photon"}},
              "keep": {"rule": "lit_pixels[3] >= 0"}, "write": {"trains_per_file": 1}}

    def reduce(name, at, **options):
        shim.reads_arm(ctypes.c_long(at))
        try:
            shotsieve.reduce(run, recipe, f"{folder}/{name}", constants, "cpu", **options)
        except shotsieve.ShotsieveError as error:
            return {"kind": type(error).__name__, "text": str(error)}
        finally:
            seen = shim.reads_seen()
        return {"kind": "", "seen": seen}

    answers = {"undisturbed": reduce("undisturbed", 0)}
    seen = answers["undisturbed"]["seen"]
    for at in sorted({*map(int, points.split(",")), seen // 2, seen}):
        answers[at] = reduce(f"out{at}", at, tolerant=tolerant == "1")
        if tolerant == "0":
            answers[f"again {at}"] = reduce(f"out{at}", 0, resume=True)
    print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def refuse(tmp_path_factory):
    """Reduce with readings of module 3 refused, one at a time; the answers, and the folder of the outputs."""
    folder = tmp_path_factory.mktemp("reads")
    library = build_shim(folder, "reads")
    if library is None:
        pytest.skip("needs a C compiler and Linux")
    run = simulate_spi(folder / "sim", SpiParameters(n_trains=2, n_cells=2, modules=(3,), reference_frame=0))
    file = next(run.raw.glob("*AGIPD03-S00000.h5")).resolve()

    def reduced(name, points, tolerant=False):
        out = folder / name
        out.mkdir()
        arguments = [run.raw, run.constants, out, ",".join(map(str, points)), str(int(tolerant))]
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), *map(str, arguments)],
            env={**os.environ, "LD_PRELOAD": str(library), "FAULT_READS": str(file)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), out, file.name

    return reduced


def test_a_refused_reading_is_an_error_that_names_the_file_and_nothing_is_lost(refuse):
    answers, out, name = refuse("strict", [1, 5, 9])
    expected = contents(out / "undisturbed")
    points = [at for at in answers if at.isdigit()]
    assert len(points) >= 4
    for at in points:
        assert answers[at]["kind"] == "UnreadableData", (at, answers[at])
        assert name in answers[at]["text"]
        assert answers[f"again {at}"]["kind"] == "", answers
        assert contents(out / f"out{at}") == expected
    assert {path.name for path in out.iterdir()} == {"undisturbed", *(f"out{at}" for at in points)}


def test_with_tolerant_it_is_a_counted_loss_or_an_error_and_never_zeros(refuse):
    answers, out, name = refuse("tolerant", [1, 5, 9], tolerant=True)
    whole = contents(out / "undisturbed")
    for at in (point for point in answers if point.isdigit()):
        if answers[at]["kind"]:
            assert name in answers[at]["text"]
            continue
        told = json.loads((out / f"out{at}" / "shotsieve" / "accounts.json").read_text())
        assert told["unreadable"] + told["missing"] + sum(map(len, told["modules"].values())) > 0
        assert contents(out / f"out{at}") != whole
