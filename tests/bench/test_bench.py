"""`shotsieve bench`: its words hold what its answers must find, and a wrong answer is no time."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from shotsieve import backend as backends
from shotsieve.bench import stages
from shotsieve.bench.cases import KINDS, make_case
from shotsieve.bench.report import compare, tables
from shotsieve.bench.run import load, run, save
from shotsieve.bench.stages import EngineStage, WrongAnswer, measured_stage, numpy_peer, pyfai_peer
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


def test_peers_compute_the_same(case):
    peer = numpy_peer(case)
    peer.run()
    peer.check()
    wrong = numpy_peer(dataclasses.replace(case, lit=case.lit + 1))
    wrong.run()
    with pytest.raises(WrongAnswer, match="NumPy"):
        wrong.check()
    pytest.importorskip("pyFAI")
    peer = pyfai_peer(case)
    peer.run()
    peer.check()


def test_a_report_has_every_stage_and_survives_json(report, tmp_path):
    names = [row["stage"] for row in report["rows"]]
    assert names[: len(stages.SECTIONS)] == list(stages.SECTIONS)
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


def test_the_command(tmp_path, capsys):
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


def test_files_that_are_no_reports(tmp_path):
    for text in ("[]", "{", '{"format": "shotsieve bench", "version": 99}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(BadInput, match="no report of shotsieve bench"):
            load(tmp_path / "x.json")


def test_cases_are_the_same_again(tmp_path):
    one, other = (make_case("AGIPD1M", tmp_path, **SMALL, seed=3) for _ in range(2))
    assert np.array_equal(one.raw, other.raw)
    assert not np.array_equal(one.raw, make_case("AGIPD1M", tmp_path, **SMALL, seed=4).raw)
