"""The command line against a stand-in for the engine: what is asked, what is printed, how it ends."""

import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shotsieve
from shotsieve.accounts import Accounts
from shotsieve.errors import BackendUnavailable, OutputError

click = pytest.importorskip("click")
cli = pytest.importorskip("shotsieve.cli")
cli_simulate = pytest.importorskip("shotsieve.cli_simulate")

RECIPE = """
[calibrate]
constants = "c.h5"
[measure.lit]
[keep]
rule = "lit_pixels > 300"
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return str(path)


@pytest.fixture
def engine(monkeypatch):
    """Remembers what it was asked; raises `fault` if there is one."""
    fake = SimpleNamespace(calls=[], fault=None)

    def reduce(run, recipe, out, **options):
        fake.calls.append({"run": run, "recipe": recipe, "out": out, **options})
        if options["progress"]:
            options["progress"](1, 3, 10)
        if fake.fault:
            raise fake.fault
        accounts = Accounts(
            "AGIPD1M", "DET", trains=1, expected=3, kept=1, dropped=2, bytes_in=9, bytes_out=3
        )
        performance = {"backend": "cpu_v3", "run_s": 0.5}
        return SimpleNamespace(
            accounts=accounts,
            table=None,
            files=[Path(out) / "a.h5"],
            digest="0123",
            performance=performance,
            others={},
        )

    fake.reduce = reduce
    monkeypatch.setitem(sys.modules, "shotsieve.engine", fake)
    monkeypatch.setattr(shotsieve, "engine", fake, raising=False)
    return fake


def test_reduce_passes_everything_on(engine, recipe, capsys):
    options = ["--constants", "k.h5", "--backend", "cpu", "--overwrite", "--force", "--source", "X"]
    settings = [
        "--set",
        "keep.undecided=drop",
        "--set",
        "measure.lit.threshold=1.5 keV",
        "--set",
        "calibrate.cells = 64",
    ]
    assert cli.main(["reduce", "raw/r0001", "-o", "out", "--recipe", recipe, *options, *settings]) == 0
    (call,) = engine.calls
    assert call["run"] == Path("raw/r0001")
    assert call["out"] == Path("out")
    assert call["constants"] == Path("k.h5")
    assert (call["backend"], call["overwrite"], call["force"]) == ("cpu", True, True)
    assert call["progress"] is None  # nobody looks at standard error
    assert call["recipe"].detector.source == "X"
    assert call["recipe"].keep.undecided == "drop"
    assert call["recipe"].measure.lit.threshold.unit == "keV"
    assert call["recipe"].calibrate.cells == 64
    told = capsys.readouterr()
    assert "expected" in told.out
    assert "output        out, 1 file\n" in told.out
    assert told.err == ""


def test_defaults(engine, recipe):
    assert cli.main(["reduce", "run", "-o", "out", "--recipe", recipe]) == 0
    (call,) = engine.calls
    assert (call["constants"], call["backend"], call["overwrite"], call["force"]) == (
        None,
        "auto",
        False,
        False,
    )
    assert call["recipe"].keep.rule == "lit_pixels > 300"


def test_json_alone_on_standard_output(engine, recipe, capsys):
    assert cli.main(["reduce", "run", "-o", "out", "--recipe", recipe, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["expected"], answer["kept"], answer["ratio"]) == (3, 1, 3)
    assert answer["performance"] == {"backend": "cpu_v3", "run_s": 0.5}
    assert answer["files"] == [str(Path("out/a.h5"))]


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (BackendUnavailable("backend 'cuda' cannot be used: no usable GPU"), 1, "error: backend 'cuda'"),
        (OutputError("the disk is full"), 1, "error: the disk is full"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("calibrate_count: launch refused: out of\nmemory"), 1, "error: the device failed: cal"),
    ],
)
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_how_it_ends(engine, recipe, capsys, fault, status, said, as_json):
    engine.fault = fault
    assert cli.main(["reduce", "run", "-o", "out", "--recipe", recipe, *as_json]) == status
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.strip().startswith(said)
    assert "Traceback" not in told.err


def test_an_error_that_is_a_bug_keeps_its_traceback(engine, recipe):
    engine.fault = RuntimeError("dictionary changed size during iteration")
    with pytest.raises(RuntimeError, match="dictionary"):
        cli.main(["reduce", "run", "-o", "out", "--recipe", recipe])


def test_a_table_only_run_says_so(engine, recipe, capsys, monkeypatch):
    with_files = engine.reduce
    monkeypatch.setattr(
        engine, "reduce", lambda *a, **k: SimpleNamespace(**{**vars(with_files(*a, **k)), "files": []})
    )
    assert cli.main(["reduce", "run", "-o", "out", "--recipe", recipe]) == 0
    assert "output        out, table only\n" in capsys.readouterr().out


WAIT = """
    import sys, time
    import shotsieve.{module} as module
    from shotsieve.cli import main

    def wait(*given, **named):
        print("ready", flush=True)
        time.sleep(60)

    module.{name} = wait
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch")
@pytest.mark.parametrize(
    ("sent", "status", "said"), [("SIGTERM", 143, "terminated"), ("SIGINT", 130, "interrupted")]
)
@pytest.mark.parametrize("command", ["reduce", "simulate"])
def test_a_signal_cleans_up(tmp_path, command, sent, status, said):
    if command == "reduce":
        # The engine's own output folder is open when the signal comes.
        simulate = importlib.import_module("shotsieve.simulate")
        simulate.simulate_spi(tmp_path / "in", simulate.SpiParameters(n_trains=1, n_cells=2, modules=(0,)))
        (tmp_path / "in/r.toml").write_text('[calibrate]\n[measure.lit]\nthreshold = "0.7 photon"\n')
        code = WAIT.format(module="engine", name="run_branches")
        words = ["reduce", "in/raw/r0001", "-o", "deep/out", "-r", "in/r.toml", "--constants", "in/constants"]
        words += ["--backend", "cpu"]
    else:
        code = WAIT.format(module="simulate.spi", name="write_run")
        words = ["simulate", "spi", "out", "--n-trains", "1", "--n-cells", "1", "--modules", "0"]
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        child.send_signal(getattr(signal, sent))
        out, err = child.communicate(timeout=20)
    finally:
        child.kill()
    assert (child.returncode, out, err.strip()) == (status, "", said)
    assert not list(tmp_path.glob("deep"))
    assert [path for path in tmp_path.glob("out/**/*") if path.is_file()] == []


