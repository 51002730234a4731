#include "../core/correlation.hpp"
#include "../core/sort_events.hpp"

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kPairDoc = R"doc(Sum products of two frames over the pixels of each part.

Promise: exact, the same bits on every backend, method, thread count and batch. The arrays of the plan come
from shotsieve.measure.correlation_bins.PartPlan, which checks the indices in them.

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

constexpr const char* kSortDoc =
    R"doc(Sort photon lists by the place of their pixels; returns the largest count. All arrays are in
host memory, on every backend.

Parameters
----------
first : int64 (K * T + 1,)
    Entries of each frame.
pixel : uint32 (entries,)
    Below the length of `place`: not checked.
count : uint8 (entries,)
place : int32 (n_pixels,)
    In the plan; -1 for none.
part : int32 (n_places,)
events : uint32 (entries,)
    Written: frame << 8 | count, by train and place, in the order of the frames.
train_start : int64 (K,)
    Written.
place_start : int32 (K, n_places + 1)
    Written: counted from the start of the train.
frame_sums : int32 (K, n_parts, T)
    Written.)doc";

constexpr const char* kEventPairDoc = R"doc(Sum products of two frames, of listed photons; see pair_sums.

Promise: exact, the same sums as those of the frames.

Parameters
----------
own, other : tuple (events, train_start, place_start)
    Of sort_events; `other` may be None.
sums : int32 (K, n_parts, T, U)
    Written.
plan : dict of str to array
stream, threads : int)doc";

constexpr const char* kEventLagDoc = R"doc(Sum products at some lags, of listed photons; see lag_sums.

Promise: exact, the same sums as those of the frames, as whole numbers.

Parameters
----------
own : tuple (events, train_start, place_start)
lags : int32 (L, 2)
sums : int64 (K, n_parts, L)
    Written.
n_frames : int
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
    call.scratch =
        read_scratch(scratch, pair_scratch_bytes(call.n_frames, second == nullptr ? 0 : call.n_others,
                                                 call.plan.n_places, call.plan.n_parts, events));
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

std::int32_t sort_events_py(const py::object& first, const py::object& pixel, const py::object& count,
                            const py::object& place, const py::object& part, const py::object& events,
                            const py::object& train_start, const py::object& place_start,
                            const py::object& frame_sums) {
  PhotonLists lists{};
  SortedEvents out{};
  const ArrayView sums = view_host_array(frame_sums, "frame_sums", "<i4", {kAny, kAny, kAny}, true);
  const ArrayView parts = view_host_array(part, "part", "<i4", {kAny}, false);
  const ArrayView pixels = view_host_array(pixel, "pixel", "<u4", {kAny}, false);
  lists.n_trains = sums.shape[0];
  lists.n_parts = static_cast<std::int32_t>(sums.shape[1]);
  lists.n_frames = static_cast<std::int32_t>(sums.shape[2]);
  lists.n_places = static_cast<std::int32_t>(parts.shape[0]);
  const std::vector<std::int64_t> entries{pixels.shape[0]};
  lists.first = view_host_array(first, "first", "<i8", {lists.n_trains * lists.n_frames + 1}, false)
                    .as<const std::int64_t>();
  lists.pixel = pixels.as<const std::uint32_t>();
  lists.count = view_host_array(count, "count", "|u1", entries, false).as<const std::uint8_t>();
  lists.place = view_host_array(place, "place", "<i4", {kAny}, false).as<const std::int32_t>();
  lists.part = parts.as<const std::int32_t>();
  out.events = view_host_array(events, "events", "<u4", entries, true).as<std::uint32_t>();
  out.train_start =
      view_host_array(train_start, "train_start", "<i8", {lists.n_trains}, true).as<std::int64_t>();
  out.place_start =
      view_host_array(place_start, "place_start", "<i4", {lists.n_trains, lists.n_places + 1}, true)
          .as<std::int32_t>();
  out.frame_sums = sums.as<std::int32_t>();
  const py::gil_scoped_release release;
  return sort_events(lists, out);
}

