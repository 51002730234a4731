#include "../core/bins.hpp"

#include <limits>

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kBinsDoc = R"doc(Sum frames over bins of pixels.

Promise: exact, the same bits on every backend, thread count and batch. The arrays of the plan come from
shotsieve.measure.bins.BinPlan, which checks the indices in them.

Parameters
----------
pixels : float32 (F, n_pixels)
    NaN and infinities are left out.
variance : float32 (F, n_pixels) or None
    For mode "variance": variance of every pixel; one that is not finite leaves its pixel out.
bad : uint8 or uint32 (F, n_pixels), or None
    Not 0: the pixel is left out.
limits : float64 (3, F, n_bins) or None
    For mode "residual": low, high and centre of value / norm in each bin.
signal : float64 (F, n_bins)
    Written: sums of the values.
lost : float64 (n_columns, F, n_bins)
    Written: sums of the columns over what was left out.
second : float64 (F, n_bins) or None
    Written in all modes but "plain".
maximum : float32 (F, n_bins) or None
    Written in mode "moments"; -inf without a value.
scratch : uint8 (bins_scratch_bytes(...),)
plan : dict of str to array
    See BinPlan.arrays.
mode : {"plain", "variance", "moments", "residual"}
row_pixels, n_bins, most_slots : int
stream, threads : int)doc";

BinMode to_mode(const std::string& name) {
  if (name == "plain") return BinMode::kPlain;
  if (name == "variance") return BinMode::kVariance;
  if (name == "moments") return BinMode::kMoments;
  if (name == "residual") return BinMode::kResidual;
  throw py::value_error("mode: expected plain, variance, moments or residual, got " + name);
}

// The arrays of a plan by name; those that are not there are null.
class PlanReader {
 public:
  explicit PlanReader(const py::dict& arrays) : arrays_(arrays) {}

  template <class T>
  const T* read(const char* name, const char* dtype, const std::vector<std::int64_t>& shape) {
    last_.clear();
    if (!arrays_.contains(name) || py::object(arrays_[name]).is_none()) return nullptr;
    const ArrayView view = view_array(arrays_[name], name, dtype, shape, false);
    last_ = view.shape;
    return view.as<const T>();
  }

  template <class T>
  const T* need(const char* name, const char* dtype, const std::vector<std::int64_t>& shape) {
    const T* found = read<T>(name, dtype, shape);
    check_that(!last_.empty(), name, "an array in the plan");
    return found;
  }

  // Size of an axis of the array that was read last.
  std::int32_t size(std::size_t axis) const {
    check_that(last_[axis] <= (std::numeric_limits<std::int32_t>::max)(), "plan",
               "at most 2147483647 entries");
    return static_cast<std::int32_t>(last_[axis]);
  }

 private:
  const py::dict& arrays_;
  std::vector<std::int64_t> last_;
};

BinPlan view_plan(const py::dict& arrays, int row_pixels, int n_bins, int most_slots) {
  PlanReader reader(arrays);
  BinPlan plan{};
  plan.parts = reader.need<PartRect>("parts", "<i4", {kAny, 4});
  plan.n_parts = reader.size(0);
  plan.part_start = reader.need<std::int32_t>("part_start", "<i4", {std::int64_t{plan.n_parts} + 1});
  plan.local = reader.read<std::uint16_t>("local", "<u2", {kAny});
  const std::int64_t unsplit = plan.local != nullptr ? reader.size(0) : 0;
  plan.coef = reader.read<double>("coef", "<f8", {kAny});
  plan.n_entries = plan.coef != nullptr ? reader.size(0) : unsplit;
  check_that((plan.local == nullptr) != (plan.coef == nullptr), "plan", "either local or coef");
  if (plan.coef != nullptr) {
    plan.entry_start = reader.need<std::int32_t>("entry_start", "<i4", {kAny});
    plan.entry_bin = reader.need<std::uint16_t>("entry_bin", "<u2", {plan.n_entries});
  }
  plan.slot_start = reader.need<std::int32_t>("slot_start", "<i4", {std::int64_t{plan.n_parts} + 1});
  plan.slot_bin = reader.need<std::int32_t>("slot_bin", "<i4", {kAny});
  plan.n_slots = reader.size(0);
  plan.bin_start = reader.need<std::int32_t>("bin_start", "<i4", {std::int64_t{n_bins} + 1});
  plan.bin_slot = reader.need<std::int32_t>("bin_slot", "<i4", {plan.n_slots});
  plan.chunk_start = reader.need<std::int32_t>("chunk_start", "<i4", {std::int64_t{plan.n_parts} + 1});
  plan.run_start = reader.need<std::int32_t>("run_start", "<i4", {kAny});
  plan.run_entry = reader.need<std::int32_t>("run_entry", "<i4", {kAny});
  const std::int64_t runs = reader.size(0);
  plan.run_pixel = reader.need<std::uint8_t>("run_pixel", "|u1", {runs});
  plan.run_bin = reader.need<std::uint16_t>("run_bin", "<u2", {runs});
  plan.columns = reader.need<double>("columns", "<f8", {plan.n_entries, kAny});
  plan.n_columns = reader.size(1);
  plan.norm = reader.read<double>("norm", "<f8", {kAny});
  plan.dark = reader.read<double>("dark", "<f8", {kAny});
  plan.row_pixels = row_pixels;
  plan.n_bins = n_bins;
  plan.most_slots = most_slots;
  return plan;
}

