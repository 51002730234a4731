#include "inflate.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "filters.hpp"
#include "read_extents.hpp"

namespace shotsieve::io {
namespace {

// Stored and unpacked bytes of the chunks that a thread takes at once: neighbours are read together, and what
// was read is still in the core's own cache when it is unpacked.
constexpr std::int64_t kPieceStored = 128 << 10, kPieceUnpacked = 4 << 20;

// What a call writes from which on none of it would still be in a cache when it is looked at.
constexpr std::int64_t kPastCaches = 16 << 20;

using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// A buffer that grows, and is not filled with zeros that nobody reads.
class Room {
 public:
  std::uint8_t* of(std::int64_t bytes) {
    if (bytes > bytes_) {
      data_.reset();
      bytes_ = 0;
      data_.reset(new std::uint8_t[static_cast<std::size_t>(bytes)]);
      bytes_ = bytes;
    }
    return data_.get();
  }

 private:
  std::unique_ptr<std::uint8_t[]> data_;
  std::int64_t bytes_ = 0;
};

// What one thread keeps from piece to piece.
class Worker {
 public:
  Worker(int fd, const Deflate& deflate, const Chunks& chunks, std::uint8_t* dest, std::uint8_t* done)
      : fd_(fd),
        deflate_(deflate),
        c_(chunks),
        dest_(dest),
        done_(done),
        past_(chunks.bounds[chunks.count] * chunks.elements * chunks.size > kPastCaches),
        state_(deflate.make()) {}
  ~Worker() {
    if (state_) deflate_.end(state_);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void piece(std::int64_t begin, std::int64_t end) {
    if (!state_) return;
    const auto began = Clock::now();
    const std::int64_t* stored = c_.stored + begin;
    const std::int64_t count = end - begin;
    at_.resize(static_cast<std::size_t>(count));
    std::int64_t bytes = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      at_[static_cast<std::size_t>(i)] = bytes;
      bytes += stored[i];
    }
    std::uint8_t* packed = packed_.of(bytes);
    read_extents(fd_, std::string(), {c_.offset + begin, at_.data(), stored, count}, packed, bytes, 1);
    const auto read = Clock::now();
    for (std::int64_t i = begin; i < end; ++i)
      done_[i] = unpack(i, packed + at_[static_cast<std::size_t>(i - begin)]);
    spent.reading += seconds(began, read);
    spent.unpacking += seconds(read, Clock::now());
  }

  Spent spent;

 private:
  bool unpack(std::int64_t i, const std::uint8_t* stored) {
    const std::int64_t begin = c_.bounds[i], end = c_.bounds[i + 1], wanted = c_.elements * c_.size;
    if (begin == end) return true;
    // A frame that is the whole chunk needs no other place on its way.
    const bool straight = !c_.shuffled && wanted == c_.nbytes;
    std::uint8_t* chunk = straight ? dest_ + c_.to[begin] : room_.of(c_.nbytes);
    if (deflate_.inflate(state_, stored, static_cast<std::size_t>(c_.stored[i]), chunk,
                         static_cast<std::size_t>(c_.nbytes), nullptr) != 0)
      return false;
    for (std::int64_t j = begin + straight; j < end; ++j) {
      if (c_.shuffled)
        unshuffle(chunk, c_.size, c_.nbytes / c_.size, c_.first[j], c_.elements, dest_ + c_.to[j], past_);
      else
        std::memcpy(dest_ + c_.to[j], chunk + c_.first[j] * c_.size, static_cast<std::size_t>(wanted));
    }
    return true;
  }

  const int fd_;
  const Deflate& deflate_;
  const Chunks& c_;
  std::uint8_t* const dest_;
  std::uint8_t* const done_;
  const bool past_;
  void* const state_;
  std::vector<std::int64_t> at_;
  Room packed_, room_;
};

// Chunks are given out in pieces that become smaller towards the end, so that all threads end together.
class Queue {
 public:
  Queue(const Chunks& chunks, int threads) : c_(chunks), threads_(threads) {}

  bool take(std::int64_t& begin, std::int64_t& end) {
    const std::lock_guard<std::mutex> hold(lock_);
    if (next_ == c_.count) return false;
    begin = next_;
    const std::int64_t most =
        std::max<std::int64_t>(1, std::min(kPieceUnpacked / c_.nbytes, (c_.count - begin) / (2 * threads_)));
    std::int64_t bytes = 0;
    do {
      bytes += c_.stored[next_++];
    } while (next_ < c_.count && next_ - begin < most && c_.stored[next_] <= kPieceStored - bytes);
    end = next_;
    return true;
  }

 private:
  const Chunks& c_;
  const int threads_;
  std::mutex lock_;
  std::int64_t next_ = 0;
};

}  // namespace

Spent inflate_frames(int fd, const Deflate& deflate, const Chunks& chunks, std::uint8_t* dest,
                     std::uint8_t* done, int threads) {
  std::fill_n(done, chunks.count, std::uint8_t{0});
  threads = static_cast<int>(std::min<std::int64_t>(threads, std::max<std::int64_t>(chunks.count, 1)));
  Queue queue(chunks, threads);
  Spent spent;
  std::mutex lock;
  const auto work = [&] {
    Worker worker(fd, deflate, chunks, dest, done);
    for (std::int64_t begin, end; queue.take(begin, end);) {
      try {
        worker.piece(begin, end);
      } catch (...) {
        // These chunks stay undone: whoever called finds out which of them is at fault, and says so.
      }
    }
    const std::lock_guard<std::mutex> hold(lock);
    spent.reading += worker.spent.reading;
    spent.unpacking += worker.spent.unpacking;
  };
  std::vector<std::thread> pool;
  pool.reserve(static_cast<std::size_t>(threads - 1));
  try {
    for (int i = 1; i < threads; ++i) pool.emplace_back(work);
  } catch (const std::exception&) {
    // The system gives no more threads: those that run, and this one, do the work.
  }
  work();
  for (std::thread& t : pool) t.join();
  return spent;
}

}  // namespace shotsieve::io
