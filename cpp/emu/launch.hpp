// One launch of a kernel, as the fibers or the threads run it.
#pragma once

#include <sched.h>

#include <functional>
#include <numeric>

#include "common.hpp"

namespace cuemu {

struct Launch {
  dim3 grid, block;
  std::size_t dynamic_bytes = 0;
  std::uint64_t seed = 0;  // 0: natural order
  std::function<void()> body;

  int threads() const { return static_cast<int>(block.x * block.y * block.z); }
  std::uint64_t blocks() const { return std::uint64_t{grid.x} * grid.y * grid.z; }

  Lane lane(std::uint64_t block_index, int thread_index) const {
    const auto i = static_cast<unsigned>(thread_index);
    Lane l;
    l.thread = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    l.block = {static_cast<unsigned>(block_index % grid.x),
               static_cast<unsigned>(block_index / grid.x % grid.y),
               static_cast<unsigned>(block_index / grid.x / grid.y)};
    l.block_dim = block;
    l.grid_dim = grid;
    l.index = thread_index;
    return l;
  }
};

// A shuffled order of the blocks that needs no memory: k -> (step * k + start) mod n.
class BlockOrder {
 public:
  explicit BlockOrder(const Launch& launch) : n_(launch.blocks()) {
    if (launch.seed == 0 || n_ < 2) return;
    Random random(mix(launch.seed, 1));
    start_ = random.next() % n_;
    do {
      step_ = 1 + random.next() % (n_ < (1u << 20) ? n_ : (1u << 20));  // step * k must not overflow
    } while (std::gcd(step_, n_) != 1);
  }
  std::uint64_t operator[](std::uint64_t k) const { return (step_ * k + start_) % n_; }

 private:
  std::uint64_t n_, start_ = 0, step_ = 1;
};

// Processors that this process may use, which in a batch job is less than what the machine has.
inline unsigned usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  const int n = CPU_COUNT(&set);
  return n > 0 ? static_cast<unsigned>(n) : 1u;
}

}  // namespace cuemu
