#include "../core/correlation.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "correlation.hpp"
#include "correlation_events.hpp"
#include "gram.hpp"
#include "parallel.hpp"

namespace shotsieve {
namespace {

using cpu::EventLists;

constexpr std::int32_t kPackedPlaces = 2048;  // pixels of all frames of a train, packed: they stay in a cache

// One part of one train.
struct Part {
  const std::uint8_t* counts;
  const std::uint8_t* others;  // null where they are the counts
  std::int32_t* sums;
  std::int32_t* frame_sums;
  std::int32_t* largest;
  std::int32_t index;
};

Part part_of(const CountPairs& c, std::int64_t task) {
  const std::int64_t train = task / c.plan.n_parts;
  Part part{};
  part.index = static_cast<std::int32_t>(task % c.plan.n_parts);
  part.counts = c.counts + train * c.n_frames * c.plan.n_pixels;
  if (c.others != nullptr) part.others = c.others + train * c.n_others * c.plan.n_pixels;
  part.sums = c.sums + task * c.n_frames * c.n_others;
  part.frame_sums = c.frame_sums + task * c.n_frames;
  part.largest = c.largest + task;
  return part;
}

void sum_by_events(const CountPairs& c, const Part& part, EventLists& first, EventLists& second) {
  const PartPlan& plan = c.plan;
  std::int32_t largest = 0;
  for (std::int32_t place = plan.part_start[part.index]; place < plan.part_start[part.index + 1];
       place += cpu::kEventPlaces) {
    const std::int32_t stop = std::min(place + cpu::kEventPlaces, plan.part_start[part.index + 1]);
    std::int32_t* diagonal = part.others == nullptr ? part.sums : nullptr;
    largest =
        std::max(largest, first.fill(plan, part.index, place, stop, part.counts, part.frame_sums, diagonal));
    if (part.others != nullptr) {
      largest = std::max(largest, second.fill(plan, part.index, place, stop, part.others, nullptr, nullptr));
    }
    const cpu::Events others = second.events();
    cpu::add_events(first.events(), part.others == nullptr ? nullptr : &others, stop - place, c.n_others,
                    part.sums);
  }
  *part.largest = largest;
  if (part.others == nullptr) cpu::mirror(part.sums, c.n_frames);
}

// Some pixels of all frames of a train, frame by frame, each row filled up with zeros, and rows of zeros so
// that there is a multiple of kGramRows.
struct Packed {
  std::vector<std::uint8_t> bytes;
  std::int32_t frames, rows;

  explicit Packed(std::int32_t n)
      : bytes(static_cast<std::size_t>((n + cpu::kGramRows - 1) / cpu::kGramRows * cpu::kGramRows) *
              kPackedPlaces),
        frames(n),
        rows((n + cpu::kGramRows - 1) / cpu::kGramRows * cpu::kGramRows) {}

  const std::uint8_t* row(std::int32_t t) const { return bytes.data() + std::int64_t{t} * kPackedPlaces; }

  // Returns the largest count; adds the sums of the frames.
  std::int32_t fill(const PartPlan& plan, std::int32_t part, std::int32_t start, std::int32_t stop,
                    const std::uint8_t* counts, std::int32_t* frame_sums) {
    const cpu::RunSpan span = cpu::runs_between(plan, part, start, stop);
    std::int32_t largest = 0;
    for (std::int32_t t = 0; t < frames; ++t) {
      std::uint8_t* to = bytes.data() + std::int64_t{t} * kPackedPlaces;
      const std::uint8_t* frame = counts + t * plan.n_pixels;
      for (const PixelRun* run = span.first; run != span.last; ++run) {
        const cpu::Piece piece = cpu::cut(*run, start, stop);
        std::memcpy(to + piece.place - start, frame + piece.pixel, static_cast<std::size_t>(piece.length));
      }
      std::memset(to + (stop - start), 0, static_cast<std::size_t>(kPackedPlaces - (stop - start)));
      std::int32_t sum = 0;
      for (std::int32_t k = 0; k < stop - start; ++k) sum += to[k];
      std::uint8_t most = 0;
      for (std::int32_t k = 0; k < stop - start; ++k) most = std::max(most, to[k]);
      if (frame_sums != nullptr) frame_sums[t] += sum;
      largest = std::max<std::int32_t>(largest, most);
    }
    return largest;
  }
};

void sum_by_matrix(const CountPairs& c, const Part& part, cpu::GramTile tile, Packed& first, Packed* second) {
  const PartPlan& plan = c.plan;
  std::int32_t largest = 0;
  for (std::int32_t place = plan.part_start[part.index]; place < plan.part_start[part.index + 1];
       place += kPackedPlaces) {
    const std::int32_t stop = std::min(place + kPackedPlaces, plan.part_start[part.index + 1]);
    largest = std::max(largest, first.fill(plan, part.index, place, stop, part.counts, part.frame_sums));
    if (second != nullptr) {
      largest = std::max(largest, second->fill(plan, part.index, place, stop, part.others, nullptr));
    }
    const Packed& right = second == nullptr ? first : *second;
    const std::int64_t length = (stop - place + cpu::kGramAlign - 1) / cpu::kGramAlign * cpu::kGramAlign;
    for (std::int32_t i = 0; i < first.rows; i += cpu::kGramRows) {
      const std::int32_t last = second == nullptr ? i + cpu::kGramRows : right.rows;
      for (std::int32_t j = 0; j < last; j += cpu::kGramRows) {
        std::int32_t found[cpu::kGramRows][cpu::kGramRows];
        tile(first.row(i), right.row(j), kPackedPlaces, length, found);
        for (std::int32_t y = 0; y < std::min(cpu::kGramRows, c.n_frames - i); ++y) {
          std::int32_t* row = part.sums + std::int64_t{i + y} * c.n_others + j;
          for (std::int32_t x = 0; x < std::min(cpu::kGramRows, c.n_others - j); ++x) row[x] += found[y][x];
        }
      }
    }
  }
  *part.largest = largest;
  if (second == nullptr) cpu::mirror(part.sums, c.n_frames);
}

void clear(const CountPairs& c, const Part& part) {
  std::fill_n(part.sums, std::int64_t{c.n_frames} * c.n_others, 0);
  std::fill_n(part.frame_sums, c.n_frames, 0);
}

}  // namespace

std::int64_t pair_scratch_bytes(std::int32_t, std::int32_t, std::int32_t, std::int32_t, bool) { return 0; }

void pair_sums(const CountPairs& c, const Where& where) {
  const std::int64_t tasks = c.n_trains * c.plan.n_parts;
  if (c.events) {
    struct Lists {
      EventLists first, second;
    };
    const auto make = [&] { return Lists{EventLists(c.n_frames), EventLists(c.others ? c.n_others : 0)}; };
    cpu::parallel_for(tasks, where.threads, make, [&](Lists& lists, std::int64_t task) {
      const Part part = part_of(c, task);
      clear(c, part);
      sum_by_events(c, part, lists.first, lists.second);
    });
    return;
  }
  const cpu::GramTile tile = cpu::best_gram_tile();
  struct Pair {
    Packed first, second;
  };
  const auto make = [&] { return Pair{Packed(c.n_frames), Packed(c.others ? c.n_others : 0)}; };
  cpu::parallel_for(tasks, where.threads, make, [&](Pair& packed, std::int64_t task) {
    const Part part = part_of(c, task);
    clear(c, part);
    sum_by_matrix(c, part, tile, packed.first, part.others == nullptr ? nullptr : &packed.second);
  });
}

}  // namespace shotsieve