void bin_sums_py(const py::object& pixels, const py::object& variance, const py::object& bad,
                 const py::object& limits, const py::object& signal, const py::object& lost,
                 const py::object& second, const py::object& maximum, const py::object& scratch,
                 const py::dict& plan, const std::string& mode, int row_pixels, int n_bins, int most_slots,
                 std::uintptr_t stream, int threads) {
  BinsCall call{};
  check_that(row_pixels >= 1 && n_bins >= 1 && most_slots >= 0, "row_pixels, n_bins", "at least 1");
  check_that(threads >= 1, "threads", "at least 1");
  call.plan = view_plan(plan, row_pixels, n_bins, most_slots);
  call.mode = to_mode(mode);
  const ArrayView pixels_view = view_array(pixels, "pixels", "<f4", {kAny, kAny}, false);
  const std::int64_t frames = pixels_view.shape[0];
  const std::int64_t n_pixels = pixels_view.shape[1];
  check_that(n_pixels % row_pixels == 0, "pixels", "whole rows of row_pixels");
  call.pixels = pixels_view.as<const float>();
  call.n_frames = frames;
  call.plan.n_pixels = n_pixels;
  if (call.mode == BinMode::kVariance) {
    call.variance = view_array(variance, "variance", "<f4", {frames, n_pixels}, false).as<const float>();
  }
  if (!bad.is_none()) {
    const bool words = py::cast<std::string>(py::dict(bad.attr(kInterface))["typestr"]) == "<u4";
    const ArrayView view = view_array(bad, "bad", words ? "<u4" : "|u1", {frames, n_pixels}, false);
    if (words) {
      call.bad_words = view.as<const std::uint32_t>();
    } else {
      call.bad_bytes = view.as<const std::uint8_t>();
    }
  }
  if (call.mode == BinMode::kResidual) {
    call.limits = view_array(limits, "limits", "<f8", {3, frames, n_bins}, false).as<const double>();
    check_that(call.plan.norm != nullptr && call.plan.dark != nullptr, "plan", "norm and dark for residuals");
  }
  call.signal = view_array(signal, "signal", "<f8", {frames, n_bins}, true).as<double>();
  call.lost = view_array(lost, "lost", "<f8", {call.plan.n_columns, frames, n_bins}, true).as<double>();
  if (call.mode != BinMode::kPlain) {
    call.second = view_array(second, "second", "<f8", {frames, n_bins}, true).as<double>();
  }
  if (call.mode == BinMode::kMoments) {
    call.maximum = view_array(maximum, "maximum", "<f4", {frames, n_bins}, true).as<float>();
  }
  const std::int64_t bytes = bins_scratch_bytes(frames, call.plan, call.mode);
  const ArrayView scratch_view = view_array(scratch, "scratch", "|u1", {kAny}, true);
  check_that(scratch_view.shape[0] >= bytes, "scratch", "at least " + std::to_string(bytes) + " bytes");
  call.scratch = scratch_view.as<std::uint8_t>();
  if (frames == 0) return;

  // Safe without the GIL: the caller holds references to every array for the length of the call.
  const py::gil_scoped_release release;
  bin_sums(call, {reinterpret_cast<void*>(stream), threads});
}

std::int64_t bins_scratch_bytes_py(std::int64_t n_frames, int n_slots, int n_columns,
                                   const std::string& mode) {
  check_that(n_frames >= 0 && n_slots >= 0 && n_columns >= 1, "bins_scratch_bytes",
             "sizes that are not negative");
  BinPlan plan{};
  plan.n_slots = n_slots;
  plan.n_columns = n_columns;
  return bins_scratch_bytes(n_frames, plan, to_mode(mode));
}

}  // namespace

void bind_bins(py::module_& m) {
  m.def("bin_sums", &bin_sums_py, kBinsDoc, py::arg("pixels"), py::arg("variance"), py::arg("bad"),
        py::arg("limits"), py::arg("signal"), py::arg("lost"), py::arg("second"), py::arg("maximum"),
        py::arg("scratch"), py::kw_only(), py::arg("plan"), py::arg("mode"), py::arg("row_pixels"),
        py::arg("n_bins"), py::arg("most_slots"), py::arg("stream") = 0, py::arg("threads") = 1);
  m.def("bins_scratch_bytes", &bins_scratch_bytes_py, "Bytes of scratch that bin_sums needs; 0 on the CPU.",
        py::kw_only(), py::arg("n_frames"), py::arg("n_slots"), py::arg("n_columns"), py::arg("mode"));
}

}  // namespace shotsieve::bind
