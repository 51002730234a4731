// Threads for one call. No standing pool: it would hang in forked children.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace shotsieve::cpu {

// Calls body(state, i) for i in [0, n) from up to `threads` threads, each with a state of its own from
// make(). What the first of them throws (memory may run out) is thrown here, once all have come to rest.
template <class Make, class Body>
void parallel_for(std::int64_t n, int threads, const Make& make, const Body& body) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr thrown;
  std::mutex one_at_a_time;
  const auto work = [&] {
    try {
      auto state = make();
      for (std::int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) body(state, i);
    } catch (...) {
      next = n;
      const std::lock_guard<std::mutex> lock(one_at_a_time);
      if (!thrown) thrown = std::current_exception();
    }
  };
  const std::int64_t wanted = threads < n ? threads : n;
  std::vector<std::thread> others;
  try {
    for (std::int64_t t = 1; t < wanted; ++t) others.emplace_back(work);
  } catch (const std::system_error&) {
    // The system gives no more threads: those that run, and this one, do the work.
  }
  work();
  for (auto& thread : others) thread.join();
  if (thrown) std::rethrow_exception(thrown);
}

// The same for a body(i) that needs no state.
template <class Body>
void parallel_for(std::int64_t n, int threads, const Body& body) {
  parallel_for(n, threads, [] { return 0; }, [&](int, std::int64_t i) { body(i); });
}

}  // namespace shotsieve::cpu
