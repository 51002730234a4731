#include "../core/compact.hpp"

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

void keep_list_py(const py::object& keep, const py::object& index, const py::object& count,
                  std::uintptr_t stream, int threads) {
  const ArrayView keep_view = view_array(keep, "keep", "<u1", {kAny}, false);
  const std::int64_t n = keep_view.shape[0];
  const ArrayView index_view = view_array(index, "index", "<i4", {n}, true);
  const ArrayView count_view = view_array(count, "count", "<i4", {1}, true);
  const py::gil_scoped_release release;
  keep_list(keep_view.as<const std::uint8_t>(), n, index_view.as<std::int32_t>(),
            count_view.as<std::int32_t>(), {reinterpret_cast<void*>(stream), threads});
}

void gather_rows_py(const py::object& source, const py::object& index, const py::object& count,
                    const py::object& target, std::uintptr_t stream, int threads) {
  const ArrayView source_view = view_array(source, "source", "<u1", {kAny, kAny}, false);
  const std::int64_t row_bytes = source_view.shape[1];
  const ArrayView index_view = view_array(index, "index", "<i4", {kAny}, false);
  const ArrayView count_view = view_array(count, "count", "<i4", {1}, false);
  const ArrayView target_view = view_array(target, "target", "<u1", {kAny, row_bytes}, true);
  if (row_bytes % 16 != 0) throw py::value_error("source: expected rows of a multiple of 16 bytes");
  const py::gil_scoped_release release;
  gather_rows(source_view.as<const std::uint8_t>(), row_bytes, index_view.as<const std::int32_t>(),
              count_view.as<const std::int32_t>(), target_view.shape[0], target_view.as<std::uint8_t>(),
              {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_compact(py::module_& m) {
  m.def("keep_list", &keep_list_py,
        "index[:count] = positions of the non-zero bytes of keep (n,), ascending; index int32 (n,), count "
        "int32 (1,). Promise: exact.",
        py::arg("keep"), py::arg("index"), py::arg("count"), py::kw_only(), py::arg("stream") = 0,
        py::arg("threads") = 1);
  m.def("gather_rows", &gather_rows_py,
        "target[k] = source[index[k]] for k below min(count, len(target)); uint8 rows of a multiple of 16 "
        "bytes. Promise: exact.",
        py::arg("source"), py::arg("index"), py::arg("count"), py::arg("target"), py::kw_only(),
        py::arg("stream") = 0, py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
