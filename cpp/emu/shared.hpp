// Shared memory of one block: poisoned when the block starts, with guard bytes around every array.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "common.hpp"

namespace cuemu {

constexpr std::size_t kMaxStaticShared = 48 * 1024;   // what nvcc accepts
constexpr std::size_t kMaxDynamicShared = 48 * 1024;  // without asking for more
constexpr std::size_t kMaxOptInShared = 227 * 1024;   // H100, H200

class SharedArena {
 public:
  void start(std::size_t dynamic_bytes) {
    const std::size_t needed = kStaticRoom + dynamic_bytes + 2 * kGuardBytes + kAlign;
    if (needed > capacity_) {
      storage_.reset(static_cast<char*>(std::aligned_alloc(kAlign, needed / kAlign * kAlign + kAlign)));
      capacity_ = needed;
    }
    arrays_.clear();
    used_ = 0;
    static_bytes_ = 0;
    dynamic_bytes_ = dynamic_bytes;
    if (dynamic_bytes > 0) dynamic_ = carve(nullptr, "dynamic shared memory", dynamic_bytes);
  }

  // The array of one declaration. CUDA gives a declaration one address for the whole block, whoever comes by
  // it and however often; `key` is what tells declarations (and instances of a template) apart.
  void* array(const void* key, const char* name, std::size_t bytes, Site at) {
    for (const Array& a : arrays_) {
      if (a.key == key) return a.data;
    }
    static_bytes_ += bytes;
    if (static_bytes_ > kMaxStaticShared) die("static shared memory over 48 KiB, which nvcc refuses", at);
    return carve(key, name + (" declared at " + text(at)), bytes);
  }

  void* dynamic(Site at) {
    if (dynamic_bytes_ == 0) die("dynamic shared memory used, but the launch asked for 0 bytes", at);
    return dynamic_;
  }

  // Looks at the guards. Writes far beyond an array are seen only under ASan or where they spoil a result.
  void finish() {
#if CUEMU_ASAN
    __asan_unpoison_memory_region(storage_.get(), used_);
#endif
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      const Array& a = arrays_[i];
      if (i == 0 && written(a.data - kGuardBytes, a.data) != nullptr) overrun(a, "before its start");
      const char* end = a.data + a.bytes;
      const char* next = i + 1 < arrays_.size() ? arrays_[i + 1].data : storage_.get() + used_;
      const char* found = written(end, next);
      if (found == nullptr) continue;
      const bool nearer_to_next = i + 1 < arrays_.size() && next - found < found - end + 1;
      overrun(nearer_to_next ? arrays_[i + 1] : a, nearer_to_next ? "before its start" : "beyond its end");
    }
  }

 private:
  static constexpr std::size_t kAlign = 64;
  static constexpr std::size_t kGuardBytes = 256;
  // 64 arrays with their guards; every page is touched only when an array comes to lie there.
  static constexpr std::size_t kStaticRoom = kMaxStaticShared + 64 * (kGuardBytes + kAlign);

  struct Array {
    const void* key;
    std::string name;
    std::size_t bytes;
    char* data;
  };

  void* carve(const void* key, std::string name, std::size_t bytes) {
    const std::size_t begin = used_ == 0 ? kGuardBytes : used_;
    const std::size_t padded = (bytes + kAlign - 1) / kAlign * kAlign;
    if (begin + padded + kGuardBytes > capacity_) die("more than 64 shared arrays in one kernel");
    char* data = storage_.get() + begin;
    if (used_ == 0) std::memset(storage_.get(), kGuard, kGuardBytes);
    std::memset(data, kSharedPoison, bytes);
    std::memset(data + bytes, kGuard, padded - bytes + kGuardBytes);
    used_ = begin + padded + kGuardBytes;
#if CUEMU_ASAN
    __asan_poison_memory_region(data - kGuardBytes, kGuardBytes);
    __asan_poison_memory_region(data + bytes, padded - bytes + kGuardBytes);
#endif
    arrays_.push_back({key, std::move(name), bytes, data});
    return data;
  }

  // The first guard byte in [begin, end) that is not what it was.
  static const char* written(const char* begin, const char* end) {
    for (const char* p = begin; p < end; ++p) {
      if (static_cast<unsigned char>(*p) != kGuard) return p;
    }
    return nullptr;
  }

  [[noreturn]] static void overrun(const Array& a, const char* where) {
    die("shared array overrun: " + a.name + " was written " + where);
  }

  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> storage_;
  std::size_t capacity_ = 0, used_ = 0, static_bytes_ = 0, dynamic_bytes_ = 0;
  std::vector<Array> arrays_;
  void* dynamic_ = nullptr;
};

}  // namespace cuemu
