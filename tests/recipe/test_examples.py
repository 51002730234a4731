"""The recipes of examples/ are right, so that a user can start from them."""

from pathlib import Path

import pytest
from shotsieve.recipe import Recipe

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads(path):
    recipe = Recipe.load(path)
    assert recipe.keep is not None
    assert recipe.write is not None


def test_there_are_examples():
    assert {"spi.toml", "sfx.toml", "saxs.toml"} <= {path.name for path in EXAMPLES}
