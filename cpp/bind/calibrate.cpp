#include "../core/calibrate.hpp"

#include <cmath>
#include <limits>

#include "array.hpp"
#include "bind.hpp"
#include "lists.hpp"
#include "photon_rules.hpp"
#include "shift.hpp"
#include "table.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kCalibrateDoc = R"doc(Calibrate frames and count their pixels.

Promise: exact, the same bits on every backend, thread count and order of frames.

Parameters
----------
raw : uint16 (F, planes, n_pixels)
    Raw words; plane 0 the ADC, the last plane the digital level or gain code; one plane of whole words; or three
    planes, the words of high, medium and low gain. n_pixels is a multiple of 8.
frames : int32 (L,)
    Indices into raw of the frames to work on; the frames of one memory cell of one module in a row.
groups : int32 (G, 3)
    start, stop into frames, and the row of table for them; row -1 means that there are no constants.
places : int32 (L,) or None
    Indices into counts, pixels, stage and candidates, which then have P frames, each of them once at most; None
    is as in frames, and P is F.
table : float32 (R, 8 or 10, n_pixels), or (R, 2, n_pixels) for encoding 3
    Folded constants: two thresholds, three offsets, three gains and, if stages are forced, two levels; of a
    detector with one gain stage its offset and gain. Or packed, uint16 (R, P, 8 + n_pixels): of each plane base,
    step and last as three float32, two words that are not used, then a code per pixel: the constant is
    base + step * code, and last where the code is 65535.
counts : int64 (P, 5)
    Written for listed frames: lit pixels, unmasked pixels, intensity in 1/128, photons, candidates of peaks.
pixels : float32 (P, n_pixels) or None
    Calibrated values, NaN where a pixel does not count.
stage : uint8 (P, n_pixels) or None
    Gain stage in bits 0-1; 0x10 not finite, 0x20 out of range, 0x40 wrong gain, 0x80 no constants.
candidates : uint32 (P, n_pixels // 32) or None
    Bit p % 32 of word p // 32 is set where pixel p is a candidate of a peak; only together with pixels, and
    n_pixels is then a multiple of 32. Listed frames are written whole, with 0 where there are no constants.
encoding : int
    0 digital level against thresholds, 1 gain code, 2 signal and gain code in one word, 3 one gain stage, 4 three
    planes, of which the first is taken that is not above its threshold, 5 frames that are calibrated already: the
    bytes of float32 values, of their uint32 mask and of uint8 gain stages in five planes, of which the last is
    half used; table then only says by its number of rows which rows there are.
medium_code, low_code : int
    Encodings 1 and 2: the gain codes of these stages. High gain has code 0, and any other code is wrong.
lost_adc, saturated_adc : int
    Encodings 1 and 2: the ADC that, with the code of low gain, stands for a lost packet, and with that of medium
    or low gain for a saturated pixel; -1 for none.
adc_bits : int
    Encodings 2 and 4: the lowest bits of a word are the signal; the two above them are its gain code, which
    encoding 4 does not look at.
mask_bad : int
    Encoding 5: bits of the mask of which one makes a pixel bad.
zero_adc : int
    Encoding 3: what a stored 0 stands for.
fixed_stage : int
    -1 adaptive, else the stage of a fixed-gain run.
set_min, round_photons : bool
    Medium-gain values below 0 become 0; values are rounded to whole photons.
rounding_threshold, value_limit, lit_threshold, to_photon : float
    Fraction from which photons are rounded up; |x| above which a pixel does not count; threshold of a lit
    pixel (strictly above; NaN counts none); photons per unit (0 counts none).
candidate_threshold : float
    A pixel that counts is a candidate when its value is at least this; NaN makes none.
shift : int32 (F, n_tiles) or None
    Whole numbers of 1/256 ADU that are added to the offsets of a tile of a frame.
pixel_shift, pixel_shift_row : int32 (U, n_pixels) and int32 (F,), or None
    The same for every pixel, and which row of them belongs to a frame; -1 is none.
tile_rows, tile_columns, row_pixels : int
    Pixels of a tile and of a row of a frame, where there are tiles; tile_columns is a multiple of 8.
stream : int
    Handle of the device stream, 0 for the default one.
threads : int
    CPU threads.)doc";

