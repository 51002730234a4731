// Arrays cross from Python as (pointer, shape): host arrays through __array_interface__, device arrays
// through __cuda_array_interface__. Everything is checked here, once; nothing is converted or copied.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace shotsieve::bind {

namespace py = pybind11;

#if defined(SHOTSIEVE_DEVICE_BACKEND)
constexpr const char* kInterface = "__cuda_array_interface__";
constexpr const char* kArrayKind = "device array";
#else
constexpr const char* kInterface = "__array_interface__";
constexpr const char* kArrayKind = "NumPy array";
#endif

constexpr const char* kHostInterface = "__array_interface__";

// A size in a shape that any value satisfies.
constexpr std::int64_t kAny = -1;

struct ArrayView {
  void* data;
  std::vector<std::int64_t> shape;

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

inline std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "(";
  for (const std::int64_t n : shape) text += (n == kAny ? std::string("any") : std::to_string(n)) + ", ";
  return text + ")";
}

inline std::vector<std::int64_t> to_sizes(const py::handle& tuple) {
  std::vector<std::int64_t> sizes;
  for (const auto& n : tuple) sizes.push_back(py::cast<std::int64_t>(n));
  return sizes;
}

inline bool is_c_contiguous(const py::dict& interface, const std::vector<std::int64_t>& shape,
                            std::int64_t item_bytes) {
  if (!interface.contains("strides") || interface["strides"].is_none()) return true;
  const std::vector<std::int64_t> strides = to_sizes(interface["strides"]);
  std::int64_t expected = item_bytes;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    if (shape[axis] > 1 && strides[axis] != expected) return false;
    expected *= shape[axis] > 0 ? shape[axis] : 1;
  }
  return true;
}

inline void check_that(bool fine, const char* name, const std::string& expected) {
  if (!fine) throw py::value_error(std::string(name) + ": expected " + expected);
}

// `dtype` as NumPy writes it, "<u2"; `shape` may hold kAny. The name stands in every message.
inline ArrayView view_array(const py::object& object, const char* name, const char* dtype,
                            const std::vector<std::int64_t>& shape, bool writable,
                            const char* interface_name = kInterface, const char* kind = kArrayKind) {
  if (!py::hasattr(object, interface_name)) {
    throw py::type_error(std::string(name) + ": expected a " + kind + ", got " +
                         py::cast<std::string>(py::str(py::type::of(object))));
  }
  const py::dict interface = object.attr(interface_name);
  const std::string found_dtype = py::cast<std::string>(interface["typestr"]);
  ArrayView view{nullptr, to_sizes(interface["shape"])};
  const py::tuple data = interface["data"];
  view.data = reinterpret_cast<void*>(py::cast<std::uintptr_t>(data[0]));

  bool fits = view.shape.size() == shape.size();
  for (std::size_t axis = 0; fits && axis < shape.size(); ++axis) {
    fits = shape[axis] == kAny || shape[axis] == view.shape[axis];
  }
  const std::string expected =
      std::string(name) + ": expected dtype " + dtype + " and shape " + shape_text(shape);
  // "|u1" and "<u1" are the same thing: one byte has no order.
  const bool same_dtype = found_dtype == dtype || (found_dtype.substr(1) == std::string(dtype).substr(1) &&
                                                   found_dtype.back() == '1' && found_dtype[0] == '|');
  if (!fits || !same_dtype) {
    throw py::value_error(expected + ", got dtype " + found_dtype + " and shape " + shape_text(view.shape));
  }
  const std::int64_t item_bytes = dtype[2] - '0';
  if (!is_c_contiguous(interface, view.shape, item_bytes)) {
    throw py::value_error(expected + ", C-contiguous; got strides; make a contiguous copy first");
  }
#if defined(SHOTSIEVE_DEVICE_BACKEND)
  if (interface_name == kInterface && reinterpret_cast<std::uintptr_t>(view.data) % 16 != 0) {
    throw py::value_error(expected + ", aligned to 16 bytes; got a device array that starts in between");
  }
#endif
  if (writable && py::cast<bool>(data[1])) {
    throw py::value_error(std::string(name) + ": the array is read-only, and results are written to it");
  }
  return view;
}

// An array in host memory, whatever the backend.
inline ArrayView view_host_array(const py::object& object, const char* name, const char* dtype,
                                 const std::vector<std::int64_t>& shape, bool writable) {
  return view_array(object, name, dtype, shape, writable, kHostInterface, "NumPy array");
}

}  // namespace shotsieve::bind
