#include "../core/photon_list.hpp"

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

bool is_narrow(const py::object& frames) {
  if (!py::hasattr(frames, kInterface)) return false;  // `view_array` says what is wrong
  const std::string dtype = py::cast<std::string>(py::dict(frames.attr(kInterface))["typestr"]);
  return dtype.back() == '1';
}

PhotonFrames frames_of(const py::object& frames, bool narrow) {
  const ArrayView view = view_array(frames, "frames", narrow ? "<u1" : "<u2", {kAny, kAny}, false);
  return {narrow ? view.as<const std::uint8_t>() : nullptr, narrow ? nullptr : view.as<const std::uint16_t>(),
          view.shape[0], view.shape[1]};
}

void photon_numbers_py(const py::object& frames, const py::object& number, std::uintptr_t stream,
                       int threads) {
  const PhotonFrames given = frames_of(frames, is_narrow(frames));
  const ArrayView number_view = view_array(number, "number", "<i4", {given.n}, true);
  const py::gil_scoped_release release;
  photon_numbers(given, number_view.as<std::int32_t>(), {reinterpret_cast<void*>(stream), threads});
}

void photon_list_py(const py::object& frames, const py::object& first, const py::object& pixel,
                    const py::object& count, std::uintptr_t stream, int threads) {
  const bool narrow = is_narrow(frames);
  const PhotonFrames given = frames_of(frames, narrow);
  const ArrayView first_view = view_array(first, "first", "<i8", {given.n + 1}, false);
  const ArrayView pixel_view = view_array(pixel, "pixel", "<u4", {kAny}, true);
  const ArrayView count_view =
      view_array(count, "count", narrow ? "<u1" : "<u2", {pixel_view.shape[0]}, true);
  const py::gil_scoped_release release;
  photon_list(given, first_view.as<const std::int64_t>(), pixel_view.as<std::uint32_t>(),
              count_view.as<void>(), {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_photon_list(py::module_& m) {
  m.def("photon_numbers", &photon_numbers_py,
        "number[k] = pixels of frame k that hold photons; frames uint8 or uint16 (n, pixels), number int32 "
        "(n,). Promise: exact.",
        py::arg("frames"), py::arg("number"), py::kw_only(), py::arg("stream") = 0, py::arg("threads") = 1);
  m.def(
      "photon_list", &photon_list_py,
      "Entries first[k] to first[k + 1] = pixels of frame k that hold photons, ascending, and their photons; "
      "frames uint8 or uint16 (n, pixels), first int64 (n + 1,), pixel uint32 (e,), count (e,) of the dtype "
      "of the frames; first must not pass e. Promise: exact.",
      py::arg("frames"), py::arg("first"), py::arg("pixel"), py::arg("count"), py::kw_only(),
      py::arg("stream") = 0, py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