void check_planes(const CalibrateCall& c, int fixed_stage) {
  if (c.encoding == Encoding::kCorrected) {
    check_that(c.planes == math::kCorrectedPlanes, "raw", "5 planes: values, mask and gain stage");
    check_that(fixed_stage < 0, "fixed_stage", "-1, since stages are in the frames");
    return;
  }
  if (c.encoding == Encoding::kPlain) {
    check_that(c.planes == 1, "raw", "1 plane, since there is one gain stage");
    check_that(c.table_planes == math::kSinglePlanes, "table", "2 planes, since there is one gain stage");
    check_that(fixed_stage <= 0, "fixed_stage", "-1 or 0, since there is one gain stage");
    return;
  }
  if (c.encoding == Encoding::kWord || c.encoding == Encoding::kParallel) {
    const bool parallel = c.encoding == Encoding::kParallel;
    check_that(c.planes == (parallel ? 3 : 1), "raw",
               parallel ? "3 planes, for high, medium and low gain" : "1 plane, since words hold all");
    check_that(c.table_planes == math::kPlainPlanes, "table", "8 planes, since no stage is forced");
    check_that(!parallel || fixed_stage < 0, "fixed_stage", "-1, since each plane is a stage of its own");
    return;
  }
  check_that(c.table_planes == math::kPlainPlanes || c.table_planes == math::kForcedPlanes, "table",
             "8 or 10 planes");
  check_that(c.planes == 1 || c.planes == 2, "raw", "1 or 2 planes");
  const bool needs_gain_plane = c.encoding == Encoding::kCode || fixed_stage < 0;
  check_that(c.planes == 2 || !needs_gain_plane, "raw", "2 planes, since stages come from plane 1");
}

