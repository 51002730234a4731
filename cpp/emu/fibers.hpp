// The usual way to run a block: its CUDA threads are fibers of one OS thread, resumed in an order that the
// seed chooses. A thread runs until it must wait for others, so a missing barrier shows as data that is not
// there yet.
#pragma once

#if defined(__SANITIZE_THREAD__)
#error "ThreadSanitizer cannot follow fibers: compile with -DCUEMU_THREADS"
#endif

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "context.hpp"
#include "launch.hpp"
#include "meeting.hpp"
#include "shared.hpp"

namespace cuemu {

class Block;

enum class State : unsigned char { Ready, AtBarrier, InWarpOp, Returned };

struct Fiber : Lane {
  State state = State::Ready;
  Block* owner = nullptr;
  Context context;
};

class Block {
 public:
  SharedArena shared;

  void run(const Launch& launch, std::uint64_t block_index) {
    start(launch, block_index);
    while (alive_ > 0) {
      bool moved = false;
      for (int w : warp_order_) moved |= advance(w);
      moved |= open_barrier();
      if (alive_ > 0 && !moved) deadlock();
    }
    running = nullptr;
    shared.finish();
  }

  // Called on a fiber.
  void sync(Site at) {
    Fiber& self = *current_;
    if (at_barrier_ == 0) {
      barrier_ = at;
    } else if (!same_site(at, barrier_)) {
      die("threads wait at different __syncthreads: one at " + text(barrier_) + ", another", at);
    }
    ++at_barrier_;
    park(self, State::AtBarrier);
  }

  template <class Read>
  auto exchange(WarpOp op, unsigned mask, std::uint64_t value, Site at, Read read) {
    Fiber& self = *current_;
    Meeting& meeting = meetings_[static_cast<std::size_t>(self.index / kWarp)];
    meeting.arrive(self.index % kWarp, op, mask, value, at);
    park(self, State::InWarpOp);
    return read(meeting.gathered);
  }

  static Block& current() { return *static_cast<Fiber*>(running)->owner; }

 private:
  void start(const Launch& launch, std::uint64_t block_index) {
    launch_ = &launch;
    const int n = launch.threads();
    const int warps = (n + kWarp - 1) / kWarp;
    stacks_.reserve(static_cast<std::size_t>(n));
    fibers_.resize(static_cast<std::size_t>(n));
    meetings_.resize(static_cast<std::size_t>(warps));
    lane_order_.resize(static_cast<std::size_t>(n));
    warp_order_.resize(static_cast<std::size_t>(warps));
    std::iota(lane_order_.begin(), lane_order_.end(), 0);
    std::iota(warp_order_.begin(), warp_order_.end(), 0);
    for (int i = 0; i < n; ++i) {
      Fiber& f = fibers_[static_cast<std::size_t>(i)];
      static_cast<Lane&>(f) = launch.lane(block_index, i);
      f.state = State::Ready;
      f.owner = this;
      f.context.prepare(stacks_.stack(static_cast<std::size_t>(i)), &entry);
    }
    for (int w = 0; w < warps; ++w)
      meetings_[static_cast<std::size_t>(w)].start(std::min(kWarp, n - w * kWarp));
    alive_ = n;
    at_barrier_ = 0;
    random_ = Random(mix(launch.seed, block_index));
    // Half of the blocks let one warp run as far ahead as it can, the others keep warps in step: some faults
    // show only when a warp overtakes, some only when all stand at the same place.
    run_ahead_ = launch.seed != 0 && random_.below(2) == 0;
    reorder();
    shared.start(launch.dynamic_bytes);
  }

  void reorder() {
    if (launch_->seed == 0) return;
    random_.shuffle(warp_order_.data(), warp_order_.size());
    const std::size_t n = lane_order_.size();
    for (std::size_t at = 0; at < n; at += kWarp) {
      random_.shuffle(lane_order_.data() + at, std::min<std::size_t>(kWarp, n - at));
    }
  }

  bool advance(int warp) {
    const std::size_t begin = static_cast<std::size_t>(warp) * kWarp;
    const std::size_t end = std::min(begin + kWarp, fibers_.size());
    bool moved = false;
    bool again = false;
    do {
      for (std::size_t k = begin; k < end; ++k) {
        Fiber& f = fibers_[static_cast<std::size_t>(lane_order_[k])];
        if (f.state != State::Ready) continue;
        moved = true;
        current_ = &f;
        running = &f;
        scheduler_.switch_to(f.context);
      }
      running = nullptr;
      again = release_lanes(warp);
      moved |= again;
    } while (again && run_ahead_);
    return moved;
  }

