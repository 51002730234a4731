// Deflated chunks of a file, unpacked straight to where their frames belong.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shotsieve::io {

// Functions of libdeflate, found at run time: nothing here is linked to it. `inflate` undoes zlib's format,
// looks at its checksum and, without a place for the length, takes exactly `to_bytes` for success (0).
struct Deflate {
  void* (*make)();
  void (*end)(void*);
  int (*inflate)(void*, const void* from, std::size_t from_bytes, void* to, std::size_t to_bytes,
                 std::size_t* length);
};

// Chunks of one dataset, in the order of the file, and the frames that are wanted of them. Frames
// [bounds[i], bounds[i + 1]) belong to chunk i; frame j is `elements` elements from `first[j]` on, and is
// written at byte `to[j]` of the destination. A chunk is `nbytes` bytes of elements of `size` bytes.
struct Chunks {
  const std::int64_t* offset;
  const std::int64_t* stored;
  const std::int64_t* bounds;
  std::int64_t count;
  const std::int64_t* first;
  const std::int64_t* to;
  std::int64_t elements, size, nbytes;
  bool shuffled;
};

// Seconds of all threads together.
struct Spent {
  double reading = 0, unpacking = 0;
};

// Put the frames of all chunks into `dest`, and 1 into done[i] where that succeeded; chunks that cannot be
// read, or do not unpack to exactly `nbytes` bytes, have 0, and what `dest` holds for their frames is not
// defined. The caller has looked that everything fits. Threads beside the caller's are started where the
// system gives them. Promise: exact.
Spent inflate_frames(int fd, const Deflate& deflate, const Chunks& chunks, std::uint8_t* dest,
                     std::uint8_t* done, int threads);

}  // namespace shotsieve::io