void calibrate_count_py(const py::object& raw, const py::object& frames, const py::object& groups,
                        const py::object& table, const py::object& counts, const py::object& pixels,
                        const py::object& stage, const py::object& candidates, const py::object& places,
                        int encoding, int fixed_stage, bool set_min, bool round_photons,
                        float rounding_threshold, float value_limit, float lit_threshold, float to_photon,
                        float candidate_threshold, int medium_code, int low_code, int lost_adc,
                        int saturated_adc, int adc_bits, int zero_adc, std::uint32_t mask_bad,
                        const py::object& shift, const py::object& pixel_shift,
                        const py::object& pixel_shift_row, int tile_rows, int tile_columns, int row_pixels,
                        std::uintptr_t stream, int threads) {
  const ArrayView raw_view = view_array(raw, "raw", "<u2", {kAny, kAny, kAny}, false);
  const std::int64_t n_frames = raw_view.shape[0];
  const std::int64_t n_pixels = raw_view.shape[2];
  const ArrayView frames_view = view_array(frames, "frames", "<i4", {kAny}, false);
  const ArrayView groups_view = view_array(groups, "groups", "<i4", {kAny, 3}, false);
  const TableView table_view = view_table(table, n_pixels);
  const ArrayView counts_view =
      view_array(counts, "counts", "<i8", {places.is_none() ? n_frames : kAny, 5}, true);
  const std::int64_t n_places = counts_view.shape[0];

  CalibrateCall call{};
  call.raw = raw_view.as<const std::uint16_t>();
  call.frames = frames_view.as<const std::int32_t>();
  call.groups = groups_view.as<const FrameGroup>();
  call.table = table_view.planes;
  call.packed = table_view.packed;
  call.counts = counts_view.as<FrameCounts>();
  check_that(pixels.is_none() == stage.is_none(), "pixels, stage", "both arrays or both None");
  if (!pixels.is_none()) {
    call.pixels = view_array(pixels, "pixels", "<f4", {n_places, n_pixels}, true).as<float>();
    call.stage = view_array(stage, "stage", "<u1", {n_places, n_pixels}, true).as<std::uint8_t>();
  }
  if (!candidates.is_none()) {
    check_that(!pixels.is_none(), "candidates",
               "pixels and stage to be written too, since the bits are made from them; pass all three, or "
               "candidates=None");
    check_that(n_pixels % 32 == 0, "candidates",
               "a multiple of 32 pixels in a frame, got " + std::to_string(n_pixels) +
                   "; pad the frames, or pass candidates=None");
    const ArrayView view = view_array(candidates, "candidates", "<u4", {n_places, n_pixels / 32}, true);
    call.candidates = view.as<std::uint32_t>();
  }
  call.n_frames = n_frames;
  call.n_places = n_places;
  call.n_listed = frames_view.shape[0];
  call.places = call.frames;
  if (!places.is_none()) {
    call.places = view_array(places, "places", "<i4", {call.n_listed}, false).as<const std::int32_t>();
  }
  call.n_groups = groups_view.shape[0];
  call.n_rows = table_view.rows;
  call.n_pixels = n_pixels;
  call.planes = static_cast<int>(raw_view.shape[1]);
  call.table_planes = table_view.n_planes;
  call.round_photons = round_photons;

  check_that(n_pixels % 8 == 0, "raw", "a multiple of 8 pixels in a frame, got " + std::to_string(n_pixels));
  check_that(
      encoding >= 0 && encoding <= 5, "encoding",
      "0 (digital level), 1 (gain code), 2 (word), 3 (one gain stage), 4 (parallel gain) or 5 (corrected)");
  check_that(fixed_stage >= -1 && fixed_stage <= 2, "fixed_stage", "-1, 0, 1 or 2");
  call.encoding = static_cast<Encoding>(encoding);
  check_planes(call, fixed_stage);
  check_that(medium_code > 0 && low_code > 0 && medium_code != low_code, "medium_code, low_code",
             "two numbers above 0");
  check_that(adc_bits >= 1 && adc_bits <= 14, "adc_bits", "1 to 14");
  check_that(zero_adc >= 0 && zero_adc <= 65535, "zero_adc", "0 to 65535");
  check_photon_rules(value_limit, to_photon, rounding_threshold);
  check_that(threads >= 1, "threads", "at least 1");
  const float medium_floor = set_min ? 0.0f : -std::numeric_limits<float>::infinity();
  call.rules = {rounding_threshold,
                value_limit,
                lit_threshold,
                candidate_threshold,
                to_photon,
                medium_floor,
                fixed_stage,
                {medium_code, low_code, lost_adc, saturated_adc, adc_bits, zero_adc},
                mask_bad};
  call.shifts = view_shifts(shift, pixel_shift, pixel_shift_row, tile_rows, tile_columns, row_pixels,
                            n_frames, n_pixels);
#if !defined(SHOTSIEVE_DEVICE_BACKEND)
  check_lists(call.groups, call.n_groups, call.frames, call.n_listed, n_frames, call.n_rows, call.shifts);
  if (!places.is_none()) check_places(call.places, call.n_listed, call.n_places);
#endif

  // Safe without the GIL: the caller holds references to every array for the length of the call.
  const py::gil_scoped_release release;
  calibrate_count(call, {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_calibrate(py::module_& m) {
  m.def("calibrate_count", &calibrate_count_py, kCalibrateDoc, py::arg("raw"), py::arg("frames"),
        py::arg("groups"), py::arg("table"), py::arg("counts"), py::arg("pixels") = py::none(),
        py::arg("stage") = py::none(), py::arg("candidates") = py::none(), py::arg("places") = py::none(),
        py::kw_only(), py::arg("encoding"), py::arg("fixed_stage") = -1, py::arg("set_min") = false,
        py::arg("round_photons") = false, py::arg("rounding_threshold") = 0.5f, py::arg("value_limit") = 1e7f,
        py::arg("lit_threshold") = std::numeric_limits<float>::quiet_NaN(), py::arg("to_photon") = 0.0f,
        py::arg("candidate_threshold") = std::numeric_limits<float>::quiet_NaN(), py::arg("medium_code") = 1,
        py::arg("low_code") = 3, py::arg("lost_adc") = 0x3FFF, py::arg("saturated_adc") = 0,
        py::arg("adc_bits") = 12, py::arg("zero_adc") = 0, py::arg("mask_bad") = std::uint32_t{0xFFFFFFFF},

        py::arg("shift") = py::none(), py::arg("pixel_shift") = py::none(),
        py::arg("pixel_shift_row") = py::none(), py::arg("tile_rows") = 0, py::arg("tile_columns") = 0,
        py::arg("row_pixels") = 0, py::arg("stream") = 0, py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
