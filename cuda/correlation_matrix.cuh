// Sums of products of counts by products of matrices of bytes, on tensor cores. Frames are packed first:
// pixel by pixel in the order of the plan, each part padded with zeros. Sums are integers, so that any order
// of additions gives the same.
#pragma once

#include "correlation.cuh"
#include "eight.cuh"

namespace shotsieve::device {

constexpr int kMatrixThreads = 256;
constexpr int kUnitPlaces = 128;  // a warp packs so many places, a lane four of them
constexpr int kRowBytes = 64;     // which lie in rows of so many bytes: the rows of all frames, then the next
constexpr int kPackRows = 32;     // of so many frames, one after the other
constexpr int kSlicePlaces = 4096;  // a block multiplies so many places
constexpr int kTileFrames = 128;    // of so many frames with as many, a warp 64 with 32 of them
constexpr int kWarpRows = 64, kWarpColumns = 32;

// Rows of packed frames: those of the counts, then those of the others. Beyond the last of either are zeros,
// as many as a warp takes in.
__host__ __device__ inline std::int32_t rows_of_counts(std::int32_t n_frames) {
  return (n_frames + kWarpRows - 1) / kWarpRows * kWarpRows;
}
__host__ __device__ inline std::int32_t rows_of_all(std::int32_t n_frames, std::int32_t n_others) {
  return rows_of_counts(n_frames) + (n_others + kWarpColumns - 1) / kWarpColumns * kWarpColumns;
}
__host__ __device__ inline std::int32_t packed_rows(const CountPairs& c) {
  return rows_of_all(c.n_frames, c.others != nullptr ? c.n_others : 0);
}

// Parts are cut into pieces of `size` places, the last one shorter. Pieces are numbered through with at most
// one number left over after each part, so that nobody has to add up how many the parts before have.
__host__ __device__ inline std::int32_t most_pieces(const PartPlan& plan, std::int32_t size) {
  return plan.n_places / size + plan.n_parts;
}

struct Piece {
  std::int32_t part, number;  // of the piece in its part
  std::int32_t place, stop;   // the first, and the end of the part: none are left if they are the same
};

__device__ inline std::int32_t first_piece(const PartPlan& plan, std::int32_t part, std::int32_t size) {
  return plan.part_start[part] / size + part;
}

__device__ inline Piece piece_of(const PartPlan& plan, std::int32_t piece, std::int32_t size) {
  const std::int32_t part =
      last_part(plan.n_parts, [&](std::int32_t p) { return first_piece(plan, p, size) <= piece; });
  const std::int32_t number = piece - first_piece(plan, part, size), stop = plan.part_start[part + 1];
  const std::int64_t place = plan.part_start[part] + std::int64_t{number} * size;
  return {part, number, place < stop ? static_cast<std::int32_t>(place) : stop, stop};
}

// Sums of frames and the largest count of each part of a train; and its packed frames, unless that is null.
__global__ void pack_frames_kernel(CountPairs c, std::int64_t train, std::uint8_t* packed) {
  const std::int64_t warp = (std::int64_t{blockIdx.x} * kMatrixThreads + threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int32_t units = most_pieces(c.plan, kUnitPlaces), rows = packed_rows(c);
  const auto unit = static_cast<std::int32_t>(warp % units);
  const auto first = static_cast<std::int32_t>(warp / units) * kPackRows;
  if (first >= rows) return;
  const Piece piece = piece_of(c.plan, unit, kUnitPlaces);
  if (piece.place == piece.stop) return;
  std::int32_t pixels[4];
  for (int i = 0; i < 4; ++i) {
    const std::int32_t place = piece.place + 4 * lane + i;
    pixels[i] = place < piece.stop ? c.plan.order[place] : -1;
  }
  const std::int64_t chunk = std::int64_t{unit} * (kUnitPlaces / kRowBytes) + 4 * lane / kRowBytes;
  int own_sum = 0, most = 0;
  const bool other = first >= rows_of_counts(c.n_frames);
  const std::int32_t t = other ? first - rows_of_counts(c.n_frames) : first;  // the first frame
  const std::int32_t frames = other ? c.n_others : c.n_frames;
  const std::uint8_t* counts = (other ? c.others : c.counts) + train * frames * c.plan.n_pixels;
#pragma unroll 4
  for (int k = 0; k < kPackRows; ++k) {
    const std::uint8_t* frame = counts + std::int64_t{t + k} * c.plan.n_pixels;
    unsigned word = 0;
    int sum = 0;
    for (int i = 0; i < 4; ++i) {
      const int value = (pixels[i] >= 0) & (t + k < frames) ? frame[pixels[i]] : 0;
      word |= static_cast<unsigned>(value) << (8 * i);
      sum += value;
      most = value > most ? value : most;
    }
    if (packed != nullptr) {
      *reinterpret_cast<std::uint32_t*>(packed + (chunk * rows + first + k) * kRowBytes +
                                        4 * lane % kRowBytes) = word;
    }
    sum = warp_sum(sum);
    if (lane == k) own_sum = sum;
  }
  const std::int64_t task = train * c.plan.n_parts + piece.part;
  if (!other && t + lane < c.n_frames) atomicAdd(c.frame_sums + task * c.n_frames + t + lane, own_sum);
  for (int step = 16; step > 0; step /= 2) {
    const int theirs = __shfl_xor_sync(0xFFFFFFFFu, most, step);
    most = theirs > most ? theirs : most;
  }
  if (lane == 0) atomicMax(c.largest + task, most);
}

// Adds the product of 16 rows of 32 signed bytes with 8 columns of as many to 16 x 8 sums. Of lane 4 g + q
// are rows g and g + 8, column g, and the sums of rows g and g + 8 with columns 2 q and 2 q + 1.
__device__ inline void add_product(int (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  cuemu::mma_m16n8k32(sums, a, b);
#endif
}

// Blocks: the tiles of a slice beside one another, so that its rows come from the cache for all but the
// first.
__global__ void __launch_bounds__(kMatrixThreads, 2)
    multiply_frames_kernel(CountPairs c, std::int64_t train, const std::uint8_t* packed,
                           std::int32_t tile_columns, std::int64_t tiles) {
  const Piece slice = piece_of(c.plan, static_cast<std::int32_t>(blockIdx.x / tiles), kSlicePlaces);
  const bool whole = c.others != nullptr;
  std::int32_t tile_row, tile_column;
  tile_of(blockIdx.x % tiles, tile_columns, whole, tile_row, tile_column);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  constexpr int kAcross = kTileFrames / kWarpColumns;
  const std::int32_t row = tile_row * kTileFrames + warp / kAcross * kWarpRows;
  const std::int32_t column = tile_column * kTileFrames + warp % kAcross * kWarpColumns;
  const bool above = !whole && column >= row + kWarpRows;  // each pair is made once, in the lower triangle
  if (slice.place == slice.stop || row >= c.n_frames || column >= c.n_others || above) return;

  const int g = static_cast<int>(threadIdx.x) % 32 / 4, q = static_cast<int>(threadIdx.x) % 4;
  constexpr int kLoads = kRowBytes / 16;
  const std::int64_t step = std::int64_t{packed_rows(c)} * kLoads;
  const std::int64_t chunk =
      std::int64_t{first_piece(c.plan, slice.part, kUnitPlaces)} * (kUnitPlaces / kRowBytes) +
      std::int64_t{slice.number} * (kSlicePlaces / kRowBytes);
  const uint4* left = reinterpret_cast<const uint4*>(packed) + chunk * step + q;
  const uint4* right = left + (column + g + (whole ? rows_of_counts(c.n_frames) : 0)) * kLoads;
  left += (row + g) * kLoads;
  int sums[kWarpRows / 16][kWarpColumns / 8][4] = {};
  const std::int32_t end = slice.stop - slice.place < kSlicePlaces ? slice.stop : slice.place + kSlicePlaces;
#pragma unroll 1  // twice at once would be more than the registers hold
  for (std::int32_t place = slice.place; place < end; place += kRowBytes) {
    // Which pixel a byte is of does not matter, as long as both sides agree: so the 16 bytes that a lane
    // loads at once serve for two products as they are.
    uint4 b[kWarpColumns / 8];
    for (int j = 0; j < kWarpColumns / 8; ++j) b[j] = right[8 * j * kLoads];
    for (int i = 0; i < kWarpRows / 16; ++i) {
      const uint4 top = left[16 * i * kLoads], low = left[(16 * i + 8) * kLoads];
      for (int j = 0; j < kWarpColumns / 8; ++j) {
        add_product(sums[i][j], {top.x, low.x, top.y, low.y}, {b[j].x, b[j].y});
        add_product(sums[i][j], {top.z, low.z, top.w, low.w}, {b[j].z, b[j].w});
      }
    }
    left += step;
    right += step;
  }
  std::int32_t* out = c.sums + (train * c.plan.n_parts + slice.part) * c.n_frames * c.n_others;
#pragma unroll
  for (int i = 0; i < kWarpRows / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kWarpColumns / 8; ++j) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const std::int32_t t = row + 16 * i + 8 * (k / 2) + g, u = column + 8 * j + 2 * q + k % 2;
        if (t >= c.n_frames || u >= c.n_others || (!whole && u > t)) continue;
        atomicAdd(out + std::int64_t{t} * c.n_others + u, sums[i][j][k]);
        if (!whole && u != t) atomicAdd(out + std::int64_t{u} * c.n_others + t, sums[i][j][k]);
      }
    }
  }
}

}  // namespace shotsieve::device
