// Python face of cpp/io: checks arrays, releases the GIL, reads nothing itself.
#include <fcntl.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl/filesystem.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "read_extents.hpp"

namespace py = pybind11;
using shotsieve::io::Extents;
using shotsieve::io::read_extents;
using shotsieve::io::ReadError;

namespace {

using Offsets = py::array_t<std::int64_t, py::array::c_style>;

// Closes a file that this module opened itself; a file of the caller is left open.
struct File {
  int fd = -1;
  bool own = false;
  ~File() {
    if (own && fd >= 0) ::close(fd);
  }
};

void fill(const py::object& file, const Offsets& file_offsets, const Offsets& dest_offsets,
          const Offsets& nbytes, const py::buffer& dest, int threads) {
  if (file_offsets.ndim() != 1 || dest_offsets.ndim() != 1 || nbytes.ndim() != 1 ||
      file_offsets.size() != dest_offsets.size() || file_offsets.size() != nbytes.size())
    throw py::value_error(
        "file_offsets, dest_offsets and nbytes must be one-dimensional and equally long, not " +
        std::to_string(file_offsets.size()) + ", " + std::to_string(dest_offsets.size()) + " and " +
        std::to_string(nbytes.size()));
  if (threads < 1) throw py::value_error("threads must be at least 1, not " + std::to_string(threads));
  Py_buffer view;
  if (PyObject_GetBuffer(dest.ptr(), &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) != 0)
    throw py::error_already_set();
  struct Release {
    Py_buffer* view;
    ~Release() { PyBuffer_Release(view); }
  } release{&view};

  File handle;
  std::string name;
  if (py::isinstance<py::int_>(file)) {
    handle.fd = file.cast<int>();
    name = "file descriptor " + std::to_string(handle.fd);
  } else {
    const std::string path = file.cast<std::filesystem::path>().string();
    name = path;
    handle.own = true;
    int code = 0;
    {
      py::gil_scoped_release nogil;
      do {
        handle.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
      } while (handle.fd < 0 && errno == EINTR);
      code = handle.fd < 0 ? errno : 0;
    }
    if (code) throw ReadError(code, name + ": the file cannot be opened: " + std::strerror(code));
  }
  const Extents extents{file_offsets.data(), dest_offsets.data(), nbytes.data(), file_offsets.size()};
  py::gil_scoped_release nogil;
  read_extents(handle.fd, name, extents, static_cast<std::uint8_t*>(view.buf), view.len, threads);
}

}  // namespace

PYBIND11_MODULE(_io, m) {
  m.doc() = "Reading extents of files into one buffer, in threads.";
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const ReadError& e) {
      // EIO stands for a file that ends too early, so that the caller always finds an errno.
      PyErr_SetObject(PyExc_OSError, py::make_tuple(e.code ? e.code : EIO, e.what()).ptr());
    }
  });
  m.def("read_extents", &fill, py::arg("file"), py::arg("file_offsets"), py::arg("dest_offsets"),
        py::arg("nbytes"), py::arg("dest"), py::arg("threads") = 1,
        "Fill `dest` (any writable C-contiguous buffer) with `nbytes[i]` bytes found at `file_offsets[i]` of "
        "`file`\n"
        "(a path or an open descriptor), written at byte `dest_offsets[i]`; the three arrays are int64 "
        "(n,).\n\n"
        "Raises OSError naming file, offset and bytes missing when the file ends too early or cannot be "
        "read, and\n"
        "ValueError when an extent does not fit into `dest` (then nothing was read). The GIL is released.\n"
        "Promise: exact.");
}
