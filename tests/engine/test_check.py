"""A reduced run is checked by itself and against its raw run: what was changed is found."""

from __future__ import annotations

import json
import shutil
import threading

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.cli import main
from shotsieve.engine.against import check_against, upper_limit
from shotsieve.errors import BadInput
from shotsieve.write.ledger import Ledger

from .forgery import datasets, forge, swap_words

MODULE_3 = "CORR-R0001-AGIPD03-S00000.h5"
SOURCE_3 = "SPB_DET_AGIPD1M-1/CORR/3CH0:output"
SITUATIONS = [
    "usual", "missing_module", "missed_train", "empty_train", "second_sequence", "suspect_train",
    "duplicate_train", "inconsistent_counts", "wrapped_cells", "cell_without_constants", "fixed_medium",
]  # fmt: skip


@pytest.fixture
def copied(reduced, tmp_path):
    """A copy of the usual output that may be spoilt, and the digest it was written with."""
    result = reduced("usual")
    out = tmp_path / "copy"
    shutil.copytree(result.out, out)
    return out, result.digest


def against(out, sim, **options):
    report = check(out)
    assert report.ok, report.summary()
    return check_against(report, sim.raw, **{"constants": sim.constants, "backend": "cpu", **options})


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_was_written_is_in_order(reduced, simulated, name):
    result = reduced(name)
    report = against(result.out, simulated(name))
    assert report.ok, report.summary()
    assert (report.digest, report.shots) == (result.digest, len(result.table))
    kept, present = result.table.fate == 0, result.table.ok() | (result.table.module_status == 2)
    assert report.chunks == 3 * int((present & kept[:, None]).sum())  # data, gain, mask


def test_on_every_backend(reduced, simulated, backend_name):
    report = against(reduced("usual").out, simulated("usual"), backend=backend_name)
    assert report.ok, report.summary()
    assert "0 of them should have been kept" in report.notes[0]


@pytest.mark.parametrize(
    "changed", [{"write": {"content": "raw"}}, {"write": None}, {"keep": None},
    {"keep": {"rule": "train_id > 0", "misses": 0.5}},
    {"keep": {"rule": "lit_pixels[3] > 1000", "misses": 0.5}}],
    ids=["raw", "table only", "no rule", "all kept", "misses"],
)  # fmt: skip
def test_every_kind_of_output(simulated, make_recipe, tmp_path, changed):
    sim = simulated("usual")
    recipe = make_recipe(**changed)
    result = shotsieve.reduce(sim.raw, recipe, tmp_path / "r", constants=sim.constants, backend="cpu")
    report = against(result.out, sim, block_bytes=1)
    assert report.ok, report.summary()


def test_the_files_of_measures_too(simulated, make_recipe, tmp_path):
    sim = simulated("usual")
    average = make_recipe(measure={"lit": {"threshold": "0.7 photon"}, "average": {"by": "cell"}})
    result = shotsieve.reduce(sim.raw, average, tmp_path / "r", constants=sim.constants, backend="cpu")
    assert against(result.out, sim).ok
    with h5py.File(result.out / "shotsieve/averages.h5", "r+") as file:
        next(d for d in datasets(file) if d.name.endswith("/mean"))[..., 0] += 1
    forge(result.out)
    assert "shotsieve/averages.h5 is another one" in " ".join(against(result.out, sim).faults)


