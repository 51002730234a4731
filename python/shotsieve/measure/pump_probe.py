"""Pump-probe differences: which shots are pumped, and averages of what was measured with and without."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .average import ProfileAverage
from .state import State, joined, under
from .value_bins import bin_of, check_edges, middles

MODES = ("laser", "same_train", "even_train_on", "odd_train_on", "reference_as_off")
NEITHER, OFF, ON, DARK = -1, 0, 1, 2
"""What a shot is to the difference."""

_PROBED, _PUMPED, _NO_XRAY = 1, 3, (0, 2)  # values of the column pump_state


@dataclass(frozen=True)
class PumpProbeParams:
    """How shots are told apart; what a recipe's ``[measure.pump_probe]`` says.

    Attributes
    ----------
    mode : {"laser", "same_train", "even_train_on", "odd_train_on", "reference_as_off"}
        By the column ``pump_state``; or, as EXtra-foam names them, by the place of a shot in its train, by
        the parity of the trainId too, or all on against a reference.
    on, off : str
        Slices of places in the train, such as ``"0::2"``; `off` is not used by the last mode.
    edges : tuple of float or None
        Edges of the bins of the delay; None makes a bin of each value.

    Raises
    ------
    BadInput
        If a value is not allowed.
    """

    mode: str = "laser"
    on: str = ":"
    off: str = ":"
    edges: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise BadInput(f"mode = {self.mode!r}: expected one of {', '.join(MODES)}")
        places = {name: _slice(getattr(self, name), name) for name in ("on", "off")}
        if self.mode == "same_train":
            both = [set(range(*where.indices(10_000))) for where in places.values()]
            if both[0] & both[1]:
                raise BadInput(
                    f'mode = "same_train": on = "{self.on}" and off = "{self.off}" share shots; expected '
                    'slices without a common place, such as "0::2" and "1::2"'
                )
        if self.edges is not None:
            check_edges(self.edges, "delay_bins")

    def states(
        self, train_id: np.ndarray, pump_state: np.ndarray | None, xray: np.ndarray | None
    ) -> np.ndarray:
        """Return what every shot of a run is to the difference.

        Parameters
        ----------
        train_id : ndarray of uint64, shape (S,)
            Sorted; every recorded shot of the run once, so that places in the train are right.
        pump_state, xray : ndarray of float64, shape (S,), or None
            Columns of the table; NaN unknown. Shots that saw no X-rays are dark, whatever the mode; one of
            which it is not known counts as lit, but in the mode of the laser.

        Returns
        -------
        ndarray of int8, shape (S,)
            `ON`, `OFF`, `DARK`, or `NEITHER`, also where it is not known.

        Raises
        ------
        BadInput
            If the mode needs a column that there is not.

        Examples
        --------
        >>> PumpProbeParams("even_train_on").states(np.array([6, 7]), None, None).tolist()
        [1, 0]
        """
        state = np.full(len(train_id), NEITHER, np.int8)
        if self.mode == "laser":
            if pump_state is None:
                raise BadInput(
                    'mode = "laser": the run does not tell which shots the laser pumped; name another mode'
                )
            state[pump_state == _PROBED], state[pump_state == _PUMPED] = OFF, ON
            state[np.isin(pump_state, _NO_XRAY)] = DARK
        place = _place_in_train(train_id)
        chosen_on, chosen_off = (_chosen(place, _slice(text, "")) for text in (self.on, self.off))
        if self.mode == "laser":
            state[((state == ON) & ~chosen_on) | ((state == OFF) & ~chosen_off)] = NEITHER
            return state
        even = train_id % 2 == 0
        if self.mode == "even_train_on":
            chosen_on, chosen_off = chosen_on & even, chosen_off & ~even
        elif self.mode == "odd_train_on":
            chosen_on, chosen_off = chosen_on & ~even, chosen_off & even
        if self.mode != "reference_as_off":
            state[chosen_off] = OFF
        state[chosen_on] = ON
        if xray is not None:
            state[xray == 0] = DARK
        return state

    def bin_of(self, delay: np.ndarray | None, shots: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the bins of the delay and which each shot belongs to.

        Parameters
        ----------
        delay : ndarray of float64, shape (S,), or None
            None makes one bin of all.
        shots : int

        Returns
        -------
        centres : ndarray of float64, shape (D,)
            The value, or the middle of the bin; NaN where there is no delay.
        bin : ndarray of int64, shape (S,)
            -1 outside of all bins, and where the delay is not known.

        Examples
        --------
        >>> PumpProbeParams(edges=(0, 1, 2)).bin_of(np.array([0.2, 1.0, 2.0, 3.0]), 4)[1].tolist()
        [0, 1, 1, -1]
        """
        if delay is None:
            return np.full(1, np.nan), np.zeros(shots, np.int64)
        if self.edges is None:
            values = np.unique(delay[~np.isnan(delay)])
            where = np.minimum(np.searchsorted(values, delay), max(len(values) - 1, 0))
            return values, np.where(np.isnan(delay), -1, where)
        return middles(self.edges), bin_of(delay, self.edges)


