#include "../core/peaks.hpp"

#include <cmath>
#include <limits>

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

static_assert(sizeof(math::PeakRecord) == 64, "a peak is eight float64 wide in Python");

constexpr const char* kFindDoc = R"doc(Find the Bragg peaks of whole shots (peakfinder8).

Promise: exact, the same bits on every backend, thread count and batch.

Parameters
----------
pixels : float32 (S, n_pixels)
    Slabs: all modules of a shot, rows * columns pixels. NaN and infinities are masked.
candidates : uint32 (S, words) or None
    Bit p % 32 of word p // 32: pixel p is finite and at or above the threshold; words = ceil(n_pixels / 32).
    calibrate_count makes them on its way; None finds them here.
good : uint32 (words,)
    The same for pixels that may be used.
bin_of : uint16 (n_pixels,)
    Radial bin of every pixel.
order, place : int32 (n_good,), int32 (n_pixels,)
    Good pixels sorted by bin, in raster order inside a bin; where each pixel is in it (n_good: nowhere).
bin_start : int32 (n_bins + 1,)
    First entry of each bin in `order`.
panels : int32 (n_panels, 4)
    ss_start, ss_stop, fs_start, fs_stop in the slab, stop exclusive.
ring : int32 (n_ring, 2)
    Offsets (ss, fs) of the ring of local background.
peaks : float64 (capacity, 8)
    Written: fs, ss, total, max, snr, background, sigma, and panel and n_pixels as two int32.
first : int32 (S + 1,)
    Written: where the peaks of each shot begin.
panel_counts : int32 (S, n_panels)
    Written: accepted peaks of each panel, also those beyond max_num_peaks.
rejected : int32 (S, 6)
    Written: components that each filter rejected.
overflow : int32 (1,)
    Written: 0, or the slots needed; everything else is then undefined and the call has to be repeated.
scratch : uint8 (peaks_scratch_bytes(...),)
rows, columns : int
    Shape of the slab.
panel_words : int
    Words of the largest panel's bitmap: height * ceil(width / 32).
threshold, min_snr, noise_floor : float
min_pix_count, max_pix_count, max_num_peaks, slots : int
all_bins : bool
    Statistics of every bin, not only of those that own a candidate; the result is the same.
stream, threads : int)doc";

std::int32_t small(std::int64_t n, const char* name) {
  check_that(n <= (std::numeric_limits<std::int32_t>::max)(), name, "at most 2147483647 entries");
  return static_cast<std::int32_t>(n);
}

#if !defined(SHOTSIEVE_DEVICE_BACKEND)
// On the CPU the lists can be looked at, so that a wrong panel is an error and not a crash. The arrays with
// an entry per pixel are checked where the plan is made, once: here it would cost as much as the search.
void check_plan(const PeakPlan& plan) {
  for (std::int32_t k = 0; k < plan.n_panels; ++k) {
    const PanelRect& r = plan.panels[k];
    check_that(0 <= r.ss_start && r.ss_start < r.ss_stop && r.ss_stop <= plan.rows && 0 <= r.fs_start &&
                   r.fs_start < r.fs_stop && r.fs_stop <= plan.columns,
               "panels", "rectangles inside the slab, in row " + std::to_string(k));
    check_that(std::int64_t{r.height()} * ((r.width() + 31) / 32) <= plan.panel_words, "panel_words",
               "as many as the largest panel has");
  }
  check_that(plan.bin_start[0] == 0 && plan.bin_start[plan.n_bins] == plan.n_good, "bin_start",
             "0 first and the length of order last");
  for (std::int32_t b = 0; b < plan.n_bins; ++b) {
    check_that(plan.bin_start[b] <= plan.bin_start[b + 1], "bin_start", "ascending entries");
  }
}
#endif

struct PlanArrays {
  const py::object &good, &bin_of, &order, &place, &bin_start, &panels, &ring;
};

