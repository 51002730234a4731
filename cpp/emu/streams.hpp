// Lazy streams. Work that a program queues runs only when somebody waits (or now and then earlier), one piece
// after another, in an order that the seed picks among all those that streams and events allow: now only what
// is waited for, now everything else first. What a program forgot to wait for is then sooner or later not
// there.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "memory.hpp"

namespace cuemu {

// How often an event was recorded, and up to which record the work before it is done.
struct EventState {
  std::uint64_t recorded = 0, done = 0;
};

struct Event {
  std::shared_ptr<EventState> state = std::make_shared<EventState>();
  bool alive = true;
};

struct Work {
  enum Kind { Run, Record, Wait } kind;
  std::function<void()> run;
  std::shared_ptr<EventState> event;
  std::uint64_t version;  // of the event
  std::uint64_t number;   // in the order of queueing, over all streams
};

struct Stream {
  std::deque<Work> queue;
  std::uint64_t queued = 0, finished = 0;
  bool waits_for_null = false;  // ordered with the null stream, as cudaStreamCreate makes them
  bool alive = true;
};

class Runtime {
 public:
  static Runtime& get() {
    static Runtime runtime;
    return runtime;
  }

  void set_seed(std::uint64_t seed) {
    const std::lock_guard<std::mutex> lock(mutex_);
    seed_word().store(seed, std::memory_order_relaxed);
    random_ = Random(seed);
    launches_ = 0;
  }
  // Every launch orders its threads differently; the same program and seed repeat the same orders.
  std::uint64_t launch_seed() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return seed() == 0 ? 0 : mix(seed(), ++launches_) | 1u;
  }

