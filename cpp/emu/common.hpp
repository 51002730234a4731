// What every part of the emulator shares: the thread that is running, how a run is ended, and the seed.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "types.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define CUEMU_ASAN 1
#endif

namespace cuemu {

constexpr int kWarp = 32;

// Memory that nobody has written yet. Each pattern is a large negative float and a large integer, so that
// what reads it stands out in any result; they differ so that a debugger shows where a value came from.
constexpr unsigned char kDevicePoison = 0xCD;
constexpr unsigned char kPinnedPoison = 0xCB;
constexpr unsigned char kSharedPoison = 0xFB;
constexpr unsigned char kGuard = 0xDE;  // the bytes around an allocation

// Where a call stands in the kernel's source. here() as a default argument is the caller's line; a braced
// Site{__builtin_FILE(), __builtin_LINE()} would be the line of the declaration.
struct Site {
  const char* file;
  int line;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

inline bool same_site(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}
inline std::string text(Site at) { return std::string(at.file) + ":" + std::to_string(at.line); }

// One emulated CUDA thread, as the kernel sees itself.
struct Lane {
  uint3 thread{0, 0, 0};
  uint3 block{0, 0, 0};
  dim3 block_dim, grid_dim;
  int index = 0;  // of the thread within its block
};

// A single pointer per OS thread, in the static TLS block: threadIdx and its like are read in inner loops.
inline thread_local Lane* running __attribute__((tls_model("initial-exec"))) = nullptr;

inline Lane& lane() { return *running; }

// The emulator has proof that the program is wrong. Nothing that ran so far can be trusted, so the process
// ends.
[[noreturn]] inline void die(const std::string& what) {
  std::string where;
  if (running != nullptr) {
    const auto triple = [](uint3 v) {
      return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")";
    };
    where = " [block " + triple(running->block) + ", thread " + triple(running->thread) + "]";
  }
  std::fprintf(stderr, "cuemu: %s%s\n", what.c_str(), where.c_str());
  std::fflush(nullptr);
  std::abort();
}
[[noreturn]] inline void die(const std::string& what, Site at) { die(what + " at " + text(at)); }

// A host call with arguments that cannot be right. The CUDA names end the process, the Python ones raise.
class Misuse : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Splitmix64: the same numbers on every machine, which std::shuffle does not promise.
class Random {
 public:
  explicit Random(std::uint64_t seed = 0) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(((next() >> 32) * n) >> 32); }

  template <class T>
  void shuffle(T* first, std::size_t n) {
    for (std::size_t i = n; i > 1; --i) std::swap(first[i - 1], first[below(static_cast<std::uint32_t>(i))]);
  }

 private:
  std::uint64_t state_;
};

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  return Random(a * 0x9E3779B97F4A7C15u ^ b).next();
}

// A whole number from the environment, or `otherwise`.
inline std::int64_t environment(const char* name, std::int64_t otherwise) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return otherwise;
  char* end = nullptr;
  const std::int64_t number = std::strtoll(value, &end, 10);
  if (*end != '\0' || number < 0) {
    die(std::string(name) + "=" + value + ": expected a whole number, 0 or more");
  }
  return number;
}

// Chooses every order the emulator is free to choose. Seed 0 means the natural order: no shuffling at all.
inline std::atomic<std::uint64_t>& seed_word() {
  static std::atomic<std::uint64_t> word{static_cast<std::uint64_t>(environment("CUEMU_SEED", 1))};
  return word;
}
inline std::uint64_t seed() { return seed_word().load(std::memory_order_relaxed); }

}  // namespace cuemu
