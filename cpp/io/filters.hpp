// What HDF5's filters need that no package offers: shuffled frames picked out of a chunk, and a look at a
// bitshuffled chunk before it is handed to a decoder that trusts it.
#pragma once

#include <cstdint>

namespace shotsieve::io {

// Undo HDF5's shuffle for elements [first, first + count) of a chunk of `total` elements of `size` bytes
// each: byte b of element i stands at b * total + i of `from`. Writes count * size bytes to `to`, `past` the
// caches where the processor can: for what is more than they hold, so that it drives nothing out of them.
// Such stores are seen by other threads after the return. Promise: exact.
void unshuffle(const std::uint8_t* from, std::int64_t size, std::int64_t total, std::int64_t first,
               std::int64_t count, std::uint8_t* to, bool past = false);

// Elements of one block of a chunk that the bitshuffle filter compressed, or -1 if the chunk's own lengths
// do not fit: a header that tells other than `nbytes` of data, elements of other than `size` bytes, or blocks
// that end behind the `stored` bytes. The layout is that of bitshuffle's HDF5 filter: the length of the data
// (8 bytes, big-endian) and of a block (4), then each block with its own length (4) before it, and what is
// left of eight elements at the end as it is.
std::int64_t bitshuffle_block(const std::uint8_t* chunk, std::int64_t stored, std::int64_t nbytes,
                              std::int64_t size);

}  // namespace shotsieve::io
