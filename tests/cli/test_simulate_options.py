"""`shotsieve simulate`: options that mirror the parameters of the simulation."""

import dataclasses
import re
import textwrap

import pytest

click = pytest.importorskip("click")
cli = pytest.importorskip("shotsieve.cli")
cli_simulate = pytest.importorskip("shotsieve.cli_simulate")


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What can be asked.

    Attributes
    ----------
    trains, seed : int
        Numbers
        in two lines.
    cells : tuple of int, optional
        Memory cells.
    missed : tuple of (int, int)
        Pairs.
    span : (float, float)
        From, to.
    xgm : bool
        A switch.
    mode : str
        A word; span_all with `cells`, for the span.
    """

    trains: int = 12
    seed: int = 1
    cells: tuple[int, ...] | None = None
    missed: tuple[tuple[int, int], ...] = ()
    span: tuple[float, float] = (1.0, 2.0)
    xgm: bool = True
    mode: str = "adaptive"


def ask(*arguments):
    command = click.Command(
        "x", params=cli_simulate.options_of(Wishes), callback=lambda **values: Wishes(**values)
    )
    return command.main(list(arguments), standalone_mode=False)


def test_options_mirror_a_dataclass():
    assert ask() == Wishes()
    asked = ask("--trains", "3", "--cells", "0,2,5-7", "--missed", "3:0,5:1", "--span", "1e3,2e4", "--no-xgm")
    assert asked == Wishes(3, 1, (0, 2, 5, 6, 7), ((3, 0), (5, 1)), (1e3, 2e4), False)
    for wrong in (["--cells", "a"], ["--missed", "3"], ["--missed", "3:0:1"], ["--trains", "x"]):
        with pytest.raises(click.BadParameter):
            ask(*wrong)
    helps = {option.name: option.help for option in cli_simulate.options_of(Wishes)}
    assert helps["seed"] == helps["trains"] == "--trains, --seed: Numbers in two lines."
    assert helps["cells"] == "Memory cells."
    assert helps["mode"] == "A word; span_all with --cells, for the span."
    assert cli_simulate.Listed(int).convert("", None, None) == ()


def test_every_parameter_of_the_simulation_is_an_option():
    parameters = pytest.importorskip("shotsieve.simulate.parameters").SpiParameters
    options = cli_simulate.options_of(parameters)
    assert {option.name for option in options} == {field.name for field in dataclasses.fields(parameters)}
    helps = {option.name: option.help for option in options}
    assert all(helps.values())
    for name, text in helps.items():
        shared = text.startswith("--") and ": " in text
        assert not shared or f"--{name.replace('_', '-')}" in text.partition(": ")[0].split(", ")
        assert not any("_" in word and word in helps for word in re.findall(r"\w+", text))
    assert len(set(helps.values())) > len(helps) - 8  # five entries of the docstring are shared
    assert "unless --cell-ids says otherwise" in helps["n_cells"]


@pytest.mark.parametrize("indent", ["", "    "])
def test_help_texts_do_not_depend_on_the_indentation(indent):
    """The compiler of Python 3.13 takes it away."""
    text = "First.\n\n" + textwrap.indent(
        "Attributes\n----------\na, b_c : int\n    One `a`\n    two.\nd : int\n    Not b_c : so.\n\nRaises\n",
        indent,
    )
    assert cli_simulate._described(text) == {
        "a": "--a, --b-c: One --a two.",
        "b_c": "--a, --b-c: One --a two.",
        "d": "Not --b-c : so.",
    }


def test_every_option_has_a_help_text():
    def commands(command):
        yield command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                yield from commands(command.get_command(context, name))

    for command in commands(cli.cli):
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, (command.name, parameter.name)


def test_the_defaults_are_those_of_the_simulation():
    parameters = pytest.importorskip("shotsieve.simulate.parameters").SpiParameters
    options = cli_simulate.options_of(parameters)
    command = click.Command("spi", params=options, callback=lambda **values: parameters(**values))
    assert command.main([], standalone_mode=False) == parameters()
