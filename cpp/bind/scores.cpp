#include "../core/scores.hpp"

#include <limits>

#include "array.hpp"
#include "bind.hpp"
#include "photon_rules.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kScoresDoc = R"doc(Sum calibrated frames to scores, module by module.

Promise: exact, the same bits on every backend, thread count and batch.

Parameters
----------
pixels : float32 (F, M, n_pixels)
    Calibrated values; NaN, infinities and what is larger than value_limit count as masked.
ring : int16 (M, n_pixels) or None
    Ring of each pixel, below 0 in none.
map : int32 (W, 2, M, n_pixels) or None
    Weights and constants of up to four maps.
sums : int64 (F, M, 1 + n_rings + W)
    Written: lit pixels; photons of each ring; for each map the sum of weight * amount - constant * unit over
    pixels that are not masked.
n_rings : int
    0 to 64; 0 without ring.
of_photons : int
    Bit m: the amount of map m is photons, in units of 1; else values in units of 1/128, and unit is 128.
threshold : float
    A pixel is lit strictly above it; NaN counts none.
to_photon : float
    Photons per unit of the values; 0 counts none.
rounding_threshold, value_limit : float
    As of calibrate_count.
stream, threads : int)doc";

void score_sums_py(const py::object& pixels, const py::object& ring, const py::object& map,
                   const py::object& sums, int n_rings, unsigned of_photons, float threshold, float to_photon,
                   float rounding_threshold, float value_limit, std::uintptr_t stream, int threads) {
  ScoresCall call{};
  const ArrayView view = view_array(pixels, "pixels", "<f4", {kAny, kAny, kAny}, false);
  call.pixels = view.as<const float>();
  call.n_frames = view.shape[0];
  call.n_modules = view.shape[1];
  call.n_pixels = view.shape[2];
  check_that(n_rings >= 0 && n_rings <= kMostRings, "n_rings", "0 to 64");
  check_that((n_rings == 0) == ring.is_none(), "ring, n_rings", "both or none");
  call.n_rings = n_rings;
  if (!ring.is_none()) {
    const ArrayView rings = view_array(ring, "ring", "<i2", {call.n_modules, call.n_pixels}, false);
    call.ring = rings.as<const std::int16_t>();
  }
  if (!map.is_none()) {
    const ArrayView maps = view_array(map, "map", "<i4", {kAny, 2, call.n_modules, call.n_pixels}, false);
    check_that(maps.shape[0] >= 1 && maps.shape[0] <= kMostMaps, "map", "1 to 4 maps");
    call.map = maps.as<const std::int32_t>();
    call.n_maps = static_cast<int>(maps.shape[0]);
  }
  const std::vector<std::int64_t> shape{call.n_frames, call.n_modules, 1 + call.n_rings + call.n_maps};
  call.sums = view_array(sums, "sums", "<i8", shape, true).as<std::int64_t>();
  check_photon_rules(value_limit, to_photon, rounding_threshold);
  check_that(threads >= 1, "threads", "at least 1");
  call.of_photons = of_photons;
  call.rules = {threshold, to_photon, rounding_threshold, value_limit};

  // Safe without the GIL: the caller holds references to every array for the length of the call.
  const py::gil_scoped_release release;
  score_sums(call, {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_scores(py::module_& m) {
  m.def("score_sums", &score_sums_py, kScoresDoc, py::arg("pixels"), py::arg("ring"), py::arg("map"),
        py::arg("sums"), py::kw_only(), py::arg("n_rings") = 0, py::arg("of_photons") = 0u,
        py::arg("threshold") = std::numeric_limits<float>::quiet_NaN(), py::arg("to_photon") = 0.0f,
        py::arg("rounding_threshold") = 0.5f, py::arg("value_limit") = 1e7f, py::arg("stream") = 0,
        py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
