#include "../core/baseline.hpp"

#include <string>

#include "array.hpp"
#include "bind.hpp"
#include "frame_words.hpp"
#include "lists.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kBaselineDoc = R"doc(Find the noise peak of each frame: its baseline.

Promise: exact, the same bits on every backend, thread count and order of frames.

Parameters
----------
raw, frames, groups, table, encoding, fixed_stage
    As for common_mode.
taps : int32 (R, 2, 3, T)
    For each row of table the wavelets of both histograms, from narrow to wide: half of each, from its middle
    outwards. T is at most 210.
reach : int32 (R, 2, 3)
    The last tap of each that counts.
shift : int32 (F, n_tiles)
    All of a listed frame with constants become its baseline, in 1/256 ADU; 0 where there is no peak.
lowest : int
    A peak below it is none, in 1/256 ADU.
stream : int
    Handle of the device stream, 0 for the default one.
threads : int
    CPU threads.)doc";

void baseline_py(const py::object& raw, const py::object& frames, const py::object& groups,
                 const py::object& table, const py::object& taps, const py::object& reach,
                 const py::object& shift, int encoding, int fixed_stage, int lowest, std::uintptr_t stream,
                 int threads) {
  // A response has 53 bits: pixels of a frame times a tap of 32 bits.
  constexpr std::int64_t kMostPixels = std::int64_t{1} << 21;
  BaselineCall call{};
  call.words = view_words(raw, table, encoding, fixed_stage);
  check_that(call.words.n_pixels <= kMostPixels, "raw", "at most 2^21 pixels in a frame");
  const std::int64_t rows = call.words.n_rows;
  const ArrayView frames_view = view_array(frames, "frames", "<i4", {kAny}, false);
  const ArrayView groups_view = view_array(groups, "groups", "<i4", {kAny, 3}, false);
  const ArrayView taps_view = view_array(taps, "taps", "<i4", {rows, 2, math::kWavelets, kAny}, false);
  const ArrayView shift_view = view_array(shift, "shift", "<i4", {call.words.n_frames, kAny}, true);
  call.frames = frames_view.as<const std::int32_t>();
  call.groups = groups_view.as<const FrameGroup>();
  call.taps = taps_view.as<const std::int32_t>();
  call.reach = view_array(reach, "reach", "<i4", {rows, 2, math::kWavelets}, false).as<const std::int32_t>();
  call.shift = shift_view.as<std::int32_t>();
  call.n_listed = frames_view.shape[0];
  call.n_groups = groups_view.shape[0];
  call.n_taps = taps_view.shape[3];
  call.n_tiles = shift_view.shape[1];
  call.lowest = lowest;
  check_that(call.n_taps >= 1 && call.n_taps <= math::kCoarseBins, "taps", "1 to 210 of a wavelet");
  check_that(threads >= 1, "threads", "at least 1");
#if !defined(SHOTSIEVE_DEVICE_BACKEND)
  check_lists(call.groups, call.n_groups, call.frames, call.n_listed, call.words.n_frames, rows, {});
  for (std::int64_t k = 0; k < rows * 2 * math::kWavelets; ++k) {
    check_that(0 <= call.reach[k] && call.reach[k] < call.n_taps, "reach",
               "a tap, at position " + std::to_string(k));
  }
#endif
  const py::gil_scoped_release release;
  baseline(call, {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_baseline(py::module_& m) {
  m.def("baseline", &baseline_py, kBaselineDoc, py::arg("raw"), py::arg("frames"), py::arg("groups"),
        py::arg("table"), py::arg("taps"), py::arg("reach"), py::arg("shift"), py::kw_only(),
        py::arg("encoding"), py::arg("fixed_stage"), py::arg("lowest"), py::arg("stream") = 0,
        py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
