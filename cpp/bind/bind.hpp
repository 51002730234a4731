// One register function per stage; module.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace shotsieve::bind {

void bind_bank_mode(pybind11::module_& m);
void bind_baseline(pybind11::module_& m);
void bind_bins(pybind11::module_& m);
void bind_calibrate(pybind11::module_& m);
void bind_common_mode(pybind11::module_& m);
void bind_compact(pybind11::module_& m);
void bind_correlation(pybind11::module_& m);
void bind_darks(pybind11::module_& m);
void bind_linearise(pybind11::module_& m);
void bind_peaks(pybind11::module_& m);
void bind_photon_list(pybind11::module_& m);
void bind_scores(pybind11::module_& m);
void bind_stats(pybind11::module_& m);

}  // namespace shotsieve::bind
