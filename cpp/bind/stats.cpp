#include "../core/stats.hpp"

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kStatsDoc = R"doc(Add frames to statistics of every pixel, by groups.

Promise: exact, the same bits on every backend, thread count and batch.

Parameters
----------
pixels : float32 (F, n_pixels)
    NaN and infinities are left out.
frames : int32 (K,)
    Which frames are added, in their order: those of a group one after the other are read and written once.
    A number out of range is left out.
group : int32 (K,)
    Group of each of them, 0 to n_groups - 1; a frame of any other is left out.
scale : float64 (K,)
    What the values of each are multiplied with.
shift, sum, squares : float64 (n_groups, n_pixels)
    Changed: the first value of each pixel, and sums of the differences from it and of their squares.
count : int32 (n_groups, n_pixels)
    Changed: values that were added; 0 at first.
maximum : float32 (n_groups, n_pixels)
    Changed; -inf at first.
stream, threads : int)doc";

void frame_stats_py(const py::object& pixels, const py::object& frames, const py::object& group,
                    const py::object& scale, const py::object& shift, const py::object& sum,
                    const py::object& squares, const py::object& count, const py::object& maximum,
                    std::uintptr_t stream, int threads) {
  if (threads < 1) throw py::value_error("threads: expected at least 1");
  StatsCall call{};
  const ArrayView view = view_array(pixels, "pixels", "<f4", {kAny, kAny}, false);
  call.pixels = view.as<const float>();
  call.n_all = view.shape[0];
  call.n_pixels = view.shape[1];
  const ArrayView list = view_array(frames, "frames", "<i4", {kAny}, false);
  call.frames = list.as<const std::int32_t>();
  call.n_frames = list.shape[0];
  call.group = view_array(group, "group", "<i4", {call.n_frames}, false).as<const std::int32_t>();
  call.scale = view_array(scale, "scale", "<f8", {call.n_frames}, false).as<const double>();
  const ArrayView shift_view = view_array(shift, "shift", "<f8", {kAny, call.n_pixels}, true);
  call.n_groups = shift_view.shape[0];
  const std::vector<std::int64_t> shape{call.n_groups, call.n_pixels};
  call.shift = shift_view.as<double>();
  call.sum = view_array(sum, "sum", "<f8", shape, true).as<double>();
  call.squares = view_array(squares, "squares", "<f8", shape, true).as<double>();
  call.count = view_array(count, "count", "<i4", shape, true).as<std::int32_t>();
  call.maximum = view_array(maximum, "maximum", "<f4", shape, true).as<float>();

  // Safe without the GIL: the caller holds references to every array for the length of the call.
  const py::gil_scoped_release release;
  frame_stats(call, {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_stats(py::module_& m) {
  m.def("frame_stats", &frame_stats_py, kStatsDoc, py::arg("pixels"), py::arg("frames"), py::arg("group"),
        py::arg("scale"), py::arg("shift"), py::arg("sum"), py::arg("squares"), py::arg("count"),
        py::arg("maximum"), py::kw_only(), py::arg("stream") = 0, py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
