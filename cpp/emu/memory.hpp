// Device and pinned memory: poisoned when allocated, between pages that fault, with guard bytes where no page
// fits.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>

#include "common.hpp"

namespace cuemu {

enum class MemoryKind { Device, Pinned };

inline const char* name_of(MemoryKind kind) {
  return kind == MemoryKind::Device ? "device memory" : "pinned memory";
}

// The end of an allocation lies at a page that faults, up to the rounding to kMemoryAlign, so that a kernel
// which reads too far crashes. CUEMU_FENCE=0 uses the heap instead: quicker to allocate, and only writes are
// noticed.
class Memory {
 public:
  static Memory& get() {
    static Memory memory;
    return memory;
  }

  // nullptr for 0 bytes, as CUDA has it, and when there is no memory left.
  void* allocate(std::size_t bytes, MemoryKind kind) {
    if (bytes == 0) return nullptr;
    Allocation a;
    a.bytes = bytes;
    a.kind = kind;
    const std::size_t rounded = round_up(bytes, kMemoryAlign);
    if (environment("CUEMU_FENCE", 1) != 0) {
      const std::size_t page = page_bytes();
      const std::size_t middle = round_up(rounded, page);
      a.mapped = middle + 2 * page;
      void* base = mmap(nullptr, a.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (base == MAP_FAILED) return nullptr;
      a.base = static_cast<char*>(base);
      if (mprotect(a.base + page, middle, PROT_READ | PROT_WRITE) != 0) {
        munmap(base, a.mapped);
        return nullptr;
      }
      a.first = a.base + page;
      a.last = a.base + page + middle;
    } else {
      const std::size_t size = round_up(rounded + 2 * kHeapGuard, kHeapGuard);
      a.base = static_cast<char*>(std::aligned_alloc(kHeapGuard, size));
      if (a.base == nullptr) return nullptr;
      a.first = a.base;
      a.last = a.base + size - kHeapGuard;
    }
    a.data = a.last - rounded;
    if (a.mapped == 0) a.last += kHeapGuard;
    std::memset(a.first, kGuard, static_cast<std::size_t>(a.data - a.first));
    std::memset(a.data, kind == MemoryKind::Device ? kDevicePoison : kPinnedPoison, bytes);
    std::memset(a.data + bytes, kGuard, static_cast<std::size_t>(a.last - (a.data + bytes)));
#if CUEMU_ASAN
    __asan_poison_memory_region(a.first, static_cast<std::size_t>(a.data - a.first));
    __asan_poison_memory_region(a.data + bytes, static_cast<std::size_t>(a.last - (a.data + bytes)));
#endif
    const std::lock_guard<std::mutex> lock(mutex_);
    allocations_[a.data] = a;
    return a.data;
  }

  // Marks an allocation as freed; release() gives it back once nothing that is queued can use it.
  void retire(void* pointer, MemoryKind kind) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = allocations_.find(static_cast<char*>(pointer));
    if (found == allocations_.end()) {
      throw Misuse("free of a pointer that is not the start of an allocation: freed twice?");
    }
    if (found->second.retired) throw Misuse("an allocation is freed twice");
    if (found->second.kind != kind) {
      throw Misuse(std::string(name_of(found->second.kind)) + " freed with the call for " + name_of(kind));
    }
    found->second.retired = true;
  }
  void release(void* pointer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = allocations_.find(static_cast<char*>(pointer));
    const Allocation a = found->second;
    check(a);
#if CUEMU_ASAN
    __asan_unpoison_memory_region(a.first, static_cast<std::size_t>(a.last - a.first));
#endif
    allocations_.erase(found);
    if (a.mapped != 0) {
      munmap(a.base, a.mapped);
    } else {
      std::free(a.base);
    }
  }

  struct Place {
    bool known = false;  // within an allocation of ours; otherwise ordinary host memory
    MemoryKind kind = MemoryKind::Device;
  };

  // What [pointer, pointer + bytes) is. Throws where it begins in an allocation and does not end in it.
  Place place(const void* pointer, std::size_t bytes, const char* role) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const char* p = static_cast<const char*>(pointer);
    auto next = allocations_.upper_bound(const_cast<char*>(p));
    if (next == allocations_.begin()) return {};
    const Allocation& a = std::prev(next)->second;
    if (p >= a.data + a.bytes) return {};
    if (a.retired) throw Misuse(std::string(role) + ": memory that was freed");
    if (bytes > static_cast<std::size_t>(a.data + a.bytes - p)) {
      throw Misuse(std::string(role) + ": " + std::to_string(bytes) + " bytes from offset " +
                   std::to_string(p - a.data) + " of an allocation of " + std::to_string(a.bytes) +
                   " bytes of " + name_of(a.kind));
    }
    return {true, a.kind};
  }

  // Dies where the guard bytes around any allocation were written.
  void check_all() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& entry : allocations_) check(entry.second);
  }

  std::size_t count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return allocations_.size();
  }

 private:
  // CUDA gives 256. Less puts the end closer to the faulting page; the widest load of a kernel needs 16.
  static constexpr std::size_t kMemoryAlign = 16;
  static constexpr std::size_t kHeapGuard = 256;

  struct Allocation {
    char* data = nullptr;
    std::size_t bytes = 0;
    char* first = nullptr;  // guard bytes lie in [first, data) and [data + bytes, last)
    char* last = nullptr;
    char* base = nullptr;
    std::size_t mapped = 0;  // bytes of the mapping at base; 0: from the heap
    MemoryKind kind = MemoryKind::Device;
    bool retired = false;
  };

  static std::size_t round_up(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }
  static std::size_t page_bytes() {
    static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return bytes;
  }
  static void check(const Allocation& a) {
    check_guard(a, a.first, a.data);
    check_guard(a, a.data + a.bytes, a.last);
  }
  static void check_guard(const Allocation& a, const char* begin, const char* end) {
#if CUEMU_ASAN
    return;  // ASan watches these bytes itself, and would not let us read them
#endif
    static const std::string untouched(4096, static_cast<char>(kGuard));
    while (begin < end) {
      const std::size_t n = std::min<std::size_t>(untouched.size(), static_cast<std::size_t>(end - begin));
      if (std::memcmp(begin, untouched.data(), n) != 0) {
        overrun(a, std::mismatch(begin, begin + n, untouched.data()).first);
      }
      begin += n;
    }
  }
  [[noreturn]] static void overrun(const Allocation& a, const char* p) {
    die(std::string(name_of(a.kind)) + " overrun: a byte at offset " + std::to_string(p - a.data) +
        " of an allocation of " + std::to_string(a.bytes) + " bytes was written");
  }

  std::mutex mutex_;
  std::map<char*, Allocation> allocations_;
};

}  // namespace cuemu
