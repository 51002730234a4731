#include "../core/correlation.hpp"

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kPairDoc = R"doc(Sum products of two frames over the pixels of each part.

Promise: exact, the same bits on every backend, method, thread count and batch. The arrays of the plan come
from shotsieve.measure.correlation_plan.PartPlan, which checks the indices in them.

Parameters
----------
frames : uint8 or float32 (K, T, n_pixels)
    Photon counts, at most 127 where sums are to be right; or values that are finite.
others : the same (K, U, n_pixels), or None
    Where the second frame comes from; None: the same frames.
sums : int32 for counts, float64 for values, (K, n_parts, T, U)
    Written.
frame_sums : the same dtype (K, n_parts, T)
    Written: sums of `frames`.
largest : int32 (K, n_parts) or None
    Written for counts: the largest of a pixel.
scratch : uint8 (pair_scratch_bytes(...),) or None
plan : dict of str to array
    order, part_start, runs, part_run.
events : bool
    Counts only: by lists of what is not 0, else by a product of matrices.
stream, threads : int)doc";

constexpr const char* kLagDoc =
    R"doc(Sum products of a series with itself at some lags over the pixels of each part.

Promise: exact, as pair_sums.

Parameters
----------
frames : uint8 or float32 (K, T, n_pixels)
lags : int32 (L, 2)
    Level, ascending, and lag in frames of that level, which are sums of 2^level frames.
sums : float64 (K, n_parts, L)
    Written.
frame_sums : float64 (K, n_parts, T)
    Written.
scratch : uint8 (lag_scratch_bytes(...),) or None
plan : dict of str to array
stream, threads : int)doc";

PartPlan read_plan(const py::dict& arrays, std::int64_t n_pixels) {
  const auto view = [&](const char* name, const std::vector<std::int64_t>& shape) {
    return view_array(arrays[name], name, "<i4", shape, false);
  };
  PartPlan plan{};
  const ArrayView order = view("order", {kAny});
  const ArrayView start = view("part_start", {kAny});
  plan.order = order.as<const std::int32_t>();
  plan.part_start = start.as<const std::int32_t>();
  plan.runs = static_cast<const PixelRun*>(view("runs", {kAny, 3}).data);
  plan.part_run = view("part_run", {start.shape[0]}).as<const std::int32_t>();
  plan.n_pixels = n_pixels;
  plan.n_places = static_cast<std::int32_t>(order.shape[0]);
  plan.n_parts = static_cast<std::int32_t>(start.shape[0] - 1);
  return plan;
}

bool is_counts(const py::object& frames) {
  const std::string dtype = py::cast<std::string>(py::dict(frames.attr(kInterface))["typestr"]);
  return dtype == "|u1";
}

std::uint8_t* read_scratch(const py::object& scratch, std::int64_t bytes) {
  if (bytes == 0) return nullptr;
  const ArrayView view = view_array(scratch, "scratch", "|u1", {kAny}, true);
  if (view.shape[0] < bytes) {
    throw py::value_error("scratch: expected at least " + std::to_string(bytes) + " bytes");
  }
  return view.as<std::uint8_t>();
}

// What both kinds of pairs have in common; `dtype` is that of the frames, `wide` that of the sums.
template <class Call, class In, class Out>
Call read_pairs(const py::object& frames, const py::object& others, const py::object& sums,
                const py::object& frame_sums, const py::dict& plan, const char* dtype, const char* wide,
                const In*& first, const In*& second) {
  Call call{};
  const ArrayView view = view_array(frames, "frames", dtype, {kAny, kAny, kAny}, false);
  call.n_trains = view.shape[0];
  call.n_frames = call.n_others = static_cast<std::int32_t>(view.shape[1]);
  call.plan = read_plan(plan, view.shape[2]);
  first = view.template as<const In>();
  second = nullptr;
  if (!others.is_none()) {
    const ArrayView beside = view_array(others, "others", dtype, {call.n_trains, kAny, view.shape[2]}, false);
    call.n_others = static_cast<std::int32_t>(beside.shape[1]);
    second = beside.template as<const In>();
  }
  const std::int64_t parts = call.plan.n_parts;
  call.sums = view_array(sums, "sums", wide, {call.n_trains, parts, call.n_frames, call.n_others}, true)
                  .template as<Out>();
  call.frame_sums = view_array(frame_sums, "frame_sums", wide, {call.n_trains, parts, call.n_frames}, true)
                        .template as<Out>();
  return call;
}

