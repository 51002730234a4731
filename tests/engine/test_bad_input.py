"""Bad input: an error that names file, dataset or option and what to do, and nothing under the final name."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.constants import Constants
from shotsieve.errors import BackendUnavailable, BadInput, OutputError, UnreadableData


@pytest.fixture
def refused(places, simulated, make_recipe):
    """Reduce and expect an error; returns its text after a look at what is left on the disk."""

    def check(error, *named, run=None, recipe=None, out=None, **options):
        sim = simulated("usual")
        before = {path: path.stat().st_mtime_ns for path in places.rglob("*")}
        options = {"constants": sim.constants, "backend": "cpu"} | options
        with pytest.raises(error) as caught:
            shotsieve.reduce(
                sim.raw if run is None else run,
                make_recipe() if recipe is None else recipe,
                places / "red" / "r0001" if out is None else out,
                **options,
            )
        assert caught.type is error
        for text in named:
            assert str(text) in str(caught.value)
        assert {path: path.stat().st_mtime_ns for path in places.rglob("*")} == before
        return str(caught.value)

    return check


# ----------------------------------------------------------------------------- constants


def test_no_constants(refused, make_recipe, tmp_path):
    assert "--constants" in refused(BadInput, "no constants", constants=None)
    refused(BadInput, "There are no constants at", "nowhere.h5", constants=tmp_path / "nowhere.h5")
    named = make_recipe(calibrate={"constants": "nowhere.h5"})
    refused(BadInput, "There are no constants at", "nowhere.h5", recipe=named, constants=None)
    refused(BadInput, "modules.toml", constants=tmp_path)


def test_constants_named_in_the_recipe_lie_beside_it(simulated, reduced, places, tmp_path):
    (tmp_path / "constants.h5").symlink_to(simulated("usual").constants)
    rule = '[measure.lit]\n[keep]\nrule = "lit_pixels[3] > 1000"\n[write]\n'
    (tmp_path / "recipe.toml").write_text(f'[calibrate]\nconstants = "constants.h5"\n{rule}')
    result = shotsieve.reduce(simulated("usual").raw, tmp_path / "recipe.toml", places / "r", backend="cpu")
    assert result.table == reduced("usual").table


def test_constants_of_another_detector(refused, tmp_path):
    shape = (3, 1, 512, 1024)
    arrays = {"offset": np.zeros(shape), "adu_per_kev": np.ones(shape)}
    other = Constants.from_arrays("JUNGFRAU", arrays, modules=[1])
    refused(BadInput, "JUNGFRAU", "AGIPD1M", constants=other)
    path = other.save(tmp_path / "jungfrau.h5")
    refused(BadInput, "JUNGFRAU", "AGIPD1M", "jungfrau.h5", constants=path)


def changed(constants, tmp_path, change):
    """Return a copy of the own form of the constants with something done to it."""
    path = tmp_path / "changed.h5"
    path.write_bytes(constants.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replace_all(file, name, cut):
    for path in [p for p in every_dataset(file) if name in p.split("/")]:
        data = file[path][()]
        attributes = dict(file[path].attrs)
        del file[path]
        file[path] = cut(data)
        file[path].attrs.update(attributes)


def every_dataset(file):
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def test_constants_of_another_shape_or_cell_count(refused, simulated, tmp_path):
    constants = simulated("usual").constants
    narrow = changed(constants, tmp_path, lambda f: replace_all(f, "offset", lambda a: a[..., :64]))
    refused(BadInput, "changed.h5", "offset", "512", constants=narrow)
    short = changed(constants, tmp_path, lambda f: replace_all(f, "thresholds", lambda a: a[..., :2, :, :]))
    refused(BadInput, "changed.h5", "thresholds", constants=short)


def test_constants_for_other_cells_or_modules(refused, simulated):
    given = Constants.open(simulated("usual").constants)
    arrays = {n: {m: given.load(n, m) for m in (3, 4)} for n in given.names}
    elsewhere = Constants.from_arrays(given.detector, arrays, cell_ids=np.arange(100, 104))
    refused(BadInput, "none of the run's memory cells", "0, 1, 2, 3", constants=elsewhere)
    arrays = {n: {m + 5: given.load(n, m) for m in (3, 4)} for n in given.names}
    refused(BadInput, "modules", constants=Constants.from_arrays(given.detector, arrays))


def test_damaged_constants(refused, simulated, tmp_path):
    whole = simulated("usual").constants.read_bytes()
    (tmp_path / "short.h5").write_bytes(whole[: len(whole) // 2])
    refused(UnreadableData, "short.h5", constants=tmp_path / "short.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    refused(UnreadableData, "text.h5", constants=tmp_path / "text.h5")


def test_conditions_that_disagree(refused, simulated, places, make_recipe, tmp_path):
    sim = simulated("usual")
    recipe = make_recipe(calibrate={"gain_mode": "fixed_medium", "integration_time": 12})
    told = refused(BadInput, "gain_mode", "fixed_medium", "adaptive", "integration_time", "12", recipe=recipe)
    assert "--force" in told
    options = {"constants": sim.constants, "backend": "cpu", "force": True}
    result = shotsieve.reduce(sim.raw, recipe, places / "r0001", **options)
    [note] = [note for note in result.accounts.notes if note.startswith("forced")]
    assert "the run has 'fixed_medium', the constants were taken with 'adaptive'" in note
    assert note in (result.out / "shotsieve" / "accounts.json").read_text()
    assert note in result.accounts.summary()
    with h5py.File(result.files[0]) as file:
        assert note in list(file.attrs["notes"])
        assert file.attrs["mode.gain_mode"] == "fixed_medium"
        assert file.attrs["mode_origin.gain_mode"] == "recipe"
        assert file.attrs["constants_conditions.gain_mode"] == "adaptive"


# ------------------------------------------------------------------------------- the run


def test_a_run_without_detector_data(refused, simulated, link_run, tmp_path):
    run = link_run(simulated("usual").raw, tmp_path / "r0001", leave_out="-AGIPD0")
    refused(BadInput, run, "no data of a detector", "SA1_XTD2_XGM/XGM/DOOCS:output", run=run)
    refused(BadInput, "nowhere", run=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refused(BadInput, "empty", run=tmp_path / "empty")
    refused(BadInput, "int", run=5)


def test_a_reduced_run_is_not_taken_for_a_raw_one(refused, reduced):
    refused(BadInput, "corrected data", "leave --constants", "give the raw run", run=reduced("usual").out)


def test_the_wrong_detector_is_asked_for(refused, make_recipe):
    asked = make_recipe(detector=[{"source": "SPB_DET_AGIPD1M-2"}])
    refused(BadInput, "SPB_DET_AGIPD1M-2", "Did you mean 'SPB_DET_AGIPD1M-1'?", recipe=asked)
    refused(BadInput, "AGIPD2M", "AGIPD1M", recipe=make_recipe(detector=[{"name": "AGIPD2M"}]))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_file(share, refused, simulated, link_run, tmp_path):
    sim = simulated("second_sequence")
    run = link_run(sim.raw, tmp_path / "r0001", leave_out="AGIPD04-S00001")
    [whole] = sim.raw.glob("*AGIPD04-S00001.h5")
    broken = run / whole.name
    broken.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    refused(UnreadableData, broken.name, "1500000003", run=run)


def test_a_damaged_chunk(refused, simulated, link_run, tmp_path):
    """What only shows when the pixels are read is an error too: named, with its train."""
    sim = simulated("usual")
    run = link_run(sim.raw, tmp_path / "r0001", leave_out="AGIPD03")
    [whole] = sim.raw.glob("*AGIPD03*")
    source = "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf/image"
    with h5py.File(whole) as old, h5py.File(run / whole.name, "w") as new:
        for group in old:
            old.copy(group, new)
        data = old[f"INSTRUMENT/{source}/data"][()]
        del new[f"INSTRUMENT/{source}/data"]
        packed = new[f"INSTRUMENT/{source}"].create_dataset(
            "data", data=data, chunks=(1, *data.shape[1:]), compression="gzip", compression_opts=1
        )
        place = packed.id.get_chunk_info(5).byte_offset
    with open(run / whole.name, "r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 1000)
    refused(UnreadableData, whole.name, "image/data", "trains 1500000001-1500000003", run=run)
    refused(UnreadableData, whole.name, "image/data", "trains 1500000002", run=run, block_bytes=1)


# ---------------------------------------------------------------------------- the recipe


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"keep": {"rul": "lit_pixels > 3"}}, ["'rul'", "Did you mean 'rule'?"]),
        ({"kep": {}}, ["[kep]", "Did you mean 'keep'?"]),
        ({"calibrate": {"photon_enrgy": "9 keV"}}, ["'photon_enrgy'", "Did you mean 'photon_energy'?"]),
        ({"measure": {"lit": {"threshold": "0.7"}}}, ["[measure.lit] threshold", "unit"]),
        ({"measure": {"lit": {"threshold": 0.7}}}, ["[measure.lit] threshold", "unit"]),
        ({"measure": {"lit": {"threshold": "0.7 foton"}}}, ["[measure.lit] threshold", "photon"]),
        ({"measure": {"lit": {"threshold": "40 ADU"}}}, ["threshold", "ADU", "keV"]),
        ({"keep": {"rule": "lit_pixel[3] > 3"}}, ["lit_pixel", "lit_pixels"]),
        ({"keep": {"rule": "lit_pixels[16] > 3"}}, ["lit_pixels[16]"]),
        ({"keep": {"rule": "lit_pixels >"}}, ["rule"]),
        ({"measure": None}, ["[measure.lit]"]),
        ({"calibrate": None}, ["[calibrate]"]),
        ({"write": {"content": "photon"}}, ["[write] content", "photons", "Did you mean"]),
    ],
)
def test_what_a_recipe_must_not_say(section, named, refused, make_recipe):
    refused(BadInput, *named, recipe=make_recipe(**section))


def test_a_backend_that_is_not_here(refused):
    refused(BadInput, "cdua", "Did you mean 'cuda'?", backend="cdua")
    for status in shotsieve.backends():
        if not status.available:
            refused(BackendUnavailable, status.name, status.detail.removeprefix("no "), backend=status.name)


# ---------------------------------------------------------------------------- the output


def test_an_output_that_is_not_empty(refused, places, simulated, make_recipe):
    (places / "mine").mkdir()
    (places / "mine" / "thesis.txt").write_text("all my work")
    out = places / "mine"
    refused(BadInput, out, "thesis.txt", "--overwrite", out=out)
    refused(BadInput, out, "not an earlier output", out=out, overwrite=True)
    refused(BadInput, "thesis.txt", "is a file", out=out / "thesis.txt")
    sim = simulated("usual")
    first = shotsieve.reduce(sim.raw, make_recipe(), places / "r", constants=sim.constants, backend="cpu")
    refused(BadInput, first.out, "--overwrite", out=first.out)
    # A second attempt that fails leaves the first output as it was.
    refused(BadInput, "no constants", out=first.out, overwrite=True, constants=None)
    again = shotsieve.reduce(
        sim.raw, make_recipe(keep=None), first.out, constants=sim.constants, backend="cpu", overwrite=True
    )
    assert again.accounts.kept == 12
    assert sorted(path.name for path in places.iterdir()) == ["mine", "r"]


FULL_DISK = """
    import resource, signal, sys
    import shotsieve
    run, constants, out, limit = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    recipe = {"calibrate": {}, "write": {"content": "corrected"}}
    try:
        shotsieve.reduce(run, recipe, out, constants=constants, backend="cpu")
    except shotsieve.OutputError as error:
        print(error)
