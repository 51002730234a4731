"""What shotsieve needs, and what it must not touch: a process of its own tells."""

import os
import subprocess
import sys
import textwrap

import pytest

OPTIONAL = ("click", "rich", "pandas", "xarray", "extra_data", "cupy")


def run_python(code, *arguments):
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.split()


def test_import_takes_nothing_along():
    code = f"""
        import sys
        before = set(sys.modules)
        import shotsieve
        print(*(name for name in {OPTIONAL!r} if name in sys.modules))
        print(*(name for name in sys.modules if name.startswith(("shotsieve._c", "shotsieve._e"))))
        assert shotsieve.__version__ and "reduce" in dir(shotsieve)
        roots = {{name.partition(".")[0] for name in set(sys.modules) - before}}
        foreign = roots - set(sys.stdlib_module_names) - {{"shotsieve", "numpy", "h5py"}}
        print(*(name for name in foreign if getattr(sys.modules.get(name), "__file__", None)))
    """
    assert run_python(code) == []


def test_hdf5_alone_is_enough(simulated, reduced, digest, tmp_path):
    """Where nothing optional can be imported, a run folder is opened and reduced all the same."""
    code = f"""
        import sys
        for name in {OPTIONAL!r}:
            sys.modules[name] = None
        import shotsieve
        run, constants, out = sys.argv[1:]
        recipe = {{
            "calibrate": {{}},
            "measure": {{"lit": {{"threshold": "0.7 photon"}}}},
            "keep": {{"rule": "lit_pixels[3] > 1000"}},
            "write": {{"content": "corrected"}},
        }}
        print(shotsieve.reduce(run, recipe, out, constants=constants, backend="cpu").accounts.kept)
    """
    sim, out = simulated("usual"), tmp_path / "out"
    assert run_python(code, sim.raw, sim.constants, out) == [str(reduced("usual").accounts.kept)]
    assert digest(out) == digest(reduced("usual").out)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux")
def test_memory_does_not_grow_with_the_run(tmp_path):
    """Four times as many trains, the same peak: blocks are read, written and forgotten."""
    code = """
        import resource, sys
        import numpy as np, shotsieve
        from shotsieve import detectors
        from shotsieve.constants import Constants
        from shotsieve.sources.base import RunMeta
        from shotsieve.write.exdf_file import ExdfFile
        from pathlib import Path

        folder = Path(sys.argv[1])
        pixels = (512, 128)
        names = {"offset": 3, "thresholds": 2, "relative_gain": 3, "mg_baseline": 1, "adu_per_kev": 1}
        arrays = {name: {3: np.ones((gains, 8, *pixels), "f4")} for name, gains in names.items()}
        constants = Constants.from_arrays("AGIPD1M", arrays)
        words = np.random.default_rng(1).integers(0, 16384, (8, 2, *pixels), "u2")
        source = "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"
        peaks = []
        for trains in (10, 40):
            run = folder / f"r{trains}"
            run.mkdir()
            ids = np.arange(1, trains + 1, dtype="u8")
            path = run / "RAW-R0001-AGIPD03-S00000.h5"
            with ExdfFile(path, train_ids=ids, timestamps=ids, meta=RunMeta(run=1)) as file:
                image = file.instrument(source, "image", np.full(trains, 8))
                shape = (8 * trains, 2, *pixels)
                data = image.create_dataset("data", shape, "u2", chunks=(1, 2, *pixels))
                for train in range(trains):
                    data[8 * train : 8 * train + 8] = words
                image["trainId"] = np.repeat(ids, 8)
                image["pulseId"] = np.tile(np.arange(8, dtype="u8") * 4, trains)
                image["cellId"] = np.tile(np.arange(8, dtype="u2"), trains)
            recipe = {
                "calibrate": {"gain_mode": "adaptive", "photon_energy": "9.3 keV"},
                "measure": {"lit": {}},
                "keep": {"rule": "cell_id < 3"},
                "write": {"content": "corrected"},
            }
            options = {"constants": constants, "backend": "cpu", "block_bytes": 1}
            result = shotsieve.reduce(run, recipe, folder / f"red{trains}", **options)
            assert result.accounts.kept == 3 * trains
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        print(*peaks)
    """
    short, long = map(int, run_python(code, tmp_path))
    # The longer run holds 63 MB more of raw words and 33 MB more of kept frames.
    assert long - short < 12, f"{short} MB for 10 trains, {long} MB for 40"
