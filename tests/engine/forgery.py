"""Outputs that somebody changed who knows how: with all checksums, and all that is said in several places."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
from shotsieve.write.ledger import Ledger


def forge(out: Path) -> None:
    """Write a new ledger over whatever the output is now."""
    old = json.loads((out / "shotsieve/ledger.json").read_text())
    counts = json.loads((out / "shotsieve/accounts.json").read_text())
    made = Ledger.make(out, old["inputs"], {name: counts[name] for name in old["accounts"]})
    (out / "shotsieve/ledger.json").write_text(made.dumps())


def swap_words(out: Path, *pairs: tuple[str, str]) -> None:
    """Change what the output says it was made with, everywhere."""

    def swapped(text: str) -> str:
        for old, new in pairs:
            text = text.replace(old, new)
        return text

    for path in [*out.glob("shotsieve/*.json"), out / "shotsieve/recipe.toml"]:
        path.write_text(swapped(path.read_text()))
    for path in out.glob("*.h5"):
        with h5py.File(path, "r+") as file:
            for dataset in datasets(file["RUN"]):
                if h5py.check_string_dtype(dataset.dtype):
                    texts = dataset.asstr()[()]
                    dataset[...] = np.array([swapped(text) for text in texts.ravel()], object).reshape(
                        texts.shape
                    )
            for name, value in list(file.attrs.items()):
                if isinstance(value, str):
                    file.attrs[name] = swapped(value)
                elif value.dtype.kind == "O":
                    texts = np.array([swapped(text) for text in value], object)
                    file.attrs.create(name, texts, dtype=h5py.string_dtype())
    fit_bytes(out)
    forge(out)


def fit_bytes(out: Path) -> None:
    """Let the accounts tell the sizes that the data files have now."""
    path = out / "shotsieve/accounts.json"
    told = json.loads(path.read_text())
    told["bytes_out"] = sum(file.stat().st_size for file in out.glob("*.h5"))
    told["ratio"] = told["bytes_in"] / told["bytes_out"]
    path.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")


def datasets(group: h5py.Group) -> list[h5py.Dataset]:
    """Return every dataset below a group."""
    found: list[h5py.Dataset] = []
    group.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found
