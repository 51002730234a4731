#include "../core/linearise.hpp"

#include <string>

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kLineariseDoc =
    R"(Make raw words linear: words[f, 0, p] = linear[row, p, raw[f, 0, p] % entries].

Promise: exact.

Parameters
----------
raw : uint16 (F, planes, n_pixels)
frames : int32 (L,)
    Indices into raw of the frames to work on.
groups : int32 (G, 3)
    start, stop into frames, and the row of linear for them; with row -1 words are copied.
linear : uint16 (R, n_pixels, pitch)
    Tables, and what keeps them apart: on a CPU, tables a power of two apart share few places of a cache.
words : uint16 (F, planes, n_pixels)
    Written whole for listed frames; planes after the first are copied.
entries : int
    Of a table, a power of two; 0 takes the pitch.
stream : int
threads : int)";

void linearise_py(const py::object& raw, const py::object& frames, const py::object& groups,
                  const py::object& linear, const py::object& words, std::int64_t entries,
                  std::uintptr_t stream, int threads) {
  const ArrayView raw_view = view_array(raw, "raw", "<u2", {kAny, kAny, kAny}, false);
  const std::int64_t n_frames = raw_view.shape[0];
  const std::int64_t planes = raw_view.shape[1];
  const std::int64_t n_pixels = raw_view.shape[2];
  const ArrayView frames_view = view_array(frames, "frames", "<i4", {kAny}, false);
  const ArrayView groups_view = view_array(groups, "groups", "<i4", {kAny, 3}, false);
  const ArrayView linear_view = view_array(linear, "linear", "<u2", {kAny, n_pixels, kAny}, false);
  const ArrayView words_view = view_array(words, "words", "<u2", {n_frames, planes, n_pixels}, true);
  const std::int64_t pitch = linear_view.shape[2];
  if (entries == 0) entries = pitch;
  if (entries > pitch) {
    throw py::value_error("linear: expected at least " + std::to_string(entries) + " entries, got " +
                          std::to_string(pitch));
  }
  if (entries < 1 || entries > 65536 || (entries & (entries - 1)) != 0) {
    throw py::value_error("linear: expected a power of two of entries, got " + std::to_string(entries));
  }
  if (planes < 1) throw py::value_error("raw: expected at least 1 plane");
  LineariseCall call{};
  call.raw = raw_view.as<const std::uint16_t>();
  call.frames = frames_view.as<const std::int32_t>();
  call.groups = groups_view.as<const FrameGroup>();
  call.linear = linear_view.as<const std::uint16_t>();
  call.words = words_view.as<std::uint16_t>();
  call.n_frames = n_frames;
  call.n_listed = frames_view.shape[0];
  call.n_groups = groups_view.shape[0];
  call.n_rows = linear_view.shape[0];
  call.n_pixels = n_pixels;
  call.planes = static_cast<int>(planes);
  call.entries = static_cast<int>(entries);
  call.pitch = pitch;
#if !defined(SHOTSIEVE_DEVICE_BACKEND)
  // On the CPU the lists can be looked at, so that a wrong index is an error and not a crash.
  for (std::int64_t g = 0; g < call.n_groups; ++g) {
    const FrameGroup& group = call.groups[g];
    if (group.start < 0 || group.stop < group.start || group.stop > call.n_listed) {
      throw py::value_error("groups: expected start and stop inside frames");
    }
    if (group.table_row < -1 || group.table_row >= call.n_rows) {
      throw py::value_error("groups: expected rows of linear, or -1");
    }
  }
  for (std::int64_t k = 0; k < call.n_listed; ++k) {
    if (call.frames[k] < 0 || call.frames[k] >= n_frames) {
      throw py::value_error("frames: expected indices into raw");
    }
  }
#endif
  const py::gil_scoped_release release;
  linearise(call, {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_linearise(py::module_& m) {
  m.def("linearise", &linearise_py, kLineariseDoc, py::arg("raw"), py::arg("frames"), py::arg("groups"),
        py::arg("linear"), py::arg("words"), py::kw_only(), py::arg("entries") = 0, py::arg("stream") = 0,
        py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
