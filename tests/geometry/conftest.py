"""Geometry files small enough to check by hand."""

from __future__ import annotations

import pytest

HEAD = """\
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs
res = 5000
clen = 0.2
photon_energy = 9300
"""
PANEL = """\
{name}/min_fs = {min_fs}
{name}/max_fs = {max_fs}
{name}/min_ss = {min_ss}
{name}/max_ss = {max_ss}
{name}/corner_x = {x}
{name}/corner_y = {y}
{name}/fs = {fs}
{name}/ss = {ss}
"""


def panel(name="p0", *, ss=(0, 3), fs=(0, 7), at=(10, -20), fs_vec="+1.0x +0.0y", ss_vec="+0.0x +1.0y"):
    """The lines of one panel."""
    return PANEL.format(
        name=name,
        min_fs=fs[0],
        max_fs=fs[1],
        min_ss=ss[0],
        max_ss=ss[1],
        x=at[0],
        y=at[1],
        fs=fs_vec,
        ss=ss_vec,
    )


@pytest.fixture
def lines():
    """Return a maker of one panel's lines."""
    return panel


@pytest.fixture
def head():
    """Return the lines that hold for all panels: slab layout, 200 um pixels."""
    return HEAD


@pytest.fixture
def two():
    """Return a slab of two panels of 4 x 8 pixels, one below the other."""
    return HEAD + panel("p0") + panel("p1", ss=(4, 7), at=(10.5, 30), fs_vec="-y", ss_vec="x")


@pytest.fixture
def four_d():
    """Return two modules of one panel each, told apart by an index."""
    top = HEAD.replace("dim1 = ss", "dim2 = ss").replace("dim2 = fs", "dim3 = fs")
    return top + "a/dim1 = 0\n" + panel("a") + "b/dim1 = 1\n" + panel("b", at=(100, 100))