EventTable read_table(const py::tuple& table, std::int64_t n_trains, std::int64_t n_places) {
  return {
      view_array(table[0], "events", "<u4", {kAny}, false).as<const std::uint32_t>(),
      view_array(table[1], "train_start", "<i8", {n_trains}, false).as<const std::int64_t>(),
      view_array(table[2], "place_start", "<i4", {n_trains, n_places + 1}, false).as<const std::int32_t>()};
}

void event_pair_sums_py(const py::tuple& own, const py::object& other, const py::object& sums,
                        const py::dict& plan, std::uintptr_t stream, int threads) {
  if (threads < 1) throw py::value_error("threads: expected at least 1");
  EventPairs call{};
  call.plan = read_plan(plan, 0);
  const ArrayView view = view_array(sums, "sums", "<i4", {kAny, call.plan.n_parts, kAny, kAny}, true);
  call.n_trains = view.shape[0];
  call.n_frames = static_cast<std::int32_t>(view.shape[2]);
  call.n_others = static_cast<std::int32_t>(view.shape[3]);
  call.sums = view.as<std::int32_t>();
  call.own = read_table(own, call.n_trains, call.plan.n_places);
  if (!other.is_none()) {
    call.other = read_table(py::cast<py::tuple>(other), call.n_trains, call.plan.n_places);
  }
  const py::gil_scoped_release release;
  pair_sums(call, {reinterpret_cast<void*>(stream), threads});
}

void event_lag_sums_py(const py::tuple& own, const py::object& lags, const py::object& sums,
                       std::int32_t n_frames, const py::dict& plan, std::uintptr_t stream, int threads) {
  if (threads < 1) throw py::value_error("threads: expected at least 1");
  EventLags call{};
  call.plan = read_plan(plan, 0);
  const ArrayView lag_view = view_array(lags, "lags", "<i4", {kAny, 2}, false);
  call.lags = static_cast<const LevelLag*>(lag_view.data);
  call.n_lags = static_cast<std::int32_t>(lag_view.shape[0]);
  const ArrayView view = view_array(sums, "sums", "<i8", {kAny, call.plan.n_parts, call.n_lags}, true);
  call.n_trains = view.shape[0];
  call.n_frames = n_frames;
  call.sums = view.as<std::int64_t>();
  call.own = read_table(own, call.n_trains, call.plan.n_places);
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
  m.def("sort_events", &sort_events_py, kSortDoc, py::arg("first"), py::arg("pixel"), py::arg("count"),
        py::arg("place"), py::arg("part"), py::arg("events"), py::arg("train_start"), py::arg("place_start"),
        py::arg("frame_sums"));
  m.def("event_pair_sums", &event_pair_sums_py, kEventPairDoc, py::arg("own"), py::arg("other"),
        py::arg("sums"), py::kw_only(), py::arg("plan"), py::arg("stream") = 0, py::arg("threads") = 1);
  m.def("event_lag_sums", &event_lag_sums_py, kEventLagDoc, py::arg("own"), py::arg("lags"), py::arg("sums"),
        py::kw_only(), py::arg("n_frames"), py::arg("plan"), py::arg("stream") = 0, py::arg("threads") = 1);
  m.def("pair_scratch_bytes", &pair_scratch_bytes,
        "Bytes of scratch that pair_sums needs; 0 on the CPU. n_others: 0 for None.", py::kw_only(),
        py::arg("n_frames"), py::arg("n_others"), py::arg("n_places"), py::arg("n_parts"), py::arg("events"));
  m.def("lag_scratch_bytes", &lag_scratch_bytes, "Bytes of scratch that lag_sums needs; 0 on the CPU.",
        py::kw_only(), py::arg("n_trains"), py::arg("n_frames"), py::arg("n_places"), py::arg("n_parts"),
        py::arg("n_lags"));
}

}  // namespace shotsieve::bind
