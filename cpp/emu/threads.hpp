// -DCUEMU_THREADS: every CUDA thread is an OS thread, so that ThreadSanitizer sees a kernel's races and names
// the lines. Slow: for tiny launches. TSan must believe in exactly the ordering that CUDA promises: barriers
// and
// __syncwarp order memory; shuffles, votes and the emulator's own locks do not.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "launch.hpp"
#include "meeting.hpp"
#include "shared.hpp"

#if defined(__SANITIZE_THREAD__)
extern "C" {
void AnnotateIgnoreSyncBegin(const char* file, int line);
void AnnotateIgnoreSyncEnd(const char* file, int line);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#else
inline void AnnotateIgnoreSyncBegin(const char*, int) {}
inline void AnnotateIgnoreSyncEnd(const char*, int) {}
inline void AnnotateIgnoreReadsBegin(const char*, int) {}
inline void AnnotateIgnoreReadsEnd(const char*, int) {}
inline void AnnotateIgnoreWritesBegin(const char*, int) {}
inline void AnnotateIgnoreWritesEnd(const char*, int) {}
inline void __tsan_acquire(void*) {}
inline void __tsan_release(void*) {}
#endif

namespace cuemu {

// What happens within is the emulator's own business: TSan takes neither races nor ordering from it.
class Unseen {
 public:
  Unseen() {
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unseen() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
  }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

class Block;
inline thread_local Block* current_block = nullptr;

class Block {
 public:
  Block(const Launch& launch, std::uint64_t block_index)
      : launch_(launch), index_(block_index), alive_(launch.threads()), warps_(warp_count(launch)) {
    for (std::size_t w = 0; w < warps_.size(); ++w) {
      warps_[w] = std::make_unique<Warp>();
      warps_[w]->meeting.start(std::min(kWarp, alive_ - static_cast<int>(w) * kWarp));
    }
    shared_.start(launch.dynamic_bytes);
  }

  void start(std::vector<std::thread>& threads) {
    for (int i = 0; i < launch_.threads(); ++i) threads.emplace_back([this, i] { run(i); });
  }
  void finish() { shared_.finish(); }

  void sync(Site at) {
    // Two gates in turn: a thread that is already on its way to the next barrier must not lend its past to
    // one that still leaves this one. No thread passes two barriers before all have left the first.
    char* gate = nullptr;
    {
      const Unseen unseen;
      const std::lock_guard<std::mutex> lock(mutex_);
      gate = &gates_[generation_ % 2];
    }
    __tsan_release(gate);
    wait_at_barrier(at);
    __tsan_acquire(gate);
  }

  template <class Read>
  auto exchange(WarpOp op, unsigned mask, std::uint64_t value, Site at, Read read) {
    const int lane_index = lane().index % kWarp;
    Warp& warp = *warps_[static_cast<std::size_t>(lane().index / kWarp)];
    if (op == WarpOp::Sync) __tsan_release(&warp.gate);
    {
      const Unseen unseen;
      std::unique_lock<std::mutex> lock(mutex_);
      ++blocked_;
      warp.meeting.arrive(lane_index, op, mask, value, at);
      release(warp);
      const unsigned bit = 1u << lane_index;
      check_deadlock(at);
      warp.changed.wait(lock, [&] { return (warp.free & bit) != 0; });
      warp.free &= ~bit;
    }
    if (op == WarpOp::Sync) __tsan_acquire(&warp.gate);
    const Unseen unseen;
    return read(warp.result[lane_index]);  // stays until this very lane arrives again
  }

  void* shared_array(const void* key, const char* name, std::size_t bytes, Site at) {
    const Unseen unseen;
    const std::lock_guard<std::mutex> lock(mutex_);
    return shared_.array(key, name, bytes, at);
  }
  void* dynamic(Site at) { return shared_.dynamic(at); }

 private:
  struct Warp {
    Meeting meeting;
    std::condition_variable changed;
    unsigned free = 0;  // lanes let go that have not woken yet
    Gathered result[kWarp];
    char gate = 0;
  };

  static std::size_t warp_count(const Launch& launch) {
    return static_cast<std::size_t>((launch.threads() + kWarp - 1) / kWarp);
  }

  void run(int thread_index) {
    Lane self = launch_.lane(index_, thread_index);
    running = &self;
    current_block = this;
    launch_.body();
    const Unseen unseen;
    const std::lock_guard<std::mutex> lock(mutex_);
    --alive_;
    Warp& warp = *warps_[static_cast<std::size_t>(thread_index / kWarp)];
    warp.meeting.leave(thread_index % kWarp);
    release(warp);
    if (at_barrier_ > 0 && at_barrier_ == alive_) {
      die("__syncthreads after some threads of the block returned", barrier_);
    }
    check_deadlock(barrier_);
    running = nullptr;
  }

  void wait_at_barrier(Site at) {
    const Unseen unseen;
    std::unique_lock<std::mutex> lock(mutex_);
    if (at_barrier_ == 0) {
      barrier_ = at;
    } else if (!same_site(at, barrier_)) {
      die("threads wait at different __syncthreads: one at " + text(barrier_) + ", another", at);
    }
    ++at_barrier_;
    ++blocked_;
    if (at_barrier_ == alive_) {
      if (alive_ != launch_.threads()) die("__syncthreads after some threads of the block returned", at);
      blocked_ -= at_barrier_;
      at_barrier_ = 0;
      ++generation_;
      opened_.notify_all();
      return;
    }
    check_deadlock(at);
    opened_.wait(lock, [this, own = generation_] { return generation_ != own; });
  }

  void release(Warp& warp) {
    while (const unsigned group = warp.meeting.release()) {
      for (unsigned rest = group; rest != 0; rest &= rest - 1) {
        warp.result[__builtin_ctz(rest)] = warp.meeting.gathered;
        --blocked_;
      }
      warp.free |= group;
      warp.changed.notify_all();
    }
  }

  void check_deadlock(Site at) {
    if (alive_ > 0 && blocked_ == alive_) {
      die("deadlock: " + std::to_string(alive_) + " threads wait for each other, " +
          std::to_string(at_barrier_) + " of them in __syncthreads; the last came to wait at " + text(at));
    }
  }

  const Launch& launch_;
  std::uint64_t index_;
  std::mutex mutex_;
  std::condition_variable opened_;
  int alive_;
  int blocked_ = 0;     // threads that wait and have not been let go
  int at_barrier_ = 0;  // of these, in __syncthreads
  unsigned generation_ = 0;
  Site barrier_{"", 0};
  char gates_[2] = {0, 0};
  std::vector<std::unique_ptr<Warp>> warps_;
  SharedArena shared_;
};

inline void sync_block(Site at) { current_block->sync(at); }
template <class Read>
auto exchange(WarpOp op, unsigned mask, std::uint64_t value, Site at, Read read) {
  return current_block->exchange(op, mask, value, at, read);
}
inline void* shared_place(const void* key, const char* name, std::size_t bytes, Site at) {
  return current_block->shared_array(key, name, bytes, at);
}
inline void* dynamic_place(Site at) { return current_block->dynamic(at); }

// Several blocks at once, so that races between blocks show too.
inline void run_grid(const Launch& launch) {
  constexpr std::uint64_t kThreadsAtOnce = 512;
  const std::uint64_t at_once = std::max<std::uint64_t>(2, kThreadsAtOnce / launch.block.x);
  const BlockOrder order(launch);
  for (std::uint64_t first = 0; first < launch.blocks(); first += at_once) {
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<std::thread> threads;
    for (std::uint64_t k = first; k < std::min(first + at_once, launch.blocks()); ++k) {
      blocks.push_back(std::make_unique<Block>(launch, order[k]));
      blocks.back()->start(threads);
    }
    for (std::thread& t : threads) t.join();
    for (const auto& block : blocks) block->finish();
  }
}

}  // namespace cuemu
