"""HDF5 filters that h5py does not bring: bitshuffle, which the package hdf5plugin registers."""

from __future__ import annotations

from functools import cache
from typing import Any

from .errors import BadInput

BITSHUFFLE = {"bitshuffle-lz4": "lz4", "bitshuffle-zstd": "zstd"}
"""What is written only when it is asked for, and what bitshuffle calls the compressor behind it."""


COMPRESSIONS = ("none", "gzip", *BITSHUFFLE)


@cache
def register_plugins() -> bool:
    """Make h5py know the filters of hdf5plugin, for reading too; return whether that is installed.

    Examples
    --------
    >>> register_plugins() in (True, False)
    True
    """
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        return False
    return True


def bitshuffle_options(compression: str) -> dict[str, Any]:
    """Return what h5py's ``create_dataset`` takes for a compression of `BITSHUFFLE`.

    Parameters
    ----------
    compression : {"bitshuffle-lz4", "bitshuffle-zstd"}
        Blocks of the filter's own choice; zstd at the plugin's own level.

    Raises
    ------
    BadInput
        If hdf5plugin is not installed; the text says how to install it.

    Examples
    --------
    >>> bitshuffle_options("bitshuffle-lz4")["compression"]    # doctest: +SKIP
    32008
    """
    if not register_plugins():
        raise BadInput(
            f'compression = "{compression}" needs hdf5plugin, which is not installed here: pip install '
            '"shotsieve[bitshuffle]" (or pip install hdf5plugin), or take "gzip"'
        )
    import hdf5plugin

    return dict(hdf5plugin.Bitshuffle(cname=BITSHUFFLE[compression]))


def packing(compression: str) -> dict[str, bool | str]:
    """Return how each plane of a frame is compressed: not, shuffle and deflate (True), or as `BITSHUFFLE`.

    Parameters
    ----------
    compression : {"none", "gzip", "bitshuffle-lz4", "bitshuffle-zstd"}
        Of the pixel values; gain and mask always are compressed.

    Raises
    ------
    BadInput
        If it is another.

    Examples
    --------
    >>> packing("none")
    {'data': False, 'gain': True, 'mask': True}
    """
    if compression not in COMPRESSIONS:
        raise BadInput(f"compression is {compression!r}; expected one of {', '.join(COMPRESSIONS)}")
    if compression in BITSHUFFLE:
        return dict.fromkeys(("data", "gain", "mask"), compression)
    return {"data": compression == "gzip", "gain": True, "mask": True}