void pair_sums_py(const py::object& frames, const py::object& others, const py::object& sums,
                  const py::object& frame_sums, const py::object& largest, const py::object& scratch,
                  const py::dict& plan, bool events, std::uintptr_t stream, int threads) {
  if (threads < 1) throw py::value_error("threads: expected at least 1");
  const Where where{reinterpret_cast<void*>(stream), threads};
  if (is_counts(frames)) {
    const std::uint8_t *first, *second;
    CountPairs call = read_pairs<CountPairs, std::uint8_t, std::int32_t>(frames, others, sums, frame_sums,
                                                                         plan, "|u1", "<i4", first, second);
    call.counts = first;
    call.others = second;
    call.events = events;
    const std::vector<std::int64_t> shape{call.n_trains, call.plan.n_parts};
    call.largest = view_array(largest, "largest", "<i4", shape, true).as<std::int32_t>();
    call.scratch = read_scratch(scratch, pair_scratch_bytes(call.n_frames, call.n_others, events));
    // Safe without the GIL: the caller holds references to every array for the length of the call.
    const py::gil_scoped_release release;
    pair_sums(call, where);
    return;
  }
  if (events) throw py::value_error("events: expected False for values; lists are made of counts only");
  const float *first, *second;
  ValuePairs call = read_pairs<ValuePairs, float, double>(frames, others, sums, frame_sums, plan, "<f4",
                                                          "<f8", first, second);
  call.values = first;
  call.others = second;
  const py::gil_scoped_release release;
  pair_sums(call, where);
}

void lag_sums_py(const py::object& frames, const py::object& lags, const py::object& sums,
                 const py::object& frame_sums, const py::object& scratch, const py::dict& plan,
                 std::uintptr_t stream, int threads) {
  if (threads < 1) throw py::value_error("threads: expected at least 1");
  LagCall call{};
  const bool counts = is_counts(frames);
  const ArrayView view = view_array(frames, "frames", counts ? "|u1" : "<f4", {kAny, kAny, kAny}, false);
  call.counts = counts ? view.as<const std::uint8_t>() : nullptr;
  call.values = counts ? nullptr : view.as<const float>();
  call.n_trains = view.shape[0];
  call.n_frames = static_cast<std::int32_t>(view.shape[1]);
  call.plan = read_plan(plan, view.shape[2]);
  const ArrayView lag_view = view_array(lags, "lags", "<i4", {kAny, 2}, false);
  call.lags = static_cast<const LevelLag*>(lag_view.data);
  call.n_lags = static_cast<std::int32_t>(lag_view.shape[0]);
  const std::int64_t parts = call.plan.n_parts;
  call.sums = view_array(sums, "sums", "<f8", {call.n_trains, parts, call.n_lags}, true).as<double>();
  call.frame_sums =
      view_array(frame_sums, "frame_sums", "<f8", {call.n_trains, parts, call.n_frames}, true).as<double>();
  call.scratch = read_scratch(scratch, lag_scratch_bytes(call.n_trains, call.n_frames, call.plan.n_places,
                                                         call.plan.n_parts, call.n_lags));
  const py::gil_scoped_release release;
  lag_sums(call, {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_correlation(py::module_& m) {
  m.def("pair_sums", &pair_sums_py, kPairDoc, py::arg("frames"), py::arg("others"), py::arg("sums"),
        py::arg("frame_sums"), py::arg("largest"), py::arg("scratch"), py::kw_only(), py::arg("plan"),
        py::arg("events") = false, py::arg("stream") = 0, py::arg("threads") = 1);
  m.def("lag_sums", &lag_sums_py, kLagDoc, py::arg("frames"), py::arg("lags"), py::arg("sums"),
        py::arg("frame_sums"), py::arg("scratch"), py::kw_only(), py::arg("plan"), py::arg("stream") = 0,
        py::arg("threads") = 1);
  m.def("pair_scratch_bytes", &pair_scratch_bytes, "Bytes of scratch that pair_sums needs; 0 on the CPU.",
        py::kw_only(), py::arg("n_frames"), py::arg("n_others"), py::arg("events"));
  m.def("lag_scratch_bytes", &lag_scratch_bytes, "Bytes of scratch that lag_sums needs; 0 on the CPU.",
        py::kw_only(), py::arg("n_trains"), py::arg("n_frames"), py::arg("n_places"), py::arg("n_parts"),
        py::arg("n_lags"));
}

}  // namespace shotsieve::bind
