"""What every file of curves and maps has to be for a reader of NeXus."""

from __future__ import annotations

import h5py


def check_nexus(path):
    """Every NXdata has its signal, axes as long as it, and errors of its shape; return their names."""
    with h5py.File(path) as file:
        assert file.attrs["default"] == "entry"
        entry = file["entry"]
        assert entry.attrs["NX_class"] == "NXentry"
        assert entry[entry.attrs["default"]].attrs["NX_class"] == "NXdata"
        found = [name for name, group in entry.items() if group.attrs.get("NX_class") == "NXdata"]
        for name in found:
            group = entry[name]
            signal, axes = group.attrs["signal"], list(group.attrs["axes"])
            assert group[signal].ndim == len(axes), name
            for k, axis in enumerate(axes):
                assert axis == "." or len(group[axis]) == group[signal].shape[k], (name, axis)
            if f"{signal}_errors" in group:
                assert group[f"{signal}_errors"].shape == group[signal].shape, name
        return found
