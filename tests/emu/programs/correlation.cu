// The kernels of correlation over time on random input, against loops over pixels. Arguments: the kind of
// sums, how often, "small" for ThreadSanitizer, where every CUDA thread is an OS thread, or "large", and
// which barrier is left out or which mistake is made.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace {
int gone = -1;  // optional_barriers() and MISTAKES in workshop.py
}

#include "cuda/correlation.cu"
#include "harness.cuh"

namespace {

// Pixels of a frame in an order of their own, some of them left out, cut into parts.
struct Parts {
  std::int64_t n_pixels;
  std::vector<std::int32_t> order, start{0};

  Parts(int n_places, int n_parts) : n_pixels(n_places + between(0, 9)) {
    for (int p = 0; p < n_pixels; ++p) order.push_back(p);
    for (int p = 0; p < n_places; ++p) {
      std::swap(order[p], order[between(p, static_cast<int>(n_pixels) - 1)]);
    }
    order.resize(n_places);
    for (int part = 1; part < n_parts; ++part) start.push_back(between(start.back(), n_places));
    start.push_back(n_places);
  }

  int n_parts() const { return static_cast<int>(start.size()) - 1; }

  shotsieve::PartPlan on_device() const {
    shotsieve::PartPlan plan{};
    plan.order = to_device(order);
    plan.part_start = to_device(start);
    plan.n_pixels = n_pixels;
    plan.n_places = static_cast<std::int32_t>(order.size());
    plan.n_parts = n_parts();
    return plan;
  }
};

// Whole numbers, also as float: sums are the same in any order.
template <class T>
std::vector<T> random_frames(std::int64_t n, int low, int high) {
  std::vector<T> frames(n);
  for (T& value : frames) value = static_cast<T>(between(0, 2) == 0 ? between(low, high) : 0);
  return frames;
}

// Calls what(task, first pixel of the train's frames, pixel) for each place of each part of each train.
template <class What>
void for_places(const Parts& parts, int trains, What what) {
  for (int train = 0; train < trains; ++train) {
    for (int part = 0; part < parts.n_parts(); ++part) {
      for (int place = parts.start[part]; place < parts.start[part + 1]; ++place) {
        what(train * parts.n_parts() + part, train, parts.order[place]);
      }
    }
  }
}

template <class T, class Sum>
struct Wanted {
  std::vector<Sum> sums, frame_sums, largest;

