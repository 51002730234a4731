"""Several detectors that do not fit together, and the command line."""

from __future__ import annotations

import json

import pytest
import shotsieve
from shotsieve.errors import BadInput

from .conftest import JF, RECIPE, changed, jungfrau


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (changed({"name": "AGIPD1M"}), "jf is SPB_DET_AGIPD1M-1, and so is the first one"),
        (changed(keep={"rule": "jf_lit_pixel > 3"}), "'jf_lit_pixel'. Did you mean 'jf_lit_pixels'"),
        (changed(keep={"rule": "jf_n_peaks > 3"}), "no column 'jf_n_peaks'"),
        (changed(select={"rule": "jf_lit_pixels > 3"}), r"\[select\] in the rule: .*before any is read"),
        (changed(derive={"jf_intensity": {"kind": "rank", "of": "intensity"}}), "jf_intensity is a column"),
        (changed({"calibrate": {"gain_mode": "adaptive", "constants": "none.h5"}}), r"jf: .*none.h5"),
        (changed({"measure": {"lit": {"threshold": "5 sigma"}}}), r"^\[\[detector\]\] jf: .*noise"),
        (changed(measure={"lit": {"threshold": "1 bar"}}), r"^(?!\[\[detector\]\])"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_said(run, places, recipe, says):
    constants = {"": run.constants[""]} if "none.h5" in says else run.constants
    with pytest.raises(BadInput, match=says):
        run.reduce(places / "out", recipe, constants=constants)
    assert not list(places.iterdir())


def test_constants_of_a_label_that_there_is_not(run, places):
    with pytest.raises(BadInput, match=r"constants for 'jg': .* has '', 'jf'"):
        run.reduce(places / "out", constants={**run.constants, "jg": "c.h5"})


def test_a_table_goes_with_one_detector(run, places):
    with pytest.raises(BadInput, match=r"--table .* goes with one detector"):
        run.reduce(places / "out", table=places / "table.h5")


def test_no_train_in_common(run, link_run, places):
    raw = link_run(run.raw, places / "r0001", "JNGFR")
    jungfrau(raw, 1, [5, 6], 5)
    with pytest.raises(BadInput, match=r"have no train in common: .* and 5 to 6"):
        shotsieve.reduce(raw, RECIPE, places / "out", constants=run.constants, backend="cpu")


def test_an_opened_detector_is_not_a_run(run, places):
    from shotsieve.sources.run import open_run

    with pytest.raises(BadInput, match="give the folder of the run"):
        shotsieve.reduce(open_run(run.raw, "AGIPD1M"), RECIPE, places / "out", constants=run.constants)
    with pytest.raises(BadInput, match=r"a second \[\[detector\]\]"):
        shotsieve.Engine(RECIPE, constants=run.constants[""])


def test_the_command_line_reduces_both(run, places, tmp_path, capsys):
    from shotsieve.cli import main
    from shotsieve.recipe import Recipe

    run.constants["jf"].save(tmp_path / "jf.h5", compression=None)
    path = tmp_path / "recipe.toml"
    path.write_text(Recipe.from_dict(RECIPE).dumps_toml())
    command = ["reduce", run.raw, "-o", places / "out", "-r", path, "--constants", run.constants[""]]
    command += ["--backend", "cpu", "--set", f"detector.jf.calibrate.constants={tmp_path / 'jf.h5'}"]
    assert main([str(word) for word in command]) == 0
    told = capsys.readouterr().out
    assert "AGIPD1M SPB_DET_AGIPD1M-1: 3 trains" in told
    assert f"jf: JUNGFRAU {JF}: " in told
    assert main([*map(str, command), "--overwrite", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kept"], answer["others"]["jf"]["kept"]) == (8, 2)
    command = ["check", places / "out", "--against", run.raw, "--constants", run.constants[""]]
    assert main([str(word) for word in [*command, "--backend", "cpu"]]) == 0
