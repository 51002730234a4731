"""The machine's file of a simulated run: time server, pulse pattern decoder, XGM, lit-frame finder, delay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..sources.base import RunMeta
from ..write.exdf_file import ExdfFile
from .beam import BUNCH, CHARGE, XGM_FILL
from .geometry import HC_KEV_NM
from .parameters import SpiParameters
from .schedule import Schedule

DECODED_PULSES = 2700
LIT_FRAMES = 352


def device_names(p: SpiParameters) -> dict[str, str]:
    """Return the names of the machine's devices at an instrument, by what they are.

    Examples
    --------
    >>> device_names(SpiParameters())["time_server"]
    'SPB_RR_UTC/TSYS/TIMESERVER'
    """
    name, sase = p.instrument.name, p.instrument.sase
    return {
        "undulator": f"SA{sase}_XTD2_UND/DOOCS/ENERGY",
        "xgm": f"SA{sase}_XTD2_XGM/XGM/DOOCS",
        "time_server": f"{name}_RR_UTC/TSYS/TIMESERVER",
        "decoder": f"{name}_RR_SYS/MDL/PULSE_PATTERN_DECODER",
        "lit_frame_finder": f"{name}_{'IRU' if name == 'SPB' else 'EXP'}_{p.detector}1/REDU/LITFRM",
        "delay": f"{name}_LAS_DELAY/MOTOR/STAGE",
    }


def write_machine(path: Path, p: SpiParameters, schedule: Schedule, meta: RunMeta) -> None:
    """Write the file of the machine.

    Parameters
    ----------
    path : Path
    p, schedule, meta
        What to write.

    Examples
    --------
    >>> write_machine(Path("RAW-R0001-DA01-S00000.h5"), p, schedule, meta)  # doctest: +SKIP
    """
    names, one = device_names(p), np.ones(p.n_trains, np.int64)
    with ExdfFile(path, train_ids=schedule.train_id, timestamps=schedule.timestamp, meta=meta) as exdf:
        exdf.control(
            names["undulator"], {"actualPosition": np.float64(p.photon_energy_kev)}, "UndulatorEnergy"
        )
        if p.xgm:
            _xgm(exdf, names["xgm"], p, schedule)
        if p.time_server and p.pattern_source in ("pipeline", "control"):
            table = schedule.beam.words
            older = p.pattern_source == "control"
            values = {"bunchPatternTable": table} if older else {}
            exdf.control(names["time_server"], values, "TimeServer")
            if not older:
                group = exdf.instrument(f"{names['time_server']}:outputBunchPattern", "data", one)
                group["trainId"] = schedule.train_id
                group["bunchPatternTable"] = table
        if p.time_server and p.pattern_source == "decoder":
            exdf.control(names["decoder"], decoded(p, schedule.beam.words), "PulsePatternDecoder")
        if p.litfrm:
            _lit_frames(exdf, names["lit_frame_finder"], p, schedule)
        if p.delays:
            values = np.resize(np.array(p.delays, np.float64), p.n_trains)
            exdf.control(names["delay"], {"actualPosition": values}, "Motor")


def _xgm(exdf: ExdfFile, name: str, p: SpiParameters, schedule: Schedule) -> None:
    values = {
        "pulseEnergy.wavelengthUsed": np.float32(HC_KEV_NM / p.photon_energy_kev),
        "pulseEnergy.photonFlux": np.float32(p.pulse_energy_uj),
    }
    exdf.control(name, values, "DoocsXGM")
    beam = schedule.beam
    group = exdf.instrument(f"{name}:output", "data", np.ones(p.n_trains, np.int64))
    group["trainId"] = schedule.train_id
    group["intensityTD"] = beam.xgm
    group["intensitySigmaTD"] = np.where(
        beam.xgm == XGM_FILL, np.float32(XGM_FILL), beam.xgm * np.float32(0.01)
    )
    own, other = (1, 3) if p.instrument.sase == 1 else (3, 1)
    if p.instrument.sase == 2:
        return  # one SASE alone: it has no further arrays
    for sase, energies in ((own, beam.own), (other, beam.companion)):
        padded = np.full_like(beam.xgm, XGM_FILL)
        padded[:, : energies.shape[1]] = energies
        group[f"intensitySa{sase}TD"] = padded


def decoded(p: SpiParameters, words: np.ndarray) -> dict[str, Any]:
    """Return what a pulse pattern decoder says of bunch patterns: control keys and their values.

    Parameters
    ----------
    p : SpiParameters
    words : ndarray of uint32, shape (T, 2700)
    """
    beams = {f"sase{sase}": (words & ~np.uint32(0x1FFF << 4)) == word for sase, word in BUNCH.items()}
    beams["maindump"] = (words & CHARGE) != 0
    beams["laser"] = (words & np.uint32(1 << p.laser_bit)) != 0
    values: dict[str, Any] = {"laserSource": f"LP_{p.laser_name}"}
    for node, on in beams.items():
        values[f"{node}.nPulses"] = on.sum(axis=1).astype(np.int32)
        slots = np.zeros((len(words), DECODED_PULSES), np.int32)
        for row, present in zip(slots, on, strict=True):
            row[: present.sum()] = np.flatnonzero(present)
        values[f"{node}.pulseIds"] = slots
    return values


def _lit_frames(exdf: ExdfFile, name: str, p: SpiParameters, schedule: Schedule) -> None:
    """Write what the facility's lit-frame finder would say; frames that are not stored count there too."""
    exdf.control(name, _finder_settings(name, p), "AgipdLitFrameFinder")
    beam, trains = schedule.beam, p.n_trains
    there = np.ones(trains, np.int64)
    there[list(p.litfrm_misses)] = 0
    rows = np.flatnonzero(there)
    group = exdf.instrument(f"{name}:output", "data", there)
    at = np.asarray(p.frames)
    frames = max(p.memory_cells, int(at.max()) + 1)
    wide = {key: np.zeros((trains, LIT_FRAMES), dtype) for key, dtype in _LIT_KEYS.items()}
    wide["detectorPulseId"][:, :frames] = p.stride * np.arange(frames)
    wide["nPulsePerFrame"][:, at] = beam.n_pulses
    wide["energyPerFrame"][:, at] = beam.energy
    wide["energySigma"][:, at] = 0.01 * beam.energy
    wide["dataFramePattern"] = wide["nPulsePerFrame"] > 0
    for key, values in wide.items():
        group[key] = values[rows]
    group["nFrame"] = np.full(len(rows), frames, "u2")
    group["trainId"] = schedule.train_id[rows]
    for key, lists in (("masterPulseId", beam.master), ("xgmPulseId", beam.number)):
        packed = np.zeros((trains, DECODED_PULSES), "u2")
        for row, values in zip(packed, lists, strict=True):
            row[: len(values)] = values
        group[key] = packed[rows]


