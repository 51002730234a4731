// Sums of photons that are listed: the same as those of frames, without the frames.
#include "correlation_events.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "../core/correlation.hpp"
#include "parallel.hpp"

namespace shotsieve {
namespace {

cpu::Events events_of(const EventTable& table, const PartPlan& plan, std::int64_t train, std::int32_t place) {
  return {table.events + table.train_start[train],
          table.place_start + train * (plan.n_places + std::int64_t{1}) + place};
}

void add_squares(const cpu::Events& lists, std::int32_t places, std::int32_t n_frames, std::int32_t* sums) {
  for (const std::uint32_t* event = lists.of(0); event != lists.of(places); ++event) {
    const std::int32_t count = math::event_count(*event);
    sums[std::int64_t{math::event_frame(*event)} * (n_frames + 1)] += count * count;
  }
}

// Where the sum of a level and a lag is kept: the first place takes what nobody asks for.
class LagSlots {
 public:
  explicit LagSlots(const EventLags& c) {
    for (std::int32_t k = 0; k < c.n_lags; ++k) {
      const auto level = static_cast<std::size_t>(c.lags[k].level),
                 lag = static_cast<std::size_t>(c.lags[k].lag);
      if (levels_.size() <= level) levels_.resize(level + 1);
      if (levels_[level].size() <= lag) levels_[level].resize(lag + 1);
      std::size_t& slot = levels_[level][lag];
      if (slot == 0) slot = ++number_;
    }
  }

  std::size_t number() const { return number_ + 1; }
  const std::vector<std::vector<std::size_t>>& levels() const { return levels_; }
  std::size_t of(const LevelLag& lag) const {
    return levels_[static_cast<std::size_t>(lag.level)][static_cast<std::size_t>(lag.lag)];
  }

 private:
  std::vector<std::vector<std::size_t>> levels_;  // by level and lag
  std::size_t number_ = 0;
};

// The events of a pixel on one level after the other.
struct Level {
  const LagSlots& slots;
  std::int32_t n_frames;
  std::vector<std::int32_t> frame;
  std::vector<std::int64_t> count, sums;

  Level(std::int32_t frames, const LagSlots& given)
      : slots(given), n_frames(frames), frame(frames), count(frames), sums(given.number()) {}

  void add(const std::uint32_t* events, std::int32_t n) {
    for (std::int32_t i = 0; i < n; ++i) {
      frame[i] = math::event_frame(events[i]);
      count[i] = math::event_count(events[i]);
    }
    for (std::size_t level = 0; level < slots.levels().size(); ++level) {
      if (level > 0) n = pair_up(n, n_frames >> level);
      const std::vector<std::size_t>& slot = slots.levels()[level];
      const auto lags = static_cast<std::int32_t>(slot.size());
      for (std::int32_t i = 0; i < n; ++i) {
        for (std::int32_t j = i; j >= 0 && frame[i] - frame[j] < lags; --j) {
          sums[slot[frame[i] - frame[j]]] += count[i] * count[j];
        }
      }
    }
  }

  // To frames of the next level, of which there are `frames`; returns in how many there is something.
  std::int32_t pair_up(std::int32_t n, std::int32_t frames) {
    std::int32_t found = 0;
    for (std::int32_t i = 0; i < n && frame[i] / 2 < frames; ++i) {
      if (found > 0 && frame[found - 1] == frame[i] / 2) {
        count[found - 1] += count[i];
        continue;
      }
      count[found] = count[i];
      frame[found++] = frame[i] / 2;
    }
    return found;
  }
};

}  // namespace

void pair_sums(const EventPairs& c, const Where& where) {
  cpu::parallel_for(c.n_trains * c.plan.n_parts, where.threads, [&](std::int64_t task) {
    const std::int64_t train = task / c.plan.n_parts;
    const auto part = static_cast<std::int32_t>(task % c.plan.n_parts);
    std::int32_t* sums = c.sums + task * c.n_frames * c.n_others;
    std::fill_n(sums, std::int64_t{c.n_frames} * c.n_others, 0);
    const std::int32_t end = c.plan.part_start[part + 1];
    for (std::int32_t place = c.plan.part_start[part]; place < end; place += cpu::kEventPlaces) {
      const std::int32_t places = std::min(cpu::kEventPlaces, end - place);
      const cpu::Events first = events_of(c.own, c.plan, train, place);
      if (c.other.events == nullptr) {
        add_squares(first, places, c.n_frames, sums);
        cpu::add_events(first, nullptr, places, c.n_others, sums);
      } else {
        const cpu::Events second = events_of(c.other, c.plan, train, place);
        cpu::add_events(first, &second, places, c.n_others, sums);
      }
    }
    if (c.other.events == nullptr) cpu::mirror(sums, c.n_frames);
  });
}

void lag_sums(const EventLags& c, const Where& where) {
  const LagSlots slots(c);
  const auto make = [&] { return Level(c.n_frames, slots); };
  cpu::parallel_for(c.n_trains * c.plan.n_parts, where.threads, make, [&](Level& level, std::int64_t task) {
    const auto part = static_cast<std::int32_t>(task % c.plan.n_parts);
    std::int64_t* sums = c.sums + task * c.n_lags;
    std::fill(level.sums.begin(), level.sums.end(), 0);
    const std::int32_t begin = c.plan.part_start[part];
    const cpu::Events lists = events_of(c.own, c.plan, task / c.plan.n_parts, begin);
    for (std::int32_t place = 0; place < c.plan.part_start[part + 1] - begin; ++place) {
      if (lists.length(place) > 0) level.add(lists.of(place), lists.length(place));
    }
    for (std::int32_t k = 0; k < c.n_lags; ++k) {
      sums[k] = level.sums[slots.of(c.lags[k])];
    }
  });
}

}  // namespace shotsieve