  bool release_lanes(int warp) {
    Meeting& meeting = meetings_[static_cast<std::size_t>(warp)];
    if (meeting.waiting() == 0) return false;
    const unsigned group = meeting.release();
    for (unsigned rest = group; rest != 0; rest &= rest - 1) {
      fibers_[static_cast<std::size_t>(warp * kWarp + __builtin_ctz(rest))].state = State::Ready;
    }
    return group != 0;
  }

  bool open_barrier() {
    if (at_barrier_ == 0 || at_barrier_ != alive_) return false;
    if (alive_ != static_cast<int>(fibers_.size())) {
      die("__syncthreads after some threads of the block returned", barrier_);
    }
    for (Fiber& f : fibers_) f.state = State::Ready;
    at_barrier_ = 0;
    reorder();
    return true;
  }

  [[noreturn]] void deadlock() {
    std::string what = "deadlock: " + std::to_string(alive_) + " threads wait for each other";
    if (at_barrier_ > 0)
      what += "; " + std::to_string(at_barrier_) + " in __syncthreads at " + text(barrier_);
    int in_warp = 0;
    Site at{nullptr, 0};
    for (const Fiber& f : fibers_) {
      if (f.state != State::InWarpOp) continue;
      if (in_warp++ == 0) at = meetings_[static_cast<std::size_t>(f.index / kWarp)].where(f.index % kWarp);
    }
    if (in_warp > 0) what += "; " + std::to_string(in_warp) + " in warp operations, the first at " + text(at);
    die(what);
  }

  void park(Fiber& self, State state) {
    self.state = state;
    self.context.switch_to(scheduler_, state == State::Returned);
  }

  static void entry() {
    Fiber& self = *static_cast<Fiber*>(running);
    Block& block = *self.owner;
    Context::entered(block.scheduler_);
    block.launch_->body();
    --block.alive_;
    block.meetings_[static_cast<std::size_t>(self.index / kWarp)].leave(self.index % kWarp);
    block.park(self, State::Returned);
    std::abort();  // nobody resumes a fiber that returned
  }

  const Launch* launch_ = nullptr;
  std::vector<Fiber> fibers_;
  std::vector<Meeting> meetings_;  // one per warp
  std::vector<int> lane_order_, warp_order_;
  Stacks stacks_;
  Context scheduler_;
  Fiber* current_ = nullptr;
  Random random_;
  Site barrier_{"", 0};
  int alive_ = 0, at_barrier_ = 0;
  bool run_ahead_ = false;
};

inline void sync_block(Site at) { Block::current().sync(at); }
template <class Read>
auto exchange(WarpOp op, unsigned mask, std::uint64_t value, Site at, Read read) {
  return Block::current().exchange(op, mask, value, at, read);
}
inline void* shared_place(const void* key, const char* name, std::size_t bytes, Site at) {
  return Block::current().shared.array(key, name, bytes, at);
}
inline void* dynamic_place(Site at) { return Block::current().shared.dynamic(at); }

// Blocks with their stacks, kept between launches because mapping stacks costs more than most kernels. The OS
// threads are not kept: standing threads would be missing in forked children.
class BlockPool {
 public:
  std::unique_ptr<Block> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<Block>();
    std::unique_ptr<Block> block = std::move(idle_.back());
    idle_.pop_back();
    return block;
  }
  void give(std::unique_ptr<Block> block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(block));
  }
  static BlockPool& get() {
    static BlockPool pool;
    return pool;
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> idle_;
};

inline void run_grid(const Launch& launch) {
  const std::uint64_t n = launch.blocks();
  const BlockOrder order(launch);
  std::atomic<std::uint64_t> next{0};
  const auto work = [&] {
    std::unique_ptr<Block> block = BlockPool::get().take();
    for (std::uint64_t k; (k = next.fetch_add(1, std::memory_order_relaxed)) < n;)
      block->run(launch, order[k]);
    BlockPool::get().give(std::move(block));
  };
  const std::int64_t asked = environment("CUEMU_WORKERS", usable_processors());
  const std::uint64_t workers = std::min<std::uint64_t>(std::max<std::int64_t>(asked, 1), n);
  std::vector<std::thread> others;
  for (std::uint64_t i = 1; i < workers; ++i) others.emplace_back(work);
  work();
  for (std::thread& t : others) t.join();
}

}  // namespace cuemu