  Wanted(const Parts& parts, int trains, const std::vector<T>& first, int n_first,
         const std::vector<T>& second, int n_second, bool two)
      : sums(static_cast<std::size_t>(trains) * parts.n_parts() * n_first * n_second),
        frame_sums(static_cast<std::size_t>(trains) * parts.n_parts() * n_first),
        largest(static_cast<std::size_t>(trains) * parts.n_parts()) {
    for_places(parts, trains, [&](int task, int train, int pixel) {
      const T* a = first.data() + train * n_first * parts.n_pixels + pixel;
      const T* b = second.data() + train * n_second * parts.n_pixels + pixel;
      for (int t = 0; t < n_first; ++t) {
        const Sum value = a[t * parts.n_pixels];
        frame_sums[task * n_first + t] += value;
        largest[task] = std::max(largest[task], value);
        for (int u = 0; u < n_second; ++u) {
          sums[(task * n_first + t) * n_second + u] += value * b[u * parts.n_pixels];
        }
      }
      for (int u = 0; two && u < n_second; ++u) {
        largest[task] = std::max(largest[task], static_cast<Sum>(b[u * parts.n_pixels]));
      }
    });
  }
};

// The same counts as events, pixel by pixel.
shotsieve::EventTable listed(const Parts& parts, int trains, const std::vector<std::uint8_t>& counts,
                             int frames) {
  std::vector<std::uint32_t> events;
  std::vector<std::int64_t> train_start;
  std::vector<std::int32_t> place_start;
  for (int train = 0; train < trains; ++train) {
    train_start.push_back(static_cast<std::int64_t>(events.size()));
    const auto here = [&] { return static_cast<std::int32_t>(events.size() - train_start.back()); };
    for (const std::int32_t pixel : parts.order) {
      place_start.push_back(here());
      for (int t = 0; t < frames; ++t) {
        const std::uint8_t count = counts[(train * frames + t) * parts.n_pixels + pixel];
        if (count != 0) events.push_back(shotsieve::math::make_event(t, count));
      }
    }
    place_start.push_back(here());
  }
  events.push_back(0);  // there may be none
  return {to_device(events), to_device(train_start), to_device(place_start)};
}

// Frames of a part of a tile, or of one and a part.
int between_tiles() { return between(0, 1) == 1 ? between(1, 70) : between(129, 150); }

void counts_once(const shotsieve::Where& where, bool events, bool small) {
  // Also a small one has a part of two rows of bytes.
  const Parts parts = small ? Parts(70, 1) : Parts(between(1, 200), between(1, 3));
  const int trains = small ? 1 : between(1, 2), frames = small ? 2 : between_tiles();
  const bool two = !small && between(0, 1) == 1;
  const int others = two ? between_tiles() : frames;
  const auto first = random_frames<std::uint8_t>(trains * frames * parts.n_pixels, 1, 127);
  const auto second = two ? random_frames<std::uint8_t>(trains * others * parts.n_pixels, 1, 127) : first;
  const Wanted<std::uint8_t, std::int32_t> wanted(parts, trains, first, frames, second, others, two);

  shotsieve::CountPairs c{};
  c.plan = parts.on_device();
  c.counts = to_device(first);
  c.others = two ? to_device(second) : nullptr;
  c.sums = to_device(std::vector<std::int32_t>(wanted.sums.size(), -1));
  c.frame_sums = to_device(std::vector<std::int32_t>(wanted.frame_sums.size(), -1));
  c.largest = to_device(std::vector<std::int32_t>(wanted.largest.size(), -1));
  c.scratch = device_only<std::uint8_t>(static_cast<std::size_t>(
      shotsieve::pair_scratch_bytes(frames, two ? others : 0, c.plan.n_places, c.plan.n_parts, events)));
  c.n_trains = trains;
  c.n_frames = frames;
  c.n_others = others;
  c.events = events;
  shotsieve::pair_sums(c, where);
  expect_same(to_host(c.sums, wanted.sums.size()), wanted.sums);
  expect_same(to_host(c.frame_sums, wanted.frame_sums.size()), wanted.frame_sums);
  expect_same(to_host(c.largest, wanted.largest.size()), wanted.largest);
  if (events) {
    shotsieve::EventPairs of_lists{};
    of_lists.plan = c.plan;
    of_lists.own = listed(parts, trains, first, frames);
    if (two) of_lists.other = listed(parts, trains, second, others);
    of_lists.sums = to_device(std::vector<std::int32_t>(wanted.sums.size(), -1));
    of_lists.n_trains = trains;
    of_lists.n_frames = frames;
    of_lists.n_others = others;
    shotsieve::pair_sums(of_lists, where);
    expect_same(to_host(of_lists.sums, wanted.sums.size()), wanted.sums);
  }
  release_all();
}

void values_once(const shotsieve::Where& where, bool small) {
  const Parts parts =
      small ? Parts(70, 1) : Parts(between(1, shotsieve::math::kProductStretch + 100), between(1, 2));
  const int trains = small ? 1 : between(1, 2), frames = small ? 2 : between(1, 20);
  const bool two = !small && between(0, 1) == 1;
  const int others = two ? between(1, 20) : frames;
  const auto first = random_frames<float>(trains * frames * parts.n_pixels, -99, 99);
  const auto second = two ? random_frames<float>(trains * others * parts.n_pixels, -99, 99) : first;
  const Wanted<float, double> wanted(parts, trains, first, frames, second, others, two);

  shotsieve::ValuePairs c{};
  c.plan = parts.on_device();
  c.values = to_device(first);
  c.others = two ? to_device(second) : nullptr;
  c.sums = to_device(std::vector<double>(wanted.sums.size(), -1));
  c.frame_sums = to_device(std::vector<double>(wanted.frame_sums.size(), -1));
  c.n_trains = trains;
  c.n_frames = frames;
  c.n_others = others;
  shotsieve::pair_sums(c, where);
  expect_same(to_host(c.sums, wanted.sums.size()), wanted.sums);
  expect_same(to_host(c.frame_sums, wanted.frame_sums.size()), wanted.frame_sums);
  release_all();
}

void lags_once(const shotsieve::Where& where, bool small) {
  const Parts parts = small ? Parts(60, 1) : Parts(between(1, 200), between(1, 3));
  const int trains = small ? 1 : between(1, 2), frames = small ? 3 : between(1, 20);
  const bool counts = between(0, 1) == 1;
  std::vector<shotsieve::LevelLag> lags;
  for (int level = 0; level < 3; ++level) {
    for (int lag = 0; lag < (small ? 1 : 3); ++lag) lags.push_back({level, lag});
  }
  const auto n_lags = static_cast<int>(lags.size());
  const auto bytes = random_frames<std::uint8_t>(trains * frames * parts.n_pixels, 1, 255);
  auto values = random_frames<float>(static_cast<std::int64_t>(bytes.size()), -99, 99);
  if (counts) values.assign(bytes.begin(), bytes.end());
  std::vector<double> sums(static_cast<std::size_t>(trains) * parts.n_parts() * n_lags);
  std::vector<double> frame_sums(static_cast<std::size_t>(trains) * parts.n_parts() * frames);
  for_places(parts, trains, [&](int task, int train, int pixel) {
    const float* series = values.data() + train * frames * parts.n_pixels + pixel;
    for (int t = 0; t < frames; ++t) frame_sums[task * frames + t] += series[t * parts.n_pixels];
    for (int k = 0; k < n_lags; ++k) {
      const int count = 1 << lags[k].level;
      std::vector<double> level(frames / count);
      for (std::size_t t = 0; t < level.size() * count; ++t) level[t / count] += series[t * parts.n_pixels];
      for (std::size_t t = lags[k].lag; t < level.size(); ++t) {
        sums[task * n_lags + k] += level[t - lags[k].lag] * level[t];
      }
    }
  });

  shotsieve::LagCall c{};
  c.plan = parts.on_device();
  c.counts = counts ? to_device(bytes) : nullptr;
  c.values = counts ? nullptr : to_device(values);
  c.lags = to_device(lags);
  c.sums = to_device(std::vector<double>(sums.size(), -1));
  c.frame_sums = to_device(std::vector<double>(frame_sums.size(), -1));
  c.scratch = device_only<std::uint8_t>(static_cast<std::size_t>(
      shotsieve::lag_scratch_bytes(trains, frames, c.plan.n_places, c.plan.n_parts, n_lags)));
  c.n_trains = trains;
  c.n_frames = frames;
  c.n_lags = n_lags;
  shotsieve::lag_sums(c, where);
  expect_same(to_host(c.sums, sums.size()), sums);
  expect_same(to_host(c.frame_sums, frame_sums.size()), frame_sums);
  if (counts) {
    shotsieve::EventLags of_lists{};
    of_lists.plan = c.plan;
    of_lists.own = listed(parts, trains, bytes, frames);
    of_lists.lags = c.lags;
    of_lists.sums = to_device(std::vector<std::int64_t>(sums.size(), -1));
    of_lists.n_trains = trains;
    of_lists.n_frames = frames;
    of_lists.n_lags = n_lags;
    shotsieve::lag_sums(of_lists, where);
    expect_same(to_host(of_lists.sums, sums.size()), std::vector<std::int64_t>(sums.begin(), sums.end()));
  }
  release_all();
}

}  // namespace

int main(int, char** argv) {
  generator.seed(20261129);
  const std::string kind = argv[1];
  const bool small = std::strcmp(argv[3], "small") == 0;
  gone = std::atoi(argv[4]);
  const shotsieve::Where where{nullptr, 1};
  for (int repetition = std::atoi(argv[2]); repetition > 0; --repetition) {
    if (kind == "counts" || kind == "events") {
      counts_once(where, kind == "events", small);
    } else if (kind == "values") {
      values_once(where, small);
    } else if (kind == "lags") {
      lags_once(where, small);
    } else {
      return 2;
    }
  }
  return verdict();
}
