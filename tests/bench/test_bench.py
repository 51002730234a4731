"""`shotsieve bench`: its words hold what its answers must find, and a wrong answer is no time."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from shotsieve import backend as backends
from shotsieve.bench import files, om_peer, stages
from shotsieve.bench.cases import KINDS, make_case
from shotsieve.bench.files import reading
from shotsieve.bench.peers import (
    Calibrated,
    corrected_lit,
    extra_redu_peer,
    numpy_peer,
    om_peers,
    pyfai_peer,
)
from shotsieve.bench.report import compare, tables
from shotsieve.bench.run import load, run, save
from shotsieve.bench.stages import EngineStage, WrongAnswer, measured_stage
from shotsieve.cli import main
from shotsieve.errors import BadInput

SMALL = {"modules": 1, "cells": 2, "trains": 1}


@pytest.fixture(scope="module", params=KINDS)
def case(request, tmp_path_factory):
    return make_case(request.param, tmp_path_factory.mktemp("bench"), **SMALL)


@pytest.fixture(scope="module")
def report():
    return run(backends.get("cpu"), ["AGIPD1M"], **SMALL, rounds=2, copy_bytes=1 << 20)


@pytest.mark.parametrize("stage", stages.SECTIONS)
def test_every_stage_finds_what_is_in_the_words(case, backend_name, stage):
    if backend_name == "emu" and case.detector.name != "AGIPD1M":
        pytest.skip(
            "emu: one detector shows the stages; tests/engine and tests/native have the kernels of the others"
        )
    for on_device in (False, True):
        if backend_name == "cpu" and on_device:
            continue
        measured = measured_stage(case, backends.get(backend_name), stage, on_device)
        measured.run()
        measured.check()
        assert measured.floor_bytes >= case.raw.nbytes
        measured.close()


def test_hits_have_spots_and_are_kept(case):
    stage = EngineStage(case, backends.get("cpu"), stages.CHAIN)
    stage.run()
    stage.check()
    assert case.hits.any()
    assert not case.hits.all()
    assert stage.kept_shots() >= case.hits.sum()
    assert (case.lit > 0.01 * case.frame_pixels).all()
    assert len(stage.latencies(2)) == 2


@pytest.mark.parametrize("what", ["lit", "hits"])
def test_a_wrong_answer_is_noticed(case, what):
    broken = case.lit + 1 if what == "lit" else ~case.hits
    stage = EngineStage(dataclasses.replace(case, **{what: broken}), backends.get("cpu"), stages.CHAIN)
    stage.run()
    with pytest.raises(WrongAnswer):
        stage.check()


def test_a_wrong_profile_is_noticed(case, monkeypatch):
    stage = EngineStage(case, backends.get("cpu"), stages.CHAIN)
    stage.run()
    stage.results[0].profiles.intensity[:] *= 1.01
    with pytest.raises(WrongAnswer, match="profile"):
        stage.check()


def ran(measured):
    """Return a peer after a run, its answer checked; skip where it is not installed."""
    if measured is None:
        pytest.skip("this peer is not installed: pip install EXtra-data EXtra-redu pyFAI")
    measured.run()
    measured.check()
    return measured


@pytest.fixture(scope="module")
def frames(case):
    return Calibrated.of(case)


def test_numpy_counts_the_same(case):
    peer = ran(numpy_peer(case))
    assert (peer.peer_of, peer.version) == ("lit", np.__version__)
    wrong = numpy_peer(dataclasses.replace(case, lit=case.lit + 1))
    wrong.run()
    with pytest.raises(WrongAnswer, match="NumPy"):
        wrong.check()


def test_pyfai_integrates_flat_frames(case):
    assert ran(pyfai_peer(case)).peer_of == "profile"


@pytest.mark.parametrize("number", [0, 1])
def test_files_hold_the_words(case, tmp_path, number):
    """Read by us, and by EXtra-data."""
    found = reading(case, tmp_path, peers=True)
    if number == len(found):
        pytest.skip("EXtra-data is not installed")
    measured = ran(found[number])
    assert measured.peer_of == ["", "reading files"][number]
    assert measured.shots == case.shots
    case.raw[0, 0, 0, 0] ^= 1
    try:
        with pytest.raises(WrongAnswer, match="other words"):
            measured.check()
    finally:
        case.raw[0, 0, 0, 0] ^= 1


def test_few_trains_are_written(case, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 1)
    thrice = {name: np.repeat(getattr(case, name), 3, axis=0) for name in ("raw", "lit", "hits")}
    three = dataclasses.replace(case, **thrice)
    [measured] = reading(three, tmp_path, peers=False)
    assert 3 * ran(measured).shots == three.shots


def test_corrected_frames_have_the_same_lit_pixels(frames, backend_name):
    measured = ran(corrected_lit(frames, backends.get(backend_name)))
    measured.close()


def test_extra_redu_counts_the_same(frames):
    pytest.importorskip("sharedmem", reason="EXtra-redu's counter needs it")
    peer = ran(extra_redu_peer(frames))
    assert peer.peer_of == ran(corrected_lit(frames, backends.get("cpu"))).name
    frames.case.lit[:] += 1
    with pytest.raises(WrongAnswer, match="EXtra-redu"):
        peer.check()
    frames.case.lit[:] -= 1


def test_om_finds_the_spots(frames):
    peers = om_peers(frames)
    if not peers:
        pytest.skip(f"{om_peer.VARIABLE} names no Python that has OM")
    assert [ran(peer).peer_of for peer in peers] == ["peaks", "peaks"]
    for peer in peers:
        peer.close()


def test_an_om_that_is_named_and_missing_is_an_error(frames, monkeypatch):
    monkeypatch.setenv(om_peer.VARIABLE, "/no/such/python")
    with pytest.raises(BadInput, match="cannot be run"):
        om_peers(frames)
    monkeypatch.delenv(om_peer.VARIABLE)
    assert om_peers(frames) == []


def test_a_report_has_every_stage_and_survives_json(report, tmp_path):
    names = [row["stage"] for row in report["rows"]]
    assert names[: len(stages.SECTIONS)] == list(stages.SECTIONS)
    assert "reading files" in names
    told = {row["stage"]: (row["peer_of"], row["version"]) for row in report["rows"]}
    assert told["lit"] == ("", "")
    assert told["lit, NumPy, one thread"] == ("lit", np.__version__)
    assert {"read", "copy"} <= report["rates"]["AGIPD1M"].keys()
    for row in report["rows"]:
        assert row["shots_per_s"] >= row["median_shots_per_s"] > 0
        assert row["spread"] >= 0
        assert row["of_detector"] == pytest.approx(row["shots_per_s"] / 3520)
    assert [late["stage"] for late in report["latency"]] == ["lit", "chain"]
    assert all(0 < late["p50_ms"] <= late["p99_ms"] for late in report["latency"])
    save(report, tmp_path / "a.json")
    again = load(tmp_path / "a.json")
    assert again.keys() == report.keys()
    assert again["rows"][0]["shots_per_s"] == pytest.approx(report["rows"][0]["shots_per_s"], rel=1e-3)
    assert tables(again).renderables
    faster = json.loads(json.dumps(again))
    faster["rows"][0]["shots_per_s"] *= 2
    faster["rows"].pop()
    table = compare(again, faster)
    ratios = list(table.columns[4].cells)
    assert (ratios[0], ratios[-1]) == ("2.00", "-")


def test_device_rates_are_measured_where_there_is_a_device(backend_name):
    from shotsieve.bench.machine import copies

    found = copies(backends.get(backend_name), 1 << 16)
    for function, moved in found.values():
        function()
        assert moved >= 1 << 16
    expected = {"copy"} if backend_name == "cpu" else {"copy", "to device", "to host", "device copy"}
    assert found.keys() == expected


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(run.__kwdefaults__, "copy_bytes", 1 << 20)
    args = ["bench", "--backend", "cpu", "-d", "AGIPD1M", "--modules", "1", "--cells", "2", "--trains", "1"]
    file, picture = tmp_path / "b.json", tmp_path / "b.png"
    pytest.importorskip("matplotlib")
    assert main([*args, "--rounds", "1", "--no-peers", "--json", str(file), "--plot", str(picture)]) == 0
    told = capsys.readouterr()
    assert "chain" in told.out
    assert "shots/s" in told.out
    assert "AGIPD1M: making" in told.err
    assert picture.read_bytes()[1:4] == b"PNG"
    assert main([*args, "--rounds", "1", "--no-peers", "--compare", str(file)]) == 0
    assert "ratio" in capsys.readouterr().out
    assert main(["bench", "--show", "--compare", str(file)]) == 0
    assert load(file)["backend"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-d", "PILATUS"], "no detector 'PILATUS'"),
        (["--modules", "17", "-d", "AGIPD1M"], "17 modules"),
        (["--rounds", "0"], "--rounds 0"),
        (["--show"], "--compare FILE"),
        (["--json", "/no/such/folder/x.json"], "there is no folder"),
    ],
)
def test_bad_input(args, words, capsys):
    assert main(["bench", "--backend", "cpu", *args]) != 0
    assert words in capsys.readouterr().err


def test_nothing_is_measured_where_one_detector_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr("shotsieve.bench.run.make_case", lambda *_: pytest.fail("measured"))
    assert main(["bench", "--backend", "cpu", "-d", "AGIPD1M", "-d", "PILATUS"]) != 0
    assert "no detector 'PILATUS'" in capsys.readouterr().err


def test_files_that_are_no_reports(tmp_path):
    for text in ("[]", "{", '{"format": "shotsieve bench", "version": 99}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(BadInput, match="no report of shotsieve bench"):
            load(tmp_path / "x.json")


def test_cases_are_the_same_again(tmp_path):
    one, other = (make_case("AGIPD1M", tmp_path, **SMALL, seed=3) for _ in range(2))
    assert np.array_equal(one.raw, other.raw)
    assert not np.array_equal(one.raw, make_case("AGIPD1M", tmp_path, **SMALL, seed=4).raw)
