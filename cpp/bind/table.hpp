// The table of folded constants as it comes from Python, in either form.
#pragma once

#include "../math/packed.hpp"
#include "array.hpp"

namespace shotsieve::bind {

struct TableView {
  const float* planes;          // null where constants are packed
  const std::uint16_t* packed;  // null where they are not
  std::int64_t rows;
  int n_planes;
};

// float32 (rows, planes, n_pixels), or uint16 with the head of each plane before its pixels.
inline TableView view_table(const py::object& table, std::int64_t n_pixels) {
  const bool packed =
      py::hasattr(table, kInterface) &&
      py::cast<std::string>(py::dict(table.attr(kInterface))["typestr"]) == std::string("<u2");
  const std::int64_t words = packed ? n_pixels + math::kPackedHead : n_pixels;
  const ArrayView view = view_array(table, "table", packed ? "<u2" : "<f4", {kAny, kAny, words}, false);
  return {packed ? nullptr : view.as<const float>(), packed ? view.as<const std::uint16_t>() : nullptr,
          view.shape[0], static_cast<int>(view.shape[1])};
}

}  // namespace shotsieve::bind
