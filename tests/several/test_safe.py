"""Several detectors: interrupted, overwritten and checked."""

from __future__ import annotations

import json

import pytest
from shotsieve.check import check
from shotsieve.engine import passes
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.table import Table
from shotsieve.write.ledger import Ledger

from .conftest import JF, bytes_of, changed


def in_parts(**more):
    return changed(write={"content": "corrected", "trains_per_file": 1}, **more)


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_interrupted_between_and_inside_detectors(run, places, monkeypatch, stop_at):
    undisturbed = run.reduce(places / "undisturbed", in_parts())
    whole, done = passes.Pass._run, []

    def stop(self, *rest):
        if len(done) == stop_at:
            raise KeyboardInterrupt
        whole(self, *rest)
        done.append(None)

    monkeypatch.setattr(passes.Pass, "_run", stop)
    with pytest.raises(KeyboardInterrupt):
        run.reduce(places / "out", in_parts())
    monkeypatch.setattr(passes.Pass, "_run", lambda self, *rest: (whole(self, *rest), done.append(None)))
    result = run.reduce(places / "out", in_parts(), resume=True)
    assert len(done) == 9  # three parts are measured, decided about and written; nothing is done twice
    assert bytes_of(result.out) == bytes_of(undisturbed.out)
    again = run.reduce(places / "out", in_parts(), resume=True)
    assert again.digest == result.digest
    assert sorted(again.others["jf"].files) == sorted(result.others["jf"].files)
    assert sorted(again.files) == sorted(result.files)
    with pytest.raises(BadInput, match=r"is complete, and of another reduction: it differs in .*recipe"):
        run.reduce(places / "out", in_parts(keep={"rule": "jf_lit_pixels > 3"}), resume=True)


def test_another_plan_is_not_resumed(run, places, interrupt_after):
    with interrupt_after("jf_measure", 0):
        run.reduce(places / "out", in_parts())
    other = in_parts()
    other["detector"][1]["measure"] = {"lit": {"threshold": "50 keV"}}
    with pytest.raises(BadInput, match="cannot be resumed, since this has changed: jf: lit_threshold"):
        run.reduce(places / "out", other, resume=True)


def test_overwriting_and_what_is_not_ours(run, places):
    result = run.reduce(places / "out")
    before = bytes_of(result.out)
    run.reduce(places / "out", overwrite=True)
    assert bytes_of(result.out) == before
    (result.out / "shotsieve" / "jf" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"shotsieve/jf/notes.txt in it was not written"):
        run.reduce(places / "out", overwrite=True)


def test_a_forged_table_of_the_second_is_found(run, places):
    result = run.reduce(places / "out")
    report = run.check(result)
    assert report.ok, report.summary()
    assert report.shots == 18
    side = result.out / "shotsieve"
    table = Table.open(side / "jf" / "table.h5")
    table.measures["lit_pixels"][0, 0] += 1
    table.save(side / "jf" / "table.h5")
    assert any("jf/table.h5 is not what it was" in fault for fault in check(result.out).faults)
    # Along with the ledger: the data files tell, and the raw run.
    listed = Ledger.load(result.out)
    files = {name: told for name, told in listed.files.items() if name != "shotsieve/jf/table.h5"}
    forged = Ledger.make(result.out, listed.inputs, listed.accounts, files)
    (side / "ledger.json").write_text(forged.dumps(), encoding="utf-8")
    faults = check(result.out).faults
    assert any(fault.startswith("jf: ") and "litpx/litPixels is not what" in fault for fault in faults)
    report = check_against(check(result.out), run.raw, constants=run.constants, backend="cpu")
    assert [fault for fault in report.faults if fault.startswith("jf: lit_pixels of 1 shots is another")]
    with pytest.raises(BadInput, match="a sample cannot be checked"):
        check_against(check(result.out), run.raw, constants=run.constants, backend="cpu", sample=0.5)


def test_accounts_of_the_second_have_to_add_up(run, places):
    result = run.reduce(places / "out")
    path = result.out / "shotsieve" / "jf" / "accounts.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "kept": told["kept"] - 1}))
    faults = check(result.out).faults
    assert any(fault.startswith("jf: the accounts do not add up") for fault in faults)


def test_a_disk_that_refuses_the_second_one_when_it_is_read_once_more(run, places, disk, capsys):
    """The columns of the rule are measured anew, and all is as if the loss had been known before."""
    (path,) = run.raw.glob("*JNGFR01*")

    def refuse(done, total, _):
        if done == total:
            disk.refuse(path, f"INSTRUMENT/{JF}/DET/JNGFR01:daqOutput/data/adc", 1, lead=2)

    late = run.reduce(places / "late", tolerant=True, progress=refuse)
    assert "JNGFR01" in capsys.readouterr().err
    known = run.reduce(places / "known", tolerant=True)
    assert capsys.readouterr().err == ""
    assert late.others["jf"].accounts.modules["1"]["unreadable"] > 0
    assert bytes_of(late.out) == bytes_of(known.out)
    run.check(late)