def _finder_settings(name: str, p: SpiParameters) -> dict[str, Any]:
    settings = {
        "detectorId": name.replace("REDU/LITFRM", "MDL/FPGA_COMP"),
        "instrumentName": p.instrument.name,
        "alignMethod": "by first pulse",
        "referenceFrame": np.uint32(p.reference_frame),
        "trigger.deviceId": (p.instrument.trigger or "").partition(":")[0],
        "trigger.name": "backTrg3",
        "motor.deviceId": "",
        "motor.positionProperty": "",
        "motor.unitConversionCoef": np.float64(1e-3),
        "useDistanceDelay": np.bool_(False),
        "detectorDistance": np.float64(0.0),
    }
    for event in ("dynamic", "static"):
        settings |= {
            f"referenceDelay.{event}.delay": np.int32(-1),
            f"referenceDelay.{event}.pulse": np.int32(0),
            f"referenceDelay.{event}.frame": np.int32(p.reference_frame),
            f"referenceDelay.{event}.repetitionRate": np.float32(p.rate_mhz),
            f"referenceDelay.{event}.position": np.float64(0.0),
        }
    return settings


_LIT_KEYS = {
    "detectorPulseId": "u2",
    "nPulsePerFrame": "u2",
    "energyPerFrame": "f4",
    "energySigma": "f4",
    "dataFramePattern": "?",
}