  // --- handles: never reused, so that a stale one is always noticed ---
  Stream* create_stream(bool waits_for_null) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto stream = std::make_unique<Stream>();
    stream->waits_for_null = waits_for_null;
    active_.push_back(stream.get());
    streams_[active_.back()] = std::move(stream);
    return active_.back();
  }
  // Work that is still queued runs on, as in CUDA.
  void destroy_stream(Stream* stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (null(stream)) throw Misuse("the null stream cannot be destroyed");
    check(stream)->alive = false;
    tidy();
  }
  Event* create_event() {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto event = std::make_unique<Event>();
    Event* const handle = event.get();
    events_[handle] = std::move(event);
    return handle;
  }
  void destroy_event(Event* event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    check(event)->alive = false;
  }

  // --- queueing ---
  // Returns when `run` is queued; on the null stream when it has run.
  void enqueue(Stream* stream, std::function<void()> run) {
    Lock lock(mutex_);
    if (null(stream)) {
      run_on_null(lock, run);
      return;
    }
    push(check(stream), {Work::Run, std::move(run), nullptr, 0, 0});
    now_and_then(lock, stream);
  }
  void record(Event* event, Stream* stream) {
    Lock lock(mutex_);
    const std::shared_ptr<EventState> state = check(event)->state;
    const std::uint64_t version = ++state->recorded;
    if (null(stream)) {
      run_on_null(lock, [] {});
      state->done = version;
      return;
    }
    push(check(stream), {Work::Record, nullptr, state, version, 0});
    now_and_then(lock, stream);
  }
  // Waits for the latest record so far; an event never recorded holds nobody up, as in CUDA.
  void wait(Stream* stream, Event* event) {
    Lock lock(mutex_);
    const std::shared_ptr<EventState> state = check(event)->state;
    const std::uint64_t version = state->recorded;
    if (null(stream)) {
      reach(lock, state, version);
      return;
    }
    push(check(stream), {Work::Wait, nullptr, state, version, 0});
    now_and_then(lock, stream);
  }

  // Copies are as asynchronous as CUDA's: fully between device and pinned memory; from pageable memory the
  // source is read before the call returns, to pageable memory the call returns when the bytes are there.
  void copy(void* target, const void* source, std::size_t bytes, Stream* stream) {
    if (bytes == 0) return;
    const Memory::Place to = Memory::get().place(target, bytes, "target of a copy");
    const Memory::Place from = Memory::get().place(source, bytes, "source of a copy");
    if (to.known && from.known) {
      enqueue(stream, [=] { std::memmove(target, source, bytes); });
    } else if (to.known) {
      const char* first = static_cast<const char*>(source);
      auto staged = std::make_shared<std::vector<char>>(first, first + bytes);
      enqueue(stream, [=] { std::memcpy(target, staged->data(), bytes); });
    } else {
      enqueue(stream, [=] { std::memmove(target, source, bytes); });
      synchronize(stream);
    }
  }
  void fill(void* target, int value, std::size_t bytes, Stream* stream) {
    if (bytes == 0) return;
    if (!Memory::get().place(target, bytes, "target of a memset").known) {
      throw Misuse("memset of memory that is not the device's");
    }
    enqueue(stream, [=] { std::memset(target, value, bytes); });
  }

  // Memory goes when all work queued so far is done: nobody is made to wait, which would hide a missing
  // synchronisation, and no kernel loses its buffers.
  void free_later(void* pointer, MemoryKind kind) {
    if (pointer == nullptr) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    Memory::get().retire(pointer, kind);
    zombies_.push_back({pointer, last_number_});
    tidy();
  }

  // --- waiting ---
  void synchronize(Stream* stream) {
    Lock lock(mutex_);
    if (!null(stream)) {
      const std::uint64_t target = check(stream)->queued;
      until(lock, [&] { return stream->finished >= target; }, [=] { return stream; });
    }
    Memory::get().check_all();
  }
  void synchronize(Event* event) {
    Lock lock(mutex_);
    const std::shared_ptr<EventState> state = check(event)->state;
    reach(lock, state, state->recorded);
    Memory::get().check_all();
  }
  void synchronize_device() {
    Lock lock(mutex_);
    drain(lock, [](const Stream&) { return true; });
    Memory::get().check_all();
  }
  // Asking makes some progress, or a program that polls would never end.
  bool done(Stream* stream) {
    Lock lock(mutex_);
    if (null(stream)) return true;
    const std::uint64_t target = check(stream)->queued;
    if (stream->finished < target && !busy_) step(lock, any_ready());
    return stream->finished >= target;
  }
  bool done(Event* event) {
    Lock lock(mutex_);
    const std::shared_ptr<EventState> state = check(event)->state;
    if (state->done < state->recorded && !busy_) step(lock, any_ready());
    return state->done >= state->recorded;
  }

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Zombie {
    void* pointer;
    std::uint64_t after;  // number of the last work that may still use it
  };

  // 0, and the two special handles of CUDA for its default streams.
  static bool null(const Stream* stream) { return reinterpret_cast<std::uintptr_t>(stream) <= 2; }

  Stream* check(Stream* stream) const {
    if (streams_.count(stream) == 0) throw Misuse("use of a stream handle that was never created");
    if (!stream->alive) throw Misuse("use of a stream that was destroyed");
    return stream;
  }
  Event* check(Event* event) const {
    if (events_.count(event) == 0) throw Misuse("use of an event handle that was never created");
    if (!event->alive) throw Misuse("use of an event that was destroyed");
    return event;
  }

  void push(Stream* stream, Work work) {
    work.number = ++last_number_;
    ++stream->queued;
    stream->queue.push_back(std::move(work));
  }

  // A real device often works while the host goes on: without this, a copy that was queued before its source
  // was filled would never be noticed. Either the stream catches up with the host, or all go on a little.
  void now_and_then(Lock& lock, Stream* queued) {
    if (seed() == 0 || random_.below(8) != 0) return;
    if (random_.below(2) == 0) {
      while (!busy_ && ready(queued)) step(lock, queued);
      return;
    }
    for (std::uint32_t i = 1 + random_.below(4); i > 0 && !busy_; --i) {
      Stream* stream = any_ready();
      if (stream == nullptr) return;
      step(lock, stream);
    }
  }

  static bool ready(const Stream* stream) {
    if (stream->queue.empty()) return false;
    const Work& work = stream->queue.front();
    return work.kind != Work::Wait || work.event->done >= work.version;
  }

  // Some stream that can go on, but rather not `other`; nullptr when there is none.
  Stream* any_ready(const Stream* other = nullptr) {
    std::vector<Stream*> choice;
    std::copy_if(active_.begin(), active_.end(), std::back_inserter(choice),
                 [=](const Stream* s) { return s != other && ready(s); });
    if (choice.empty()) return nullptr;
    return choice[seed() == 0 ? 0 : random_.below(static_cast<std::uint32_t>(choice.size()))];
  }

  Stream* stream_that_records(const std::shared_ptr<EventState>& event, std::uint64_t version) const {
    for (Stream* s : active_) {
      for (const Work& work : s->queue) {
        if (work.kind == Work::Record && work.event == event && work.version >= version) return s;
      }
    }
    return nullptr;
  }

  // The stream that must go on for `stream` to go on: itself, or the one at the end of the events it waits
  // for.
  Stream* needed(Stream* stream) const {
    while (stream != nullptr && !stream->queue.empty() && !ready(stream)) {
      const Work& work = stream->queue.front();
      stream = stream_that_records(work.event, work.version);
    }
    return stream == nullptr || stream->queue.empty() ? nullptr : stream;
  }

  // Runs the next piece of a stream that is ready.
  void step(Lock& lock, Stream* stream) {
    if (stream == nullptr) return;
    Work work = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (work.kind == Work::Run) unlocked(lock, work.run, work.number);
    if (work.kind == Work::Record) work.event->done = std::max(work.event->done, work.version);
    ++stream->finished;
    tidy();
    changed_.notify_all();
  }

  // One piece at a time, also when several host threads wait: the order is then the seed's.
  void unlocked(Lock& lock, const std::function<void()>& run, std::uint64_t number) {
    busy_ = true;
    running_number_ = number;
    lock.unlock();
    try {
      run();
    } catch (const std::exception& error) {
      die(std::string("no resources to run a launch: ") + error.what());
    }
    lock.lock();
    running_number_ = 0;
    busy_ = false;
    changed_.notify_all();
  }

  // Runs work until `done`; `wanted` gives the stream that is waited for, where there is one. Three ways to
  // get there, each of which finds other faults: only what is needed, everything else before it, any order.
  template <class Done, class Wanted>
  void until(Lock& lock, Done done, Wanted wanted) {
    const std::uint32_t way = seed() == 0 ? 0 : random_.below(3);
    while (!done()) {
      if (busy_) {
        changed_.wait(lock);
        continue;
      }
      Stream* next = way < 2 ? needed(wanted()) : nullptr;
      if (next == nullptr || way == 1) {
        Stream* other = any_ready(next);
        if (other != nullptr) next = other;
      }
      if (next == nullptr) die("stream deadlock: nothing can run, and what is waited for has not happened");
      step(lock, next);
    }
  }
  void reach(Lock& lock, const std::shared_ptr<EventState>& event, std::uint64_t version) {
    until(lock, [&] { return event->done >= version; }, [&] { return stream_that_records(event, version); });
  }

  template <class Chosen>
  void drain(Lock& lock, Chosen chosen) {
    std::vector<std::pair<Stream*, std::uint64_t>> targets;
    for (Stream* s : active_) {
      if (chosen(*s)) targets.emplace_back(s, s->queued);
    }
    const auto finished = [](const auto& target) { return target.first->finished >= target.second; };
    const auto all_finished = [&] { return std::all_of(targets.begin(), targets.end(), finished); };
    until(lock, all_finished, []() -> Stream* { return nullptr; });
  }

  // The null stream waits for the streams that are ordered with it and runs at once.
  void run_on_null(Lock& lock, const std::function<void()>& run) {
    drain(lock, [](const Stream& s) { return s.waits_for_null; });
    while (busy_) changed_.wait(lock);
    unlocked(lock, run, ++last_number_);
    tidy();
  }

  // Forgets destroyed streams that ran dry and frees the memory nobody uses any more.
  void tidy() {
    const auto over = [](const Stream* s) { return !s->alive && s->finished == s->queued; };
    active_.erase(std::remove_if(active_.begin(), active_.end(), over), active_.end());
    if (zombies_.empty()) return;
    std::uint64_t oldest = running_number_ != 0 ? running_number_ : std::numeric_limits<std::uint64_t>::max();
    for (const Stream* s : active_) {
      if (!s->queue.empty()) oldest = std::min(oldest, s->queue.front().number);
    }
    const auto unused = [&](const Zombie& z) {
      if (z.after >= oldest) return false;
      Memory::get().release(z.pointer);
      return true;
    };
    zombies_.erase(std::remove_if(zombies_.begin(), zombies_.end(), unused), zombies_.end());
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool busy_ = false;  // some host thread runs a piece of work
  std::unordered_map<const Stream*, std::unique_ptr<Stream>> streams_;
  std::unordered_map<const Event*, std::unique_ptr<Event>> events_;
  std::vector<Stream*> active_;
  std::vector<Zombie> zombies_;
  std::uint64_t last_number_ = 0, running_number_ = 0, launches_ = 0;
  Random random_{seed()};
};

}  // namespace cuemu
