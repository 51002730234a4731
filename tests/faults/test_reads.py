"""A disk that refuses to read: an error that names the file; complete parts stay, the bytes are the same.

With `tolerant` it is a loss that is counted, unless the same can be read after all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.sources.extents import map_frames

from .server import build_shim, contents

SCRIPT = """
    import ctypes, json, sys
    import shotsieve

    run, constants, folder, points, tolerant, bad = sys.argv[1:7]
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

    answers = {"undisturbed": reduce("undisturbed", 0, tolerant=tolerant == "1")}
    if bad:
        shim.reads_refuse(*map(ctypes.c_long, map(int, bad.split(","))))
        answers["strict"] = reduce("strict", 0)
        answers["tolerant"] = reduce("tolerant", 0, tolerant=True)
        points = ""
    seen = answers["undisturbed"]["seen"]
    for at in sorted({*map(int, points.split(",")), seen // 2, seen}) if points else ():
        answers[at] = reduce(f"out{at}", at, tolerant=tolerant == "1")
        if tolerant == "0":
            answers[f"again {at}"] = reduce(f"out{at}", 0, resume=True)
    print(json.dumps(answers))
"""


class Refusing:
    """A run of which readings of module 3 are refused."""

    def __init__(self, folder, library):
        self.folder, self.library = folder, library
        modules = SpiParameters(n_trains=2, n_cells=2, modules=(3,), reference_frame=0)
        self.run = simulate_spi(folder / "sim", modules)
        self.file = next(self.run.raw.glob("*AGIPD03-S00000.h5")).resolve()

    def __call__(self, name, points=(), tolerant=False, bad=()):
        """Reduce with one reading refused at a time, or all of some bytes; the answers, and the outputs."""
        out = self.folder / name
        out.mkdir()
        words = [",".join(map(str, points)), str(int(tolerant)), ",".join(map(str, bad))]
        arguments = [self.run.raw, self.run.constants, out, *words]
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), *map(str, arguments)],
            env={**os.environ, "LD_PRELOAD": str(self.library), "FAULT_READS": str(self.file)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), out


@pytest.fixture(scope="module")
def refuse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reads")
    library = build_shim(folder, "reads")
    if library is None:
        pytest.skip("needs a C compiler and Linux; tests/sources/test_refused.py does without")
    return Refusing(folder, library)


def test_a_refused_reading_is_an_error_that_names_the_file_and_nothing_is_lost(refuse):
    answers, out = refuse("strict", [1, 5, 9])
    expected = contents(out / "undisturbed")
    points = [at for at in answers if at.isdigit()]
    assert len(points) >= 4
    for at in points:
        assert answers[at]["kind"] == "UnreadableData", (at, answers[at])
        assert refuse.file.name in answers[at]["text"]
        assert answers[f"again {at}"]["kind"] == "", answers
        assert contents(out / f"out{at}") == expected
    assert {path.name for path in out.iterdir()} == {"undisturbed", *(f"out{at}" for at in points)}


def told(out):
    return json.loads((out / "shotsieve" / "accounts.json").read_text())


def test_with_tolerant_it_is_a_counted_loss_or_an_error_or_read_again_and_never_zeros(refuse):
    answers, out = refuse("single", [1, 5, 9], tolerant=True)
    whole, read_again = contents(out / "undisturbed"), []
    for at in (point for point in answers if point.isdigit()):
        if answers[at]["kind"]:
            assert refuse.file.name in answers[at]["text"]
        elif contents(out / f"out{at}") == whole:
            read_again.append(int(at))
        else:
            accounts = told(out / f"out{at}")
            lost = accounts["modules"].get("3", {})
            assert accounts["unreadable"] + accounts["missing"] + len(lost) > 0
    # The last reading is one of frames, which are asked for once more.
    assert answers["undisturbed"]["seen"] in read_again


@pytest.mark.parametrize("as_end", [False, True], ids=["refused", "the file ends"])
def test_bytes_that_are_refused_every_time(refuse, as_end):
    """The second of two trains has no frame of the only module; the first has what it had."""
    where = map_frames(refuse.file, "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/3CH0:xtdf/image/data", 1)
    at = int(where.offsets([3])[0]) + where.frame_bytes // 2
    answers, out = refuse(f"bytes{as_end:d}", tolerant=True, bad=(at, at + 512, int(as_end)))
    assert answers["strict"]["kind"] == "UnreadableData"
    reason = "the file ends at offset" if as_end else "Input/output error"
    train = refuse.run.parameters.first_train + 1
    for word in (refuse.file.name, reason, "3CH0:xtdf", f"affects trains {train}"):
        assert word in answers["strict"]["text"]
    assert not (out / "strict").exists()
    assert answers["tolerant"]["kind"] == "", answers
    accounts = told(out / "tolerant")
    assert (accounts["expected"], accounts["kept"], accounts["unreadable"]) == (4, 2, 2)
    (note,) = [note for note in accounts["notes"] if "cannot be read" in note]
    assert note.startswith(f"{refuse.file.name}: image.data: 1 frame cannot be read (3)")
    assert note.endswith(f"trains {train}")
    whole, got = contents(out / "undisturbed"), contents(out / "tolerant")
    same = {name for name in got if got[name] == whole.get(name)}
    assert any(name.endswith("AGIPD03-S00000.h5") for name in same)
    assert not any(name.endswith("AGIPD03-S00001.h5") for name in same)