@dataclass(frozen=True)
class Difference:
    """Averages with and without the pump; arrays of shape (D, n), D bins of the delay.

    Attributes
    ----------
    on, off : ndarray of float64
        Averages; NaN where no shot was.
    difference, relative : ndarray of float64
        on - off; (on - off) / off.
    on_errors, off_errors, difference_errors, relative_errors : ndarray of float64
        Standard errors, from the differences between shots; with fewer than two shots of a kind from the
        errors of the shots, NaN where they have none. On and off are taken as independent.
    on_shots, off_shots : ndarray of int64
        Shots that filled each value.
    """

    on: np.ndarray
    off: np.ndarray
    difference: np.ndarray
    relative: np.ndarray
    on_errors: np.ndarray
    off_errors: np.ndarray
    difference_errors: np.ndarray
    relative_errors: np.ndarray
    on_shots: np.ndarray
    off_shots: np.ndarray

    @classmethod
    def of(
        cls,
        on: np.ndarray,
        off: np.ndarray,
        on_errors: np.ndarray,
        off_errors: np.ndarray,
        on_shots: np.ndarray,
        off_shots: np.ndarray,
    ) -> Difference:
        """Work out the differences of two averages that are independent."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = on / off
            # Of on / off, written so that nothing is divided by what may be 0 beside off itself.
            error = np.hypot(on_errors / off, ratio * off_errors / off)
        both = np.hypot(on_errors, off_errors)
        return cls(
            on, off, on - off, ratio - 1.0, on_errors, off_errors, both, np.abs(error), on_shots, off_shots
        )


class _Kind:
    """Sums over the shots of one kind, with what a background that does not scale with the monitor needs."""

    def __init__(self, n: int, estimator: str) -> None:
        self.average = ProfileAverage(n, estimator)
        self.plain = np.zeros(n)

    def add(self, signal: np.ndarray, norm: np.ndarray, monitor: float, variance: np.ndarray | None) -> None:
        scaled = norm * monitor
        self.average.add(signal, scaled, variance)
        here = scaled > 0
        if self.average.estimator == "mean_of_ratios":
            self.plain += np.where(here, norm / np.where(here, scaled, 1.0), 0.0)
        else:
            self.plain += np.where(here, norm, 0.0)

    def snapshot(self) -> State:
        return {"plain": self.plain, **joined(average=self.average.snapshot())}

    def restore(self, state: State) -> None:
        self.plain = state["plain"].copy()
        self.average.restore(under(state, "average"))

    def result(self, dark: tuple[np.ndarray, np.ndarray] | None):
        """Average, its errors and the number of shots, after the dark signal was subtracted."""
        found = self.average.result()
        errors = np.where(np.isnan(found.spread), found.errors, found.spread)
        if dark is None:
            return found.intensity, errors, found.shots
        weight = self.average.sums[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = self.plain / weight
        return found.intensity - factor * dark[0], np.hypot(errors, factor * dark[1]), found.shots


class PumpProbe:
    """Averages of a vector (a profile, regions, a spectrum) over pumped and other shots, by delay.

    Parameters
    ----------
    n : int
        Values of the vector.
    delays : int
        Bins of the delay.
    estimator : {"ratio_of_sums", "mean_of_ratios"}
    subtract_dark : bool
        Subtract the average of the dark shots, which is not divided by the monitor.
    reference : ndarray of float64, shape (n,), or None
        What stands for the average without the pump.

    Notes
    -----
    Promise: reproducible; shots are added one by one in the order of the run. A background B of a pixel that
    does not scale with the pulse energies E turns sum(y) / sum(E) into sum(y - B) / sum(E).

    Examples
    --------
    >>> sums = PumpProbe(1, 1)
    >>> for state, signal in ((OFF, 2.0), (ON, 3.0), (OFF, 2.0)):
    ...     sums.add(state, 0, np.array([signal]), np.ones(1))
    >>> sums.result().relative.tolist()
    [[0.5]]
    """

    def __init__(
        self,
        n: int,
        delays: int,
        estimator: str = "ratio_of_sums",
        subtract_dark: bool = False,
        reference: np.ndarray | None = None,
    ) -> None:
        self.n, self.delays, self.estimator = n, delays, estimator
        self.reference = reference
        self._kinds: dict[tuple[int, int], _Kind] = {}
        self._dark = ProfileAverage(n) if subtract_dark else None

    def add(
        self,
        state: int,
        delay: int,
        signal: np.ndarray,
        norm: np.ndarray,
        monitor: float = 1.0,
        variance: np.ndarray | None = None,
    ) -> None:
        """Add a shot.

        Parameters
        ----------
        state, delay : int
            See `PumpProbeParams`; a shot that is neither, or outside of all bins, is left out.
        signal, norm : ndarray of float64, shape (n,)
            A value is signal / norm; one with a norm that is not above 0 is left out.
        monitor : float
            What values are divided by; a shot where it is not above 0 is left out, but a dark one.
        variance : ndarray of float64, shape (n,), or None
            Of the signal.
        """
        if state == DARK:
            if self._dark is not None:
                self._dark.add(signal, norm, variance)
        elif state in (ON, OFF) and delay >= 0 and monitor > 0:
            key = (state, delay)
            if key not in self._kinds:
                self._kinds[key] = _Kind(self.n, self.estimator)
            self._kinds[key].add(signal, norm, monitor, variance)

    def snapshot(self) -> State:
        """Return all sums; `restore` goes on from them."""
        dark = {} if self._dark is None else self._dark.snapshot()
        kinds = {f"{state}_{delay}": kind.snapshot() for (state, delay), kind in self._kinds.items()}
        return joined(dark=dark, **kinds)

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        if self._dark is not None:
            self._dark.restore(under(state, "dark"))
        self._kinds = {}
        for name in dict.fromkeys(key.partition("/")[0] for key in state):
            if name != "dark":
                kind, delay = map(int, name.split("_"))
                self._kinds[kind, delay] = _Kind(self.n, self.estimator)
                self._kinds[kind, delay].restore(under(state, name))

    def result(self) -> Difference:
        """Return the averages of all shots that were added."""
        dark = None
        if self._dark is not None:
            found = self._dark.result()
            dark = found.intensity, np.where(np.isnan(found.spread), found.errors, found.spread)
        parts = {}
        for state in (ON, OFF):
            rows = [self._row(state, delay, dark) for delay in range(self.delays)]
            parts[state] = [np.stack(arrays) for arrays in zip(*rows, strict=True)]
        (on, on_errors, on_shots), (off, off_errors, off_shots) = parts[ON], parts[OFF]
        return Difference.of(on, off, on_errors, off_errors, on_shots, off_shots)

    def _row(self, state: int, delay: int, dark):
        if state == OFF and self.reference is not None:
            return self.reference, np.zeros(self.n), np.zeros(self.n, np.int64)
        found = self._kinds.get((state, delay))
        if found is None:
            nothing = np.full(self.n, np.nan)
            return nothing, nothing, np.zeros(self.n, np.int64)
        return found.result(dark)


def _place_in_train(train_id: np.ndarray) -> np.ndarray:
    starts = np.flatnonzero(np.concatenate([[True], train_id[1:] != train_id[:-1]]))[: len(train_id)]
    lengths = np.diff(np.append(starts, len(train_id)))
    return np.arange(len(train_id)) - np.repeat(starts, lengths)


def _chosen(place: np.ndarray, where: slice) -> np.ndarray:
    places = np.arange(int(place.max(initial=-1)) + 1)
    return np.isin(place, places[where])


def _slice(text: str, name: str) -> slice:
    """Read a slice as Python writes it; negative places would depend on the length of each train."""
    try:
        numbers = [int(part) if part.strip() else None for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] is not None and numbers[0] >= 0:
        return slice(numbers[0], numbers[0] + 1)
    if not 2 <= len(numbers) <= 3 or any(n is not None and n < 0 for n in numbers) or 0 in numbers[2:]:
        raise BadInput(f'{name} = "{text}": expected a slice of places in the train, such as "0::2" or "3"')
    return slice(*numbers)
