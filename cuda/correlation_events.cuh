// Kernels for photons that are listed, pixel by pixel. Sums are whole numbers, so that any order gives them.
#pragma once

#include "correlation.cuh"

namespace shotsieve::device {

struct PlaceEvents {
  const std::uint32_t* events;
  std::int32_t n;
};

__device__ inline PlaceEvents events_of(const EventTable& table, const PartPlan& plan, std::int64_t train,
                                        std::int32_t place) {
  const std::int32_t* start = table.place_start + train * (plan.n_places + std::int64_t{1}) + place;
  return {table.events + table.train_start[train] + start[0], start[1] - start[0]};
}

// A thread takes a pixel, and pairs its events.
__global__ void event_pairs_kernel(EventPairs c) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t number = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
       number < c.n_trains * c.plan.n_places; number += step) {
    const std::int64_t train = number / c.plan.n_places;
    const auto place = static_cast<std::int32_t>(number % c.plan.n_places);
    const bool whole = c.other.events != nullptr;
    const PlaceEvents first = events_of(c.own, c.plan, train, place);
    const PlaceEvents second = whole ? events_of(c.other, c.plan, train, place) : first;
    std::int32_t* out = c.sums + (train * c.plan.n_parts + part_of(c.plan, place)) * c.n_frames * c.n_others;
    for (std::int32_t i = 0; i < first.n; ++i) {
      const std::int32_t t = math::event_frame(first.events[i]);
      for (std::int32_t j = 0; j < (whole ? second.n : i + 1); ++j) {
        const std::int32_t u = math::event_frame(second.events[j]);
        const int product = math::event_count(first.events[i]) * math::event_count(second.events[j]);
        atomicAdd(out + std::int64_t{t} * c.n_others + u, product);
        if (!whole && i != j) atomicAdd(out + std::int64_t{u} * c.n_others + t, product);
      }
    }
  }
}

// A thread takes a pixel and a lag.
__global__ void event_lags_kernel(EventLags c) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t number = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
       number < c.n_trains * c.plan.n_places * c.n_lags; number += step) {
    const std::int64_t train = number / (std::int64_t{c.plan.n_places} * c.n_lags);
    const auto place = static_cast<std::int32_t>(number / c.n_lags % c.plan.n_places);
    const auto entry = static_cast<std::int32_t>(number % c.n_lags);
    const PlaceEvents own = events_of(c.own, c.plan, train, place);
    const std::int64_t sum =
        math::lag_product(own.events, own.n, c.n_frames, c.lags[entry].level, c.lags[entry].lag);
    if (sum == 0) continue;
    std::int64_t* out = c.sums + (train * c.plan.n_parts + part_of(c.plan, place)) * c.n_lags + entry;
    atomicAdd(reinterpret_cast<unsigned long long*>(out), static_cast<unsigned long long>(sum));
  }
}

}  // namespace shotsieve::device