def test_the_handler_of_the_caller_comes_back(engine, recipe):
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["reduce", "run", "-o", "out", "--recipe", recipe]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "arguments",
    [
        ["reduce", "run"],
        ["reduce", "run", "-o", "out"],
        ["reduce", "run", "-o", "out", "--recipe", "r", "--backend", "gpu"],
        ["nonsense"],
        ["simulate", "nonsense"],
        ["reduce", "run", "-o", "out", "--recipe", "RECIPE", "--set", "keep"],
    ],
)
def test_a_wrong_command_line_is_2(engine, recipe, capsys, arguments):
    assert cli.main([recipe if part == "RECIPE" else part for part in arguments]) == 2
    assert engine.calls == []
    assert "Usage" in capsys.readouterr().err


def test_a_wrong_recipe_is_1(engine, recipe, capsys, tmp_path):
    assert cli.main(["reduce", "run", "-o", "out", "--recipe", str(tmp_path / "none.toml")]) == 1
    assert "none.toml cannot be read" in capsys.readouterr().err
    assert cli.main(["reduce", "run", "-o", "out", "--recipe", recipe, "--set", "keep.rul=x > 3"]) == 1
    assert "Did you mean 'rule'?" in capsys.readouterr().err
    assert engine.calls == []


def test_settings_are_toml_where_they_can_be():
    assert cli._setting("a.b=3") == ("a.b", 3)
    assert cli._setting("a.b=true") == ("a.b", True)
    assert cli._setting('a.b="3"') == ("a.b", "3")
    assert cli._setting("keep.rule = n == 3 and m > 2") == ("keep.rule", "n == 3 and m > 2")
    assert cli._setting("a.b=1\nc=2") == ("a.b", "1\nc=2")
    with pytest.raises(click.BadParameter):
        cli._setting("ab=3")


def test_a_bar_where_somebody_looks(engine, recipe, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main(["reduce", "run", "-o", "out", "--recipe", recipe]) == 0
    assert engine.calls[0]["progress"] is not None
    assert "expected" in capsys.readouterr().out


def test_info(capsys):
    pytest.importorskip("shotsieve.backend")
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert "AGIPD1M, " in text
    assert "JUNGFRAU" in text
    assert cli.main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"cpu", "cuda", "emu"} <= found["backends"].keys()
    assert all(status["available"] or status["detail"] for status in found["backends"].values())
    assert found["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["reduce", "-h"], ["constants", "--help"]])
def test_help_is_light(arguments):
    """Help must not wait for a device, pandas or EXtra-data."""
    code = (
        "import sys; from shotsieve.cli import main; assert main(sys.argv[1:]) == 0; "
        "heavy = {'rich', 'pandas', 'xarray', 'extra_data', 'cupy', 'h5py'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_python_m():
    done = subprocess.run(
        [sys.executable, "-m", "shotsieve", "reduce", "x", "-o", "y", "--recipe", "no/where.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the recipe")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


# ------------------------------------------------------------------ constants convert


def test_convert(monkeypatch, tmp_path, capsys):
    constants = pytest.importorskip("shotsieve.constants")

    class Fake:
        modules, cell_ids, names = (0, 1), np.arange(4), ("offset", "noise")

        @classmethod
        def open(cls, path):
            cls.path = path
            return cls()

        def save(self, path):
            Path(path).write_text("saved", encoding="utf-8")

    monkeypatch.setattr(constants, "Constants", Fake)
    out = tmp_path / "c.h5"
    assert cli.main(["constants", "convert", "store", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == "saved"
    assert "offset, noise; 2 modules, 4 cells" in capsys.readouterr().out
    assert cli.main(["constants", "convert", "store", str(out)]) == 1
    assert "exists" in capsys.readouterr().err
    assert cli.main(["constants", "convert", "store", str(out), "--overwrite"]) == 0
    assert cli.main(["constants", "convert", "store", str(tmp_path / "no" / "c.h5")]) == 1
