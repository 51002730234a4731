"""How much memory it takes to make constants of dark runs, and how many modules fit into it at a time.

The bytes are those of the arrays that are alive at the worst moment of each step, as
``tests/darks/test_memory.py`` measures them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..constants.layout import DTYPES, gain_axis
from ..errors import BadInput
from ..measure.darks import ROWS_AT_ONCE, accumulator_bytes
from ..memory import half_of_memory
from .collect import SLOTS, Gate
from .gains import Gains
from .runs import DarkRun

SHARE_OF_BLOCKS = 1 / 4
SCRATCH = 48  # bytes for each pixel of the cells that are worked on at a time
OVERHEAD = 64 << 20
"""What the file that is written and the lists of frames take, whatever the sizes."""


def given_bytes(gigabytes: float | None) -> int:
    """Return the bytes that may be taken; None is half of the machine's memory.

    Examples
    --------
    >>> given_bytes(1.5)
    1500000000
    """
    return half_of_memory() if gigabytes is None else int(gigabytes * 1e9)


@dataclass(frozen=True)
class Need:
    """What making constants takes.

    Attributes
    ----------
    runs : sequence of DarkRun
    modules, n_cells : int
        All modules, not those at a time.
    gate : Gate or None
    gains : Gains or None
    block_bytes : int
        Raw words in flight in one slot.
    without_mode : bool
        Whether the noise is summed once more, without the common mode of banks.
    """

    runs: Sequence[DarkRun]
    modules: int
    n_cells: int
    gate: Gate | None = None
    gains: Gains | None = None
    block_bytes: int = 256 << 20
    without_mode: bool = False

    def sums(self) -> int:
        """Return the bytes of the sums of one module."""
        pixels, gated = self.runs[0].source.detector.pixels, self.gate is not None
        return max(accumulator_bytes(self.n_cells, pixels, run.words, gated) for run in self.runs)

    def bytes(self, modules: int) -> int:
        """Return the bytes of so many modules at a time, at the worst moment."""
        detector, has_levels = self.runs[0].source.detector, self.runs[0].words.has_levels
        size = self.n_cells * detector.pixels
        # Mean, deviation and two counts of a stage; the same of levels; those outside the gate.
        stage = size * (16 + 8 * has_levels + 4 * (self.gate is not None))
        others = modules * (len(self.runs) - 1) * stage
        frame = detector.pixels * detector.plane_count * 2
        shots = max(len(run.source.shots) for run in self.runs)
        blocks = SLOTS * modules * frame * max(1, min(shots, self.block_bytes // (modules * frame)))
        gated = 0
        if self.gate is not None:  # its frames, and those of one module sorted
            frames = min(self.gate.frames * self.n_cells, max(self.gate.frames, blocks // (modules * frame)))
            gated = frames * modules * frame + self.gate.frames * (frame + 10 * detector.pixels)
        scratch = SCRATCH * detector.pixels
        # The squares are zeros before they are sums; then sums are fetched while others become values.
        summing = modules * (self.sums() + 8 * size) + max(blocks, gated)
        fetching = modules * (self.sums() + size * (36 if has_levels else 24))
        fetching += scratch * min(self.n_cells, ROWS_AT_ONCE)
        # Offset, noise and count of all, their table and whole numbers, sums, and what is made of them.
        again = modules * (stage + size * 84) + max(blocks, gated) if self.without_mode else 0
        # Offset, noise, bits; levels, their noise and thresholds; and what leads there.
        stages = detector.stages
        made = size * (12 * stages + (8 * stages + 4 * (stages - 1)) * has_levels) + self._gains(size)
        finishing = modules * stage + made + size * (44 if has_levels else 30) + scratch
        return OVERHEAD + others + max(summing, fetching, again, finishing) + self._linear(modules)

    def _gains(self, size: int) -> int:
        """Return the bytes of the gains of a module, and of its other bits."""
        if self.gains is None:
            return 0
        names = [name for name in self.gains.told["names"] if name != "linearisation"]
        axes = [max(gain_axis(self.runs[0].source.detector, name)) for name in names]
        return size * 4 * (sum(axes) + 2 * self.runs[0].source.detector.stages)

    def _linear(self, modules: int) -> int:
        """Return the bytes of tables of linearisation: of all modules, and of those that are read, twice."""
        if self.gains is None or self.gains.linear() is None:
            return 0
        detector, name = self.runs[0].source.detector, "linearisation"
        each = max(gain_axis(detector, name)) * DTYPES[name].itemsize * self.n_cells * detector.pixels
        return (self.modules + 2 * modules) * each

    def at_a_time(self, most_bytes: int) -> int:
        """Return how many modules fit into memory at a time.

        Raises
        ------
        BadInput
            If not even one does.
        """
        fitting = (number for number in range(self.modules, 0, -1) if self.bytes(number) <= most_bytes)
        if (found := next(fitting, 0)) == 0:
            one, given = f"{self.bytes(1) / 1e9:.2f} GB", f"{most_bytes / 1e9:.2f} GB"
            raise BadInput(
                f"dark: with what is made of them the sums of one module with {self.n_cells} memory cells "
                f"take {one}, and {given} are for them (--memory): take a machine with more, or runs of "
                "fewer cells"
            )
        return found
