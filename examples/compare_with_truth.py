"""Hold a reduced demo run against the truth of its simulation: which hits were kept, and which misses.

Usage: python examples/compare_with_truth.py demo
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import shotsieve


def main(folder: Path) -> int:
    """Print the comparison; the exit status says whether a hit that stands out of the background was lost."""
    table = shotsieve.Table.open(folder / "red" / "r0001" / "shotsieve" / "table.h5")
    with h5py.File(folder / "truth.h5") as truth:
        hit = truth["hit"][()].astype(bool)
        signal = (truth["lit_expected"][()] - truth["background_lit_expected"][()]).sum(axis=1)
        background = truth["background_lit_expected"][()].sum(axis=1)
    kept = table.fate == 0
    # How far a hit's lit pixels stand above the Poisson noise of the background under them.
    sigmas = np.divide(signal, np.sqrt(background), out=np.zeros_like(signal), where=background > 0)
    clear = hit & (sigmas >= 5)
    print(f"true hits           {hit.sum():4d}   kept {np.sum(hit & kept)}")
    print(f"  above 5 sigma     {clear.sum():4d}   kept {np.sum(clear & kept)}")
    print(f"misses              {np.sum(~hit):4d}   kept {np.sum(~hit & kept)}")
    return 0 if (kept | ~clear).all() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