def test_threads_may_use_hdf5_while_chunks_are_looked_at(reduced, monkeypatch):
    """They do when the interpreter clears up in one of them; h5py has one lock for all."""
    result, used = reduced("usual"), []

    def look(*args):
        thread = threading.Thread(target=lambda: used.append(h5py.File(result.files[0]).close()), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        return []

    monkeypatch.setattr("shotsieve.check_frames.wrong_chunks", look)
    assert check(result.out).ok
    assert used


# ---------------------------------------------------------------------- spoilt, found by the output alone


def test_one_flipped_bit_anywhere(copied, rng):
    out, _ = copied
    for path in sorted(out.rglob("*")):
        if not path.is_file() or path.name in ("machine.json", "karabo_data_map.json"):
            continue
        good = path.read_bytes()
        bad = bytearray(good)
        bad[int(rng.integers(len(bad)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        report = check(out)
        assert path.name in " ".join(report.faults), path
        path.write_bytes(good)
    assert check(out).ok


def test_a_flipped_bit_of_a_frame_is_named(copied):
    out, _ = copied
    with h5py.File(out / MODULE_3, "r+") as file:
        file[f"INSTRUMENT/{SOURCE_3}/image/data"][1, 5, 5] += 1
    forge(out)  # so only the checksum of the frame knows
    [fault] = check(out).faults
    assert f"{MODULE_3}: data of row 1" in fault


def test_a_frame_that_is_gone(copied):
    out, _ = copied
    with h5py.File(out / MODULE_3, "r+") as file:
        for name, dataset in file[f"INSTRUMENT/{SOURCE_3}/image"].items():
            if dataset.maxshape[0] is None:
                dataset.resize(len(dataset) - 1, axis=0)
            else:
                shorter = dataset[:-1]
                del file[f"INSTRUMENT/{SOURCE_3}/image/{name}"]
                file[f"INSTRUMENT/{SOURCE_3}/image/{name}"] = shorter
    assert not check(out).ok
    forge(out)
    assert f"{MODULE_3}: {SOURCE_3}/image/data has" in " ".join(check(out).faults)


@pytest.mark.parametrize(
    "place",
    [
        f"INDEX/{SOURCE_3}/image/count",
        f"REDUCTION/SHOTSIEVE/{SOURCE_3}/image/framesKept",
        f"REDUCTION/SHOTSIEVE/{SOURCE_3}/image/framesDropped",
        f"REDUCTION/SHOTSIEVE/{SOURCE_3}/image/framesBefore",
    ],
)
def test_a_wrong_count(copied, place):
    out, _ = copied
    with h5py.File(out / MODULE_3, "r+") as file:
        file[place][0] += 1
    forge(out)
    assert MODULE_3 in " ".join(check(out).faults)


def test_an_edited_ledger(copied):
    out, _ = copied
    path = out / "shotsieve/ledger.json"
    told = json.loads(path.read_text())
    told["accounts"]["kept"] += 1
    path.write_text(json.dumps(told))
    assert "was changed after it was written" in " ".join(check(out).faults)
    made = Ledger(**{key: told[key] for key in ("files", "inputs", "accounts", "made_by")})
    path.write_text(made.dumps())  # with a digest that fits
    assert "accounts" in " ".join(check(out).faults)


def test_files_that_are_gone_or_new(copied):
    out, _ = copied
    (out / MODULE_3).rename(out / "CORR-R0001-AGIPD09-S00000.h5")
    faults = " ".join(check(out).faults)
    assert f"{MODULE_3} is gone" in faults
    assert "CORR-R0001-AGIPD09-S00000.h5 is not in the ledger" in faults
    assert "module 3 has" in faults


def test_a_forgery_needs_the_digest(simulated, reduced, make_recipe, tmp_path):
    """The run reduced without one of its trains is in order by itself; it only is not what was written."""
    sim, told = simulated("usual"), reduced("usual")
    keep = f"lit_pixels[3] > 1000 and train_id != {told.table.train_id[told.table.fate == 0][0]}"
    out = tmp_path / "r"
    forged = shotsieve.reduce(sim.raw, make_recipe(keep={"rule": keep}), out, constants=sim.constants)
    assert check(out).ok
    assert check(out, forged.digest).ok
    report = check(out, told.digest)
    assert f"expected {told.digest}" in " ".join(report.faults)


# ---------------------------------------------------------------------- wrong, found against the raw run


def test_a_dropped_hit(simulated, reduced, make_recipe, tmp_path):
    sim, right = simulated("usual"), reduced("usual")
    train = right.table.train_id[right.table.fate == 0][0]
    rule = f"lit_pixels[3] > 1000 and train_id != {train}"
    out = tmp_path / "r"
    shotsieve.reduce(sim.raw, make_recipe(keep={"rule": rule}), out, constants=sim.constants)
    swap_words(out, (rule, "lit_pixels[3] > 1000"))
    report = against(out, sim)
    lost = int(((right.table.fate == 0) & (right.table.train_id == train)).sum())
    assert f"{lost} of them should have been kept" in report.notes[-1]
    assert "is kept by the rule, and is not in the output" in " ".join(report.faults)
    # A sample that holds some of them tells of them too, and says how many there may be.
    sampled = against(out, sim, sample=0.9, seed=2)
    assert "should have been kept" in sampled.notes[-1]
    assert not sampled.notes[-1].split(" of them should")[0].endswith(" 0")
    assert not sampled.ok


def test_swapped_constants(simulated, reduced, tmp_path):
    sim, other = simulated("usual"), tmp_path / "constants.h5"
    shutil.copy(sim.constants, other)
    with h5py.File(other, "r+") as file:
        for dataset in datasets(file):
            if "offset" in dataset.name.lower():
                dataset[...] += 1
    faults = " ".join(against(reduced("usual").out, sim, constants=other).faults)
    assert "data is not what its source gives" in faults
    command = ["check", str(reduced("usual").out), "--against", str(sim.raw), "--backend", "cpu"]
    assert main([*command, "--constants", str(other)]) == 1


def test_a_lit_threshold_that_was_changed_everywhere(simulated, copied):
    """The output agrees with itself; measuring again tells."""
    out, _ = copied
    was = json.loads((out / "shotsieve/settings.json").read_text())["lit_threshold"]
    now = was / 0.7 * 0.9
    for path in out.glob("*.h5"):
        with h5py.File(path, "r+") as file:
            for dataset in datasets(file["RUN"]):
                if dataset.name.endswith("lit_threshold/value"):
                    dataset[...] = now
            file.attrs.modify("lit_threshold", now)
    swap_words(out, ("0.7 photon", "0.9 photon"), (f'"lit_threshold": {was!r}', f'"lit_threshold": {now!r}'))
    report = against(out, simulated("usual"))
    assert not report.ok
    assert "lit_pixels" in " ".join(report.faults)


def test_a_changed_threshold(simulated, copied):
    out, _ = copied
    swap_words(out, ("lit_pixels[3] > 1000", "lit_pixels[3] > 5"))
    report = against(out, simulated("usual"))
    assert not report.ok
    assert "fate of" in " ".join(report.faults)


def test_another_run(simulated, reduced):
    sim = simulated("usual")
    faults = against(reduced("usual").out, simulated("selected_cells"), constants=sim.constants).faults
    assert "they are not the same" in " ".join(faults)


def test_an_input_that_was_replaced(simulated, make_recipe, tmp_path):
    """Not even its size differs, and no kept frame: only the checksum tells."""
    sim, raw = simulated("usual"), tmp_path / "raw/r0001"
    shutil.copytree(sim.raw, raw)
    recipe = make_recipe(ledger={"checksum_inputs": True})
    out = tmp_path / "r"
    result = shotsieve.reduce(raw, recipe, out, constants=sim.constants, backend="cpu")
    assert len(Ledger.load(out).inputs) == len(list(raw.glob("*.h5")))
    options = {"constants": sim.constants, "backend": "cpu"}
    assert check_against(check(out), raw, **options).ok
    with h5py.File(raw / "RAW-R0001-AGIPD03-S00000.h5", "r+") as file:
        words = file["INSTRUMENT/SPB_DET_AGIPD1M-1/DET/3CH0:xtdf/image/status"]
        words[int(np.flatnonzero(result.table.fate == 1)[0])] += 1
    [fault] = check_against(check(out), raw, **options).faults
    assert "the input RAW-R0001-AGIPD03-S00000.h5" in fault


def test_a_sample_of_the_dropped_shots(simulated, copied):
    out, _ = copied
    table = shotsieve.Table.open(out)
    dropped = int((table.fate == 1).sum())
    report = against(out, simulated("usual"), sample=0.5, seed=1)
    assert report.ok, report.summary()
    assert f"of {dropped} dropped shots were measured again" in report.notes[0]
    assert not report.notes[0].startswith(f"{dropped} of")
    assert "(95 % confidence)" in report.notes[0]


def test_whole_trains(tmp_path, rng):
    from shotsieve.sources.base import RunMeta
    from shotsieve.write.exdf_file import ExdfFile

    trains = np.arange(1, 5, dtype="u8")
    folder = tmp_path / "raw/r0001"
    folder.mkdir(parents=True)
    path = folder / "RAW-R0001-JNGFR01-S00000.h5"
    with ExdfFile(path, train_ids=trains, timestamps=trains, meta=RunMeta(run=1)) as file:
        data = file.instrument("SPB_IRDA_JF4M/DET/JNGFR01:daqOutput", "data", np.ones(4))
        data["adc"] = rng.integers(0, 4000, (4, 2, 512, 1024)).astype("u2")
        data["gain"] = np.zeros((4, 2, 512, 1024), "u1")
        data["memoryCell"], data["trainId"] = np.tile(np.array([15, 0], "u1"), (4, 1)), trains
    recipe = {"keep": {"rule": "train_id >= 3"}, "write": {"content": "raw"}}
    result = shotsieve.reduce(folder, recipe, tmp_path / "r", backend="cpu")
    assert result.accounts.kept == 4
    report = check_against(check(result.out), folder, backend="cpu")
    assert report.ok, report.summary()
    assert report.chunks == 4  # adc and gain of two trains


# ---------------------------------------------------------------------- numbers, texts, readers


def test_upper_limits_against_scipy(rng):
    stats = pytest.importorskip("scipy.stats")
    for _ in range(30):
        n = int(rng.integers(1, 5000))
        k = int(rng.integers(0, min(n, 40)))
        assert upper_limit(k, n) == pytest.approx(stats.beta.ppf(0.95, k + 1, n - k), rel=1e-6)


def test_extra_data_reads_the_ledger_of_every_frame(reduced):
    extra_data = pytest.importorskip("extra_data")
    with extra_data.RunDirectory(reduced("usual").out) as run:
        source = run.auxiliary[f"SHOTSIEVE/{SOURCE_3}"]
        before, kept, dropped = (
            source[f"image.{key}"].ndarray() for key in ("framesBefore", "framesKept", "framesDropped")
        )
        assert (before == kept + dropped).all()
        assert source["checksum.data"].ndarray().shape == (kept.sum(), 16)


def test_the_commands(reduced, simulated, copied, capsys):
    out, digest = copied
    assert main(["ledger", str(out)]) == 0
    assert capsys.readouterr().out.rstrip().endswith(digest)
    assert main(["ledger", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == digest
    assert main(["check", str(out), "--digest", digest]) == 0
    sim = simulated("usual")
    against_run = ["--against", str(sim.raw), "--constants", str(sim.constants), "--backend", "cpu"]
    assert main(["check", str(out), *against_run]) == 0
    assert "in order" in capsys.readouterr().out
    assert main(["check", str(out), "--digest", "0" * 64, *against_run, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert "not compared with the raw run" in told["notes"][0]
    assert main(["check", str(out), "--sample", "0.5"]) == 1
    assert "go with --against" in capsys.readouterr().err


def test_a_table_instead_of_measuring_by_the_command(reduced, simulated, tmp_path, capsys):
    first, sim = reduced("usual"), simulated("usual")
    recipe = first.out / "shotsieve/recipe.toml"
    words = ["--recipe", str(recipe), "--constants", str(sim.constants), "--backend", "cpu"]
    table = first.out / "shotsieve/table.h5"
    assert main(["reduce", str(sim.raw), "-o", str(tmp_path / "r"), *words, "--table", str(table)]) == 0
    assert "kept" in capsys.readouterr().out
    again = shotsieve.Table.open(tmp_path / "r")
    np.testing.assert_array_equal(again.fate, first.table.fate)
    with h5py.File(first.out / MODULE_3) as one, h5py.File(tmp_path / "r" / MODULE_3) as two:
        name = f"INSTRUMENT/{SOURCE_3}/image/data"
        np.testing.assert_array_equal(one[name][()].view("u4"), two[name][()].view("u4"))


def test_what_is_no_output_of_ours(tmp_path):
    with pytest.raises(BadInput, match=r"ledger\.json does not exist"):
        check(tmp_path)
