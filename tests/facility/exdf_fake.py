"""What a method of exdf-tools gets and calls, as far as EXtra-redu's own method shows it.

exdf-tools is not public, so this stands for it: a base class whose `select_xtdf` refuses what cannot be
meant, and a run through the entry point, the parser and the selection, as a tool that has such plug-ins
makes it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types

import numpy as np


class ReductionMethod:
    """Records selections; without a constructor of its own, since `LitFrames` calls none."""

    data = None  # the run, for checks

    def select_xtdf(self, source, train_selector, frame_mask):
        calls = self.__dict__.setdefault("selections", {})
        # Sources that are reduced are XTDF sources of the run.
        assert source in self.data.instrument_sources, source
        assert source.endswith(":xtdf"), source
        trains = self.data[source].select_trains(train_selector).drop_empty_trains("image").train_ids
        assert len(trains) == 1, "one mask is for the frames of one train"
        frames = self.data[source].select_trains(train_selector)["image.cellId"].shape[0]
        assert frame_mask.dtype == bool
        assert frame_mask.shape == (frames,)
        assert (source, trains[0]) not in calls, "a train is selected once"
        calls[source, int(trains[0])] = np.array(frame_mask)


def install(monkeypatch):
    """Put the fake where plug-ins import it from; they are imported afresh."""
    package, module = types.ModuleType("exdf"), types.ModuleType("exdf.data_reduction")
    module.ReductionMethod, package.data_reduction = ReductionMethod, module
    monkeypatch.setitem(sys.modules, "exdf", package)
    monkeypatch.setitem(sys.modules, "exdf.data_reduction", module)


def load(monkeypatch, reference):
    """Load a class by the reference of its entry point."""
    name, _, attribute = reference.partition(":")
    monkeypatch.setitem(sys.modules, name, None)  # so that it is forgotten after the test
    del sys.modules[name]
    found = getattr(importlib.import_module(name), attribute)
    assert issubclass(found, ReductionMethod)
    return found


def run(method, data, words):
    """What the tool does: parse the options of the method, make it, and collect what it selects."""
    parser = argparse.ArgumentParser()
    method.arguments(parser)
    ReductionMethod.data = data
    made = method(data, parser.parse_args(words))
    return made.__dict__.get("selections", {})


def kept(data, sources, selections):
    """Frames of each source after the selection, as (train, pulse): trains without a selection stay whole."""
    found = {}
    for source in sources:
        pulses = data[source, "image.pulseId"].drop_empty_trains()
        found[source] = [
            (int(train), int(pulse))
            for train, ids in pulses.trains()
            for pulse, stays in zip(
                np.ravel(ids), selections.get((source, int(train)), np.ones(np.size(ids), bool)), strict=True
            )
            if stays
        ]
    return found
