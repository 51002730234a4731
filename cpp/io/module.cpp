// Python face of cpp/io: checks arrays, releases the GIL, reads nothing itself.
#include <fcntl.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "filters.hpp"
#include "inflate.hpp"
#include "masks.hpp"
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

// A contiguous buffer, held as long as this lives.
struct Bytes {
  Py_buffer view;
  Bytes(const py::buffer& of, int flags) {
    if (PyObject_GetBuffer(of.ptr(), &view, flags) != 0) throw py::error_already_set();
  }
  ~Bytes() { PyBuffer_Release(&view); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  std::uint8_t* data() const { return static_cast<std::uint8_t*>(view.buf); }
};

void fill(const py::object& file, const Offsets& file_offsets, const Offsets& dest_offsets,
          const Offsets& nbytes, const py::buffer& dest, int threads, const std::string& called) {
  if (file_offsets.ndim() != 1 || dest_offsets.ndim() != 1 || nbytes.ndim() != 1 ||
      file_offsets.size() != dest_offsets.size() || file_offsets.size() != nbytes.size())
    throw py::value_error(
        "file_offsets, dest_offsets and nbytes must be one-dimensional and equally long, not " +
        std::to_string(file_offsets.size()) + ", " + std::to_string(dest_offsets.size()) + " and " +
        std::to_string(nbytes.size()));
  if (threads < 1) throw py::value_error("threads must be at least 1, not " + std::to_string(threads));
  const Bytes to(dest, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE);

  File handle;
  std::string name;
  if (py::isinstance<py::int_>(file)) {
    handle.fd = file.cast<int>();
    name = called.empty() ? "file descriptor " + std::to_string(handle.fd) : called;
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
  read_extents(handle.fd, name, extents, to.data(), to.view.len, threads);
}

void unshuffle(const py::buffer& chunk, std::int64_t size, std::int64_t first, std::int64_t count,
               const py::buffer& dest, std::int64_t dest_offset, bool past) {
  const Bytes from(chunk, PyBUF_C_CONTIGUOUS), to(dest, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE);
  if (size < 1 || from.view.len % size)
    throw py::value_error("a chunk of " + std::to_string(from.view.len) +
                          " bytes does not hold elements of " + std::to_string(size) + " bytes");
  const std::int64_t total = from.view.len / size;
  if (first < 0 || count < 0 || count > total || first > total - count || dest_offset < 0 ||
      count > to.view.len / size || dest_offset > to.view.len - count * size)
    throw py::value_error(std::to_string(count) + " elements from " + std::to_string(first) +
                          " of a chunk of " + std::to_string(total) + " do not fit at byte " +
                          std::to_string(dest_offset) + " of a destination of " +
                          std::to_string(to.view.len) + " bytes");
  py::gil_scoped_release nogil;
  shotsieve::io::unshuffle(from.data(), size, total, first, count, to.data() + dest_offset, past);
}

std::int64_t bitshuffle_block(const py::buffer& chunk, std::int64_t nbytes, std::int64_t size) {
  const Bytes from(chunk, PyBUF_C_CONTIGUOUS);
  return shotsieve::io::bitshuffle_block(from.data(), from.view.len, nbytes, size);
}

void check_chunks(const shotsieve::io::Chunks& c, const Offsets& bounds, std::int64_t frames,
                  std::int64_t dest_bytes) {
  if (c.size < 1 || c.nbytes < 1 || c.nbytes % c.size)
    throw py::value_error("a chunk of " + std::to_string(c.nbytes) + " bytes does not hold elements of " +
                          std::to_string(c.size) + " bytes");
  const std::int64_t total = c.nbytes / c.size;
  if (c.elements < 0 || c.elements > total)
    throw py::value_error("a chunk of " + std::to_string(total) + " elements does not hold frames of " +
                          std::to_string(c.elements));
  for (std::int64_t i = 0; i < c.count; ++i)
    if (c.offset[i] < 0 || c.stored[i] < 0 || c.offset[i] > INT64_MAX - c.stored[i])
      throw py::value_error("chunk " + std::to_string(i) + ": " + std::to_string(c.stored[i]) +
                            " bytes at byte " + std::to_string(c.offset[i]) + " are in no file");
  const std::int64_t* b = bounds.data();
  if (b[0] != 0 || b[c.count] != frames || !std::is_sorted(b, b + c.count + 1))
    throw py::value_error("bounds must rise from 0 to the number of frames, " + std::to_string(frames));
  for (std::int64_t j = 0; j < frames; ++j)
    if (c.first[j] < 0 || c.first[j] > total - c.elements || c.to[j] < 0 ||
        c.elements * c.size > dest_bytes || c.to[j] > dest_bytes - c.elements * c.size)
      throw py::value_error("frame " + std::to_string(j) + ": " + std::to_string(c.elements) +
                            " elements from " + std::to_string(c.first[j]) + " of a chunk of " +
                            std::to_string(total) + " do not fit at byte " + std::to_string(c.to[j]) +
                            " of a destination of " + std::to_string(dest_bytes) + " bytes");
}

py::tuple inflate_frames(int fd, const std::array<std::uintptr_t, 3>& functions, const Offsets& offset,
                         const Offsets& stored, const Offsets& bounds, const Offsets& first,
                         const Offsets& to, std::int64_t elements, std::int64_t size, std::int64_t nbytes,
                         bool shuffled, const py::buffer& dest, int threads) {
  if (offset.ndim() != 1 || stored.ndim() != 1 || bounds.ndim() != 1 || first.ndim() != 1 || to.ndim() != 1 ||
      stored.size() != offset.size() || bounds.size() != offset.size() + 1 || first.size() != to.size())
    throw py::value_error(
        "offset and stored must have the shape (chunks,), bounds (chunks + 1,), first and to (frames,)");
  if (threads < 1) throw py::value_error("threads must be at least 1, not " + std::to_string(threads));
  if (!functions[0] || !functions[1] || !functions[2]) throw py::value_error("a function has no address");
  const Bytes out(dest, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE);
  const shotsieve::io::Chunks chunks{offset.data(), stored.data(), bounds.data(), offset.size(), first.data(),
                                     to.data(),     elements,      size,          nbytes,        shuffled};
  check_chunks(chunks, bounds, first.size(), out.view.len);
  shotsieve::io::Deflate deflate;
  deflate.make = reinterpret_cast<decltype(deflate.make)>(functions[0]);
  deflate.end = reinterpret_cast<decltype(deflate.end)>(functions[1]);
  deflate.inflate = reinterpret_cast<decltype(deflate.inflate)>(functions[2]);
  py::array_t<bool> done(offset.size());
  auto* marks = reinterpret_cast<std::uint8_t*>(done.mutable_data());
  shotsieve::io::Spent spent;
  {
    py::gil_scoped_release nogil;
    spent = shotsieve::io::inflate_frames(fd, deflate, chunks, out.data(), marks, threads);
  }
  return py::make_tuple(done, spent.reading, spent.unpacking);
}

template <class T>
using Array = py::array_t<T, py::array::c_style>;

void full_masks(const Array<std::uint8_t>& found, const Array<std::int32_t>& rows,
                const Array<std::uint32_t>& planes, Array<std::uint32_t> mask, const std::array<int, 3>& flag,
                const std::array<std::uint32_t, 3>& bit, std::uint32_t bad_bits, std::uint32_t unknown) {
  const bool fits = found.ndim() == 2 && rows.ndim() == 1 && planes.ndim() == 3 && mask.ndim() == 2 &&
                    rows.shape(0) == found.shape(0) && mask.shape(0) == found.shape(0) &&
                    mask.shape(1) == found.shape(1) && planes.shape(2) == found.shape(1);
  if (!fits)
    throw py::value_error(
        "found and mask must have the shape (frames, pixels), rows (frames,) and planes "
        "(rows, stages, pixels)");
  const std::int64_t frames = found.shape(0), pixels = found.shape(1), stages = planes.shape(1);
  shotsieve::io::MaskFlags flags{{}, {}, bad_bits};
  for (int i = 0; i < 3; ++i) {
    flags.flag[i] = static_cast<std::uint8_t>(flag[i]);
    flags.bit[i] = bit[i];
  }
  const std::uint8_t* from = found.data();
  const std::int32_t* row = rows.data();
  std::uint32_t* to = mask.mutable_data();
  for (std::int64_t i = 0; i < frames; ++i)
    if (row[i] >= planes.shape(0)) throw py::index_error("there is no row " + std::to_string(row[i]));
  bool known = true;
  {
    py::gil_scoped_release nogil;
    for (std::int64_t i = 0; i < frames && known; ++i) {
      if (row[i] < 0)
        std::fill_n(to + i * pixels, pixels, unknown);
      else
        known = shotsieve::io::full_mask(from + i * pixels, pixels, planes.data() + row[i] * stages * pixels,
                                         stages, flags, to + i * pixels);
    }
  }
  if (!known) throw py::index_error("a pixel is in a gain stage that has no mask");
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
        py::arg("nbytes"), py::arg("dest"), py::arg("threads") = 1, py::arg("name") = "",
        "Fill `dest` (any writable C-contiguous buffer) with `nbytes[i]` bytes found at `file_offsets[i]` of "
        "`file`\n"
        "(a path or an open descriptor), written at byte `dest_offsets[i]`; the three arrays are int64 "
        "(n,). `name` is what errors call a file that is a descriptor.\n\n"
        "Raises OSError naming file, offset and bytes missing when the file ends too early or cannot be "
        "read, and\n"
        "ValueError when an extent does not fit into `dest` (then nothing was read). The GIL is released.\n"
        "Promise: exact.");
  m.def(
      "unshuffle", &unshuffle, py::arg("chunk"), py::arg("size"), py::arg("first"), py::arg("count"),
      py::arg("dest"), py::arg("dest_offset") = 0, py::arg("past") = false,
      "Undo HDF5's shuffle filter for `count` elements of `size` bytes from the `first` on, of a chunk's "
      "bytes,\n"
      "into `dest` (any writable C-contiguous buffer) at byte `dest_offset`; with `past` by stores past the "
      "caches,\n"
      "where the processor has them.\n\n"
      "Raises ValueError when they do not fit. The GIL is released.\n"
      "Promise: exact.");
  m.def(
      "inflate_frames", &inflate_frames, py::arg("file"), py::arg("functions"), py::arg("offset"),
      py::arg("stored"), py::arg("bounds"), py::arg("first"), py::arg("to"), py::arg("elements"),
      py::arg("size"), py::arg("nbytes"), py::arg("shuffled"), py::arg("dest"), py::arg("threads") = 1,
      "Read deflated chunks of the open `file`, `stored[i]` bytes at `offset[i]`, unpack them to `nbytes` "
      "bytes of\n"
      "elements of `size` bytes, and write the frames [bounds[i], bounds[i + 1]) of each into `dest`: "
      "`elements`\n"
      "elements from `first[j]` on at byte `to[j]`, with HDF5's shuffle undone where they are "
      "`shuffled`.\n"
      "`functions`: addresses of libdeflate_alloc_decompressor, _free_decompressor and _zlib_decompress.\n\n"
      "Returns which chunks are done, bool (chunks,), and the seconds that all threads spent on reading "
      "and on\n"
      "unpacking. A chunk that cannot be read or unpacked is not done, and what `dest` holds of it is not "
      "defined.\n"
      "Raises ValueError when something does not fit (then nothing was read). The GIL is released.\n"
      "Promise: exact.");
  m.def("full_masks", &full_masks, py::arg("found").noconvert(), py::arg("rows"),
        py::arg("planes").noconvert(), py::arg("mask").noconvert(), py::arg("flag"), py::arg("bit"),
        py::arg("bad_bits"), py::arg("unknown"),
        "Fill `mask`, uint32 (frames, pixels), from what the kernel found, uint8 (frames, pixels), and the "
        "static\n"
        "`planes`, uint32 (rows, stages, pixels): the bits of the stage, and bit[i] for flag[i]; the first "
        "only\n"
        "where the stage has none of `bad_bits`. A row of -1 is `unknown` throughout. The GIL is "
        "released.\n\n"
        "Raises ValueError when shapes do not fit, IndexError for a row or a stage that there is not.\n"
        "Promise: exact.");
  m.def(
      "bitshuffle_block", &bitshuffle_block, py::arg("chunk"), py::arg("nbytes"), py::arg("size"),
      "Elements of a block of a chunk that the bitshuffle filter compressed, of `nbytes` bytes of data with "
      "`size`\n"
      "bytes an element; -1 if the lengths that it tells do not fit together or into the chunk.\n"
      "Promise: exact.");
}
