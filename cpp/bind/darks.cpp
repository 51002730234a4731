#include "../core/darks.hpp"

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kDarksDoc =
    R"doc(Add dark frames to the sums of every pixel, by rows (module and memory cell).

Promise: exact, the same bits on every backend, thread count, order and cut into calls.

Parameters
----------
raw : uint16 (F, planes, n_pixels)
frames : int32 (n,)
    Which frames are added; best ordered by their row.
row : int32 (n,)
    Row of each of them; a frame with a row out of range is left out.
count, sum : uint32 (rows, n_pixels)
squares : uint64 (rows, n_pixels)
    Changed: samples, sum of their values and of their squares; 0 at first. A row must not get more than
    (2**32 - 1) // most frames.
wrong : uint32 (rows, n_pixels)
    Changed: samples of another gain code, or no measurement; they count in nothing else.
outside : uint32 (rows, n_pixels), low, high : uint16 (rows, n_pixels), or None
    With a gate: only values inside [low, high] count, the others are counted in `outside`.
level_count, level_sum : uint32 (rows, n_pixels), level_squares : uint64 (rows, n_pixels), or None
    The same of the digital level, plane `level_plane`; no gate applies to it.
value_plane, value_mask : int
    The plane, and the bits in it, that are the value.
code_plane, code_shift, code_mask, code : int
    The gain code of a sample is (word >> code_shift) & code_mask; a sample with another than `code` is wrong.
zero_as : int
    What a value of 0 stands for.
least, most : int
    A value outside is no measurement; nor is a level above `most`.
stream, threads : int)doc";

void dark_sums_py(const py::object& raw, const py::object& frames, const py::object& row,
                  const py::object& count, const py::object& sum, const py::object& squares,
                  const py::object& wrong, const py::object& outside, const py::object& low,
                  const py::object& high, const py::object& level_count, const py::object& level_sum,
                  const py::object& level_squares, std::int64_t value_plane, std::uint32_t value_mask,
                  std::int64_t code_plane, std::uint32_t code_shift, std::uint32_t code_mask,
                  std::uint32_t code, std::uint32_t zero_as, std::uint32_t least, std::uint32_t most,
                  std::int64_t level_plane, std::uintptr_t stream, int threads) {
  if (threads < 1) throw py::value_error("threads: expected at least 1");
  if (code_shift > 15) throw py::value_error("code_shift: expected 0 to 15");
  if (value_mask > 0xffff || most > 0xffff || zero_as > 0xffff) {
    throw py::value_error("value_mask, zero_as, most: expected 16 bits");
  }
  DarkCall call{};
  const ArrayView view = view_array(raw, "raw", "<u2", {kAny, kAny, kAny}, false);
  call.raw = view.as<const std::uint16_t>();
  call.n_frames = view.shape[0];
  call.n_planes = view.shape[1];
  call.n_pixels = view.shape[2];
  if (value_plane < 0 || value_plane >= call.n_planes) throw py::value_error("value_plane: there is none");
  if (code_plane < 0 || code_plane >= call.n_planes) throw py::value_error("code_plane: there is none");
  const ArrayView list = view_array(frames, "frames", "<i4", {kAny}, false);
  call.frames = list.as<const std::int32_t>();
  call.n_listed = list.shape[0];
  call.row = view_array(row, "row", "<i4", {call.n_listed}, false).as<const std::int32_t>();
  const ArrayView counted = view_array(count, "count", "<u4", {kAny, call.n_pixels}, true);
  call.n_rows = counted.shape[0];
  const std::vector<std::int64_t> shape{call.n_rows, call.n_pixels};
  call.count = counted.as<std::uint32_t>();
  call.sum = view_array(sum, "sum", "<u4", shape, true).as<std::uint32_t>();
  call.squares = view_array(squares, "squares", "<u8", shape, true).as<std::uint64_t>();
  call.wrong = view_array(wrong, "wrong", "<u4", shape, true).as<std::uint32_t>();
  if (!low.is_none()) {
    call.low = view_array(low, "low", "<u2", shape, false).as<const std::uint16_t>();
    call.high = view_array(high, "high", "<u2", shape, false).as<const std::uint16_t>();
    call.outside = view_array(outside, "outside", "<u4", shape, true).as<std::uint32_t>();
  }
  if (!level_sum.is_none()) {
    if (level_plane < 0 || level_plane >= call.n_planes) throw py::value_error("level_plane: there is none");
    call.level_count = view_array(level_count, "level_count", "<u4", shape, true).as<std::uint32_t>();
    call.level_sum = view_array(level_sum, "level_sum", "<u4", shape, true).as<std::uint32_t>();
    call.level_squares = view_array(level_squares, "level_squares", "<u8", shape, true).as<std::uint64_t>();
  }
  call.value_plane = value_plane;
  call.code_plane = code_plane;
  call.level_plane = level_plane;
  call.words = {value_mask, code_shift, code_mask, code, zero_as, least, most};

  // Safe without the GIL: the caller holds references to every array for the length of the call.
  const py::gil_scoped_release release;
  dark_sums(call, {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_darks(py::module_& m) {
  m.def("dark_sums", &dark_sums_py, kDarksDoc, py::arg("raw"), py::arg("frames"), py::arg("row"),
        py::arg("count"), py::arg("sum"), py::arg("squares"), py::arg("wrong"),
        py::arg("outside") = py::none(), py::arg("low") = py::none(), py::arg("high") = py::none(),
        py::arg("level_count") = py::none(), py::arg("level_sum") = py::none(),
        py::arg("level_squares") = py::none(), py::kw_only(), py::arg("value_plane") = 0,
        py::arg("value_mask") = 0xffff, py::arg("code_plane") = 0, py::arg("code_shift") = 0,
        py::arg("code_mask") = 0, py::arg("code") = 0, py::arg("zero_as") = 0, py::arg("least") = 0,
        py::arg("most") = 0xffff, py::arg("level_plane") = 1, py::arg("stream") = 0, py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
