#include "correlation.cuh"

#include <algorithm>
#include <string>

#include "correlation_events.cuh"
#include "correlation_matrix.cuh"
#include "launch.cuh"

namespace shotsieve {
namespace {

unsigned grid_of(std::int64_t blocks, const char* kernel) {
  if (blocks > 0x7FFFFFFF) {
    throw DeviceFault(std::string(kernel) + ": " + std::to_string(blocks) +
                      " blocks, and a launch takes at most 2147483647: give fewer trains in one call");
  }
  return static_cast<unsigned>(blocks);
}

void clear(void* place, std::int64_t bytes, cudaStream_t stream) {
  const cudaError_t status = cudaMemsetAsync(place, 0, static_cast<std::size_t>(bytes), stream);
  if (status != cudaSuccess) {
    cudaGetLastError();  // the next launch must not find it
    throw DeviceFault(std::string("pair_sums: clearing: ") + cudaGetErrorString(status));
  }
}

// Tiles of the sums of one part of one train, and how many stand beside one another.
struct PairTiles {
  std::int32_t columns;
  std::int64_t all;

  PairTiles(std::int32_t frames, std::int32_t others, bool whole, int size) {
    const std::int64_t rows = (std::int64_t{frames} + size - 1) / size;
    columns = (others + size - 1) / size;
    all = whole ? rows * columns : rows * (rows + 1) / 2;
  }
};

// At most so many blocks of places: every part ends with one that may not be full.
std::int32_t lag_blocks(std::int32_t n_places, std::int32_t n_parts) {
  return n_places / kLagPlaces + n_parts;
}

unsigned event_grid(std::int64_t items) {
  const std::int64_t blocks = (items + device::kEventThreads - 1) / device::kEventThreads;
  return static_cast<unsigned>(std::min<std::int64_t>(blocks, 4096));
}

}  // namespace

std::int64_t pair_scratch_bytes(std::int32_t n_frames, std::int32_t n_others, std::int32_t n_places,
                                std::int32_t n_parts, bool events) {
  if (events) return std::int64_t{device::kEventBlocks} * device::kEventThreads * n_frames * 4;
  const std::int64_t units = n_places / device::kUnitPlaces + std::int64_t{n_parts};
  return units * device::kUnitPlaces * device::rows_of_all(n_frames, n_others);
}

std::int64_t lag_scratch_bytes(std::int64_t n_trains, std::int32_t n_frames, std::int32_t n_places,
                               std::int32_t n_parts, std::int32_t n_lags) {
  return n_trains * lag_blocks(n_places, n_parts) * (std::int64_t{n_frames} + n_lags) * 8;
}

void pair_sums(const CountPairs& c, const Where& where) {
  const cudaStream_t stream = stream_of(where);
  const std::int64_t tasks = c.n_trains * c.plan.n_parts;
  if (tasks == 0 || c.n_frames == 0 || c.n_others == 0) return;
  clear(c.largest, tasks * 4, stream);
  clear(c.frame_sums, tasks * c.n_frames * 4, stream);
  clear(c.sums, tasks * c.n_frames * c.n_others * 4, stream);
  const std::int64_t warps = std::int64_t{device::most_pieces(c.plan, device::kUnitPlaces)} *
                             (device::packed_rows(c) / device::kPackRows);
  const unsigned packers = grid_of((warps * 32 - 1) / device::kMatrixThreads + 1, "pack_frames");
  const PairTiles tiles(c.n_frames, c.n_others, c.others != nullptr, device::kTileFrames);
  const unsigned multipliers =
      grid_of(device::most_pieces(c.plan, device::kSlicePlaces) * tiles.all, "multiply_frames");
  // Trains one after the other: there is room for one that is packed.
  for (std::int64_t train = 0; train < c.n_trains; ++train) {
    SS_LAUNCH(device::pack_frames_kernel, packers, device::kMatrixThreads, 0, stream, c, train,
              c.events ? nullptr : c.scratch);
    check_launch("pack_frames");
    if (c.events) continue;
    SS_LAUNCH(device::multiply_frames_kernel, multipliers, device::kMatrixThreads, 0, stream, c, train,
              c.scratch, tiles.columns, tiles.all);
    check_launch("multiply_frames");
  }
  if (!c.events) return;
  const std::int64_t blocks =
      (c.n_trains * c.plan.n_places + device::kEventThreads - 1) / device::kEventThreads;
  const auto grid = static_cast<unsigned>(std::min<std::int64_t>(blocks, device::kEventBlocks));
  if (grid == 0) return;
  SS_LAUNCH(device::count_events_kernel, grid, device::kEventThreads, 0, stream, c,
            reinterpret_cast<std::uint32_t*>(c.scratch));
  check_launch("count_events");
}

void pair_sums(const ValuePairs& c, const Where& where) {
  const std::int64_t tasks = c.n_trains * c.plan.n_parts;
  if (tasks == 0 || c.n_frames == 0 || c.n_others == 0) return;
  const PairTiles tiles(c.n_frames, c.n_others, c.others != nullptr, device::kValueTile);
  SS_LAUNCH(device::value_pairs_kernel, grid_of(tasks * tiles.all, "value_pairs"), device::kPairThreads, 0,
            stream_of(where), c, tiles.columns, tiles.all);
  check_launch("value_pairs");
}

void lag_sums(const LagCall& c, const Where& where) {
  const std::int32_t blocks = lag_blocks(c.plan.n_places, c.plan.n_parts);
  const std::int64_t all = c.n_trains * c.plan.n_parts * (std::int64_t{c.n_lags} + c.n_frames);
  if (all == 0) return;
  auto* scratch = reinterpret_cast<double*>(c.scratch);
  SS_LAUNCH(device::lag_blocks_kernel, grid_of(c.n_trains * blocks, "lag_blocks"), kLagPlaces, 0,
            stream_of(where), c, scratch, blocks);
  check_launch("lag_blocks");
  const auto grid = static_cast<unsigned>(std::min<std::int64_t>((all + 255) / 256, 4096));
  SS_LAUNCH(device::lag_parts_kernel, grid, 256, 0, stream_of(where), c, scratch, blocks);
  check_launch("lag_parts");
}

void pair_sums(const EventPairs& c, const Where& where) {
  const std::int64_t n_sums = c.n_trains * c.plan.n_parts * c.n_frames * c.n_others;
  if (n_sums == 0) return;
  clear(c.sums, n_sums * 4, stream_of(where));
  const unsigned grid = event_grid(c.n_trains * c.plan.n_places);
  if (grid == 0) return;
  SS_LAUNCH(device::event_pairs_kernel, grid, device::kEventThreads, 0, stream_of(where), c);
  check_launch("event_pairs");
}

void lag_sums(const EventLags& c, const Where& where) {
  const std::int64_t n_sums = c.n_trains * c.plan.n_parts * c.n_lags;
  if (n_sums == 0) return;
  clear(c.sums, n_sums * 8, stream_of(where));
  const unsigned grid = event_grid(c.n_trains * c.plan.n_places * c.n_lags);
  if (grid == 0) return;
  SS_LAUNCH(device::event_lags_kernel, grid, device::kEventThreads, 0, stream_of(where), c);
  check_launch("event_lags");
}

}  // namespace shotsieve