PeakPlan view_plan(const PlanArrays& arrays, int rows, int columns, std::int64_t panel_words) {
  PeakPlan plan{};
  plan.rows = rows;
  plan.columns = columns;
  plan.n_pixels = std::int64_t{rows} * columns;
  plan.panel_words = panel_words;
  check_that(panel_words >= 1, "panel_words", "at least 1");
  check_that(rows >= 1 && columns >= 1, "rows, columns", "at least 1");
  small(plan.n_pixels, "rows * columns");
  plan.good = view_array(arrays.good, "good", "<u4", {plan.words()}, false).as<const std::uint32_t>();
  plan.bin_of = view_array(arrays.bin_of, "bin_of", "<u2", {plan.n_pixels}, false).as<const std::uint16_t>();
  const ArrayView order = view_array(arrays.order, "order", "<i4", {kAny}, false);
  plan.order = order.as<const std::int32_t>();
  plan.n_good = order.shape[0];
  plan.place = view_array(arrays.place, "place", "<i4", {plan.n_pixels}, false).as<const std::int32_t>();
  const ArrayView bin_start = view_array(arrays.bin_start, "bin_start", "<i4", {kAny}, false);
  plan.bin_start = bin_start.as<const std::int32_t>();
  check_that(bin_start.shape[0] >= 2, "bin_start", "at least 2 entries");
  plan.n_bins = small(bin_start.shape[0] - 1, "bin_start");
  const ArrayView panels = view_array(arrays.panels, "panels", "<i4", {kAny, 4}, false);
  plan.panels = panels.as<const PanelRect>();
  plan.n_panels = small(panels.shape[0], "panels");
  const ArrayView ring = view_array(arrays.ring, "ring", "<i4", {kAny, 2}, false);
  plan.ring = ring.as<const RingOffset>();
  plan.n_ring = small(ring.shape[0], "ring");
  return plan;
}

void find_peaks_py(const py::object& pixels, const py::object& candidates, const py::object& good,
                   const py::object& bin_of, const py::object& order, const py::object& place,
                   const py::object& bin_start, const py::object& panels, const py::object& ring,
                   const py::object& peaks, const py::object& first, const py::object& panel_counts,
                   const py::object& rejected, const py::object& overflow, const py::object& scratch,
                   int rows, int columns, std::int64_t panel_words, double threshold, double min_snr,
                   double noise_floor, int min_pix_count, int max_pix_count, std::int64_t max_num_peaks,
                   int slots, bool all_bins, std::uintptr_t stream, int threads) {
  PeaksCall call{};
  call.plan = view_plan({good, bin_of, order, place, bin_start, panels, ring}, rows, columns, panel_words);
  const PeakPlan& plan = call.plan;
  const ArrayView pixels_view = view_array(pixels, "pixels", "<f4", {kAny, plan.n_pixels}, false);
  const std::int64_t shots = pixels_view.shape[0];
  call.pixels = pixels_view.as<const float>();
  if (!candidates.is_none()) {
    call.candidates =
        view_array(candidates, "candidates", "<u4", {shots, plan.words()}, false).as<const std::uint32_t>();
  }
  const ArrayView peaks_view = view_array(peaks, "peaks", "<f8", {kAny, 8}, true);
  call.peaks = peaks_view.as<math::PeakRecord>();
  call.first = view_array(first, "first", "<i4", {shots + 1}, true).as<std::int32_t>();
  call.panel_counts =
      view_array(panel_counts, "panel_counts", "<i4", {shots, plan.n_panels}, true).as<std::int32_t>();
  call.rejected = view_array(rejected, "rejected", "<i4", {shots, math::kFilters}, true).as<std::int32_t>();
  call.overflow = view_array(overflow, "overflow", "<i4", {1}, true).as<std::int32_t>();
  call.n_shots = shots;
  call.capacity = peaks_view.shape[0];
  call.max_num_peaks = max_num_peaks;
  call.slots = slots;
  call.all_bins = all_bins;
  call.rules = {threshold, min_snr, noise_floor, min_pix_count, max_pix_count};

  check_that(std::isfinite(threshold) && static_cast<double>(static_cast<float>(threshold)) == threshold,
             "threshold", "a finite float32 number");
  check_that(std::isfinite(min_snr) && min_snr >= 0.0, "min_snr", "at least 0");
  check_that(std::isfinite(noise_floor) && noise_floor >= 0.0, "noise_floor", "at least 0");
  check_that(1 <= min_pix_count && min_pix_count <= max_pix_count, "min_pix_count, max_pix_count",
             "1 <= min_pix_count <= max_pix_count");
  check_that(max_num_peaks >= 1, "max_num_peaks", "at least 1");
  check_that(slots >= 1, "slots", "at least 1");
  check_that(threads >= 1, "threads", "at least 1");
  const std::int64_t per_shot = std::min<std::int64_t>(max_num_peaks, std::int64_t{slots} * plan.n_panels);
#if defined(SHOTSIEVE_DEVICE_BACKEND)
  const std::int64_t needed = shots * per_shot;
#else
  const std::int64_t needed = shots * max_num_peaks;  // no slots limit what the CPU finds
  static_cast<void>(per_shot);
#endif
  check_that(call.capacity >= needed, "peaks", "at least " + std::to_string(needed) + " rows");
  small(call.capacity, "peaks");
  const std::int64_t bytes = peaks_scratch_bytes(shots, plan, slots);
  const ArrayView scratch_view = view_array(scratch, "scratch", "|u1", {kAny}, true);
  check_that(scratch_view.shape[0] >= bytes, "scratch", "at least " + std::to_string(bytes) + " bytes");
  call.scratch = scratch_view.as<std::uint8_t>();
#if !defined(SHOTSIEVE_DEVICE_BACKEND)
  check_plan(plan);
#endif

  // Safe without the GIL: the caller holds references to every array for the length of the call.
  const py::gil_scoped_release release;
  find_peaks(call, {reinterpret_cast<void*>(stream), threads});
}

