// Switching between the stacks of fibers.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <new>

#include "common.hpp"

#if CUEMU_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#define CUEMU_UCONTEXT 1
#endif
#if CUEMU_UCONTEXT
#include <ucontext.h>
#endif

namespace cuemu {

#if CUEMU_ASAN
constexpr std::size_t kStackBytes = 256 * 1024;  // instrumented frames are large
#else
constexpr std::size_t kStackBytes = 64 * 1024;
#endif

#if !CUEMU_UCONTEXT
// Saves the registers that a call must preserve and continues on another stack: 15 instructions, where
// swapcontext makes a system call. The floating-point control words are the same on all stacks and are left
// alone. `noipa`: the compiler must not conclude from the body that registers survive the call.
__attribute__((naked, noipa)) inline void switch_stack(void** /*save*/, void* /*to*/) {
  __asm__(
      "push %rbp\n\tpush %rbx\n\tpush %r12\n\tpush %r13\n\tpush %r14\n\tpush %r15\n\t"
      "mov %rsp,(%rdi)\n\tmov %rsi,%rsp\n\t"
      "pop %r15\n\tpop %r14\n\tpop %r13\n\tpop %r12\n\tpop %rbx\n\tpop %rbp\n\tret");
}
#endif

// One place of execution: a fiber, or the scheduler that resumes fibers.
class Context {
 public:
  // Makes the next switch to this context call `entry` on the given stack.
  void prepare(char* stack, void (*entry)()) {
    stack_ = stack;
    stack_bytes_ = kStackBytes;
    fake_ = nullptr;
#if CUEMU_ASAN
    __asan_unpoison_memory_region(stack, kStackBytes);  // the last fiber on this stack never returned
#endif
#if CUEMU_UCONTEXT
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = kStackBytes;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#else
    void** top = reinterpret_cast<void**>(stack + kStackBytes - 64);
    *--top = nullptr;  // where entry would return to; also keeps the stack aligned as a call leaves it
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    pointer_ = top;
#endif
  }

  // `last`: this context will not run again, so ASan may drop what it keeps for it.
  void switch_to(Context& to, bool last = false) {
#if CUEMU_ASAN
    __sanitizer_start_switch_fiber(last ? nullptr : &fake_, to.stack_, to.stack_bytes_);
#endif
#if CUEMU_UCONTEXT
    swapcontext(&context_, &to.context_);
#else
    switch_stack(&pointer_, to.pointer_);
#endif
    (void)last;
#if CUEMU_ASAN
    __sanitizer_finish_switch_fiber(fake_, nullptr, nullptr);
#endif
  }

  // The first thing a fiber does; `from` is the scheduler, whose stack ASan names only now.
  static void entered(Context& from) {
    (void)from;
#if CUEMU_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &from.stack_, &from.stack_bytes_);
#endif
  }

 private:
#if CUEMU_UCONTEXT
  ucontext_t context_;
#else
  void* pointer_ = nullptr;
#endif
  const void* stack_ = nullptr;
  std::size_t stack_bytes_ = 0;
  void* fake_ = nullptr;
};

// Stacks of a block's fibers, each above a page that faults, so that a deep kernel does not run into its
// neighbour.
class Stacks {
 public:
  Stacks() = default;
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  ~Stacks() { clear(); }

  void reserve(std::size_t n) {
    if (n <= count_) return;
    clear();
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* base = mmap(nullptr, n * stride(), PROT_READ | PROT_WRITE, flags, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<char*>(base);
    count_ = n;
    for (std::size_t i = 0; i < n; ++i) mprotect(base_ + i * stride(), page(), PROT_NONE);
  }
  char* stack(std::size_t i) const { return base_ + i * stride() + page(); }

 private:
  static std::size_t page() {
    static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return bytes;
  }
  static std::size_t stride() { return kStackBytes + page(); }
  void clear() {
    if (base_ != nullptr) munmap(base_, count_ * stride());
    base_ = nullptr;
    count_ = 0;
  }
  char* base_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace cuemu
