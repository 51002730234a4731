// Reading many extents of one file into one buffer, with threads.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace shotsieve::io {

// What went wrong while reading; `code` is an errno, or 0 for a file that ends too early.
struct ReadError : std::runtime_error {
  ReadError(int code_, const std::string& text) : std::runtime_error(text), code(code_) {}
  int code;
};

// One piece of a file and where it goes.
struct Extents {
  const std::int64_t* file_offset;
  const std::int64_t* dest_offset;
  const std::int64_t* nbytes;
  std::int64_t count;
};

// Fill `dest` (dest_bytes long) from the open file `fd`; `name` is only for error texts.
//
// Extents that follow each other in the file are read with one preadv, whatever their targets, because
// the frames of one module lie together in the file but apart in a block of all modules. The extents are
// dealt to `threads` threads (at least one; the caller's own is one of them). Throws std::invalid_argument
// when an extent does not fit into `dest`, before anything is read, and ReadError for the first failure.
// Promise: exact. Extents that overlap in `dest` are the caller's mistake; which one wins is not defined.
void read_extents(int fd, const std::string& name, const Extents& extents, std::uint8_t* dest,
                  std::int64_t dest_bytes, int threads);

}  // namespace shotsieve::io