std::int64_t peaks_scratch_bytes_py(std::int64_t n_shots, int rows, int columns, int n_bins, int n_panels,
                                    std::int64_t panel_words, int slots) {
  check_that(n_shots >= 0 && rows >= 1 && columns >= 1 && n_bins >= 1 && n_panels >= 0 && panel_words >= 1 &&
                 slots >= 1,
             "peaks_scratch_bytes", "sizes that are not negative");
  PeakPlan plan{};
  plan.rows = rows;
  plan.columns = columns;
  plan.n_pixels = std::int64_t{rows} * columns;
  plan.n_bins = n_bins;
  plan.n_panels = n_panels;
  plan.panel_words = panel_words;
  return peaks_scratch_bytes(n_shots, plan, slots);
}

}  // namespace

void bind_peaks(py::module_& m) {
  m.def("find_peaks", &find_peaks_py, kFindDoc, py::arg("pixels"), py::arg("candidates"), py::arg("good"),
        py::arg("bin_of"), py::arg("order"), py::arg("place"), py::arg("bin_start"), py::arg("panels"),
        py::arg("ring"), py::arg("peaks"), py::arg("first"), py::arg("panel_counts"), py::arg("rejected"),
        py::arg("overflow"), py::arg("scratch"), py::kw_only(), py::arg("rows"), py::arg("columns"),
        py::arg("panel_words"), py::arg("threshold"), py::arg("min_snr"), py::arg("noise_floor"),
        py::arg("min_pix_count"), py::arg("max_pix_count"), py::arg("max_num_peaks"), py::arg("slots"),
        py::arg("all_bins") = false, py::arg("stream") = 0, py::arg("threads") = 1);
  m.def("peaks_scratch_bytes", &peaks_scratch_bytes_py,
        "Bytes of scratch that find_peaks needs; 0 on the CPU.", py::kw_only(), py::arg("n_shots"),
        py::arg("rows"), py::arg("columns"), py::arg("n_bins"), py::arg("n_panels"), py::arg("panel_words"),
        py::arg("slots"));
}

}  // namespace shotsieve::bind