"""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB where root may mount one; else a limit on the size of a file stands for it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    yield folder, 0 if mounted else 1_000_000
    if mounted:
        subprocess.run(["umount", str(folder)], check=False)


def test_a_full_disk(small_disk, simulated):
    folder, limit = small_disk
    sim, out = simulated("usual"), folder / "red" / "r0001"
    given = [str(sim.raw), str(sim.constants), str(out), str(limit)]
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), *given],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert answer.returncode == 0, answer.stderr
    assert str(out) in answer.stdout
    assert "disk is full" in answer.stdout
    assert "are needed" in answer.stdout
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_ctrl_c(content, refused, make_recipe, backend_name):
    """In the middle: one block is written, another is being read."""
    seen = []

    def press(done, total, size):
        seen.append(done)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)

    recipe = make_recipe(keep=None, write={"content": content})
    options = {"backend": backend_name, "progress": press, "block_bytes": 1}
    refused(KeyboardInterrupt, recipe=recipe, **options)
    assert seen == [4, 8]


def test_an_output_folder_that_cannot_be_made(refused, places):
    (places / "file").write_text("")
    refused(OutputError, "file", out=places / "file" / "r0001")


# ------------------------------------------------------------------------------- the CLI


@pytest.fixture
def command(simulated, places, tmp_path, capsys):
    cli = pytest.importorskip("shotsieve.cli", reason="the command line needs click")

    def run(recipe):
        sim, file = simulated("usual"), tmp_path / "recipe.toml"
        file.write_text(recipe)
        given = [sim.raw, "-o", places / "r0001", "--recipe", file, "--constants", sim.constants]
        status = cli.main(["reduce", *map(str, given), "--backend", "cpu"])
        return status, capsys.readouterr()

    return run


def test_the_command_tells_in_one_line(command, places):
    status, told = command('[calibrate]\nphoton_enrgy = "9 keV"\n')
    assert status == 1
    said = r"error: .*recipe\.toml.*'photon_enrgy'.*Did you mean 'photon_energy'\?.*\n"
    assert re.fullmatch(said, told.err)
    assert told.out == ""
    assert list(places.iterdir()) == []


def test_the_command_ends_with_130_on_ctrl_c(command, places, monkeypatch):
    @contextmanager
    def bar():
        yield lambda *told: signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("shotsieve.cli_reduce.progress_bar", bar)
    status, told = command('[calibrate]\n[write]\ncontent = "corrected"\n')
    assert status == 130
    assert "interrupted" in told.err
    assert list(places.iterdir()) == []


@pytest.mark.parametrize("odd", [{"slots": 0}, {"block_bytes": 0}, {"slots": -1}])
def test_no_slots_and_no_room(simulated, make_recipe, tmp_path, odd):
    sim = simulated("usual")
    with pytest.raises(BadInput, match="expected at least 1"):
        shotsieve.reduce(sim.raw, make_recipe(), tmp_path / "r", sim.constants, "cpu", **odd)
    assert not (tmp_path / "r").exists()
