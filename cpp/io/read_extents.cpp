#include "read_extents.hpp"

#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>
#include <vector>

namespace shotsieve::io {
namespace {

constexpr int kMaxPieces = 64;  // pieces of one preadv; well below IOV_MAX (1024)
// Of one preadv: large enough for the blocks of a parallel file system, and less where threads would be idle.
constexpr std::int64_t kMaxBytes = 8LL << 20;
constexpr std::int64_t kMinBytes = 1LL << 20;
constexpr int kRunsPerThread = 2;  // so that a slow one does not keep all waiting

// Extents [begin, end) that are consecutive in the file.
struct Run {
  std::int64_t begin, end;
};

void check(const Extents& e, std::int64_t dest_bytes) {
  for (std::int64_t i = 0; i < e.count; ++i) {
    const std::int64_t n = e.nbytes[i], to = e.dest_offset[i], from = e.file_offset[i];
    // `to <= dest_bytes - n` cannot overflow, `to + n` could.
    if (n < 0 || to < 0 || from < 0 || n > dest_bytes || to > dest_bytes - n || from > INT64_MAX - n)
      throw std::invalid_argument("extent " + std::to_string(i) + " (file offset " + std::to_string(from) +
                                  ", " + std::to_string(n) + " bytes) does not fit at offset " +
                                  std::to_string(to) + " of a destination of " + std::to_string(dest_bytes) +
                                  " bytes");
  }
}

std::int64_t bytes_of_run(const Extents& e, int threads) {
  const std::int64_t all = std::accumulate(e.nbytes, e.nbytes + e.count, std::int64_t{0});
  return std::clamp(all / (std::int64_t{kRunsPerThread} * std::max(threads, 1)), kMinBytes, kMaxBytes);
}

std::vector<Run> merge(const Extents& e, std::int64_t most) {
  std::vector<Run> runs;
  std::int64_t bytes = 0;
  for (std::int64_t i = 0; i < e.count; ++i) {
    const bool joins = !runs.empty() && e.file_offset[i] == e.file_offset[i - 1] + e.nbytes[i - 1] &&
                       i - runs.back().begin < kMaxPieces && bytes + e.nbytes[i] <= most;
    if (joins) {
      runs.back().end = i + 1;
      bytes += e.nbytes[i];
    } else {
      runs.push_back({i, i + 1});
      bytes = e.nbytes[i];
    }
  }
  return runs;
}

void read_run(int fd, const std::string& name, const Extents& e, Run run, std::uint8_t* dest) {
  iovec pieces[kMaxPieces];
  int count = 0;
  std::int64_t left = 0;
  for (std::int64_t i = run.begin; i < run.end; ++i) {
    if (e.nbytes[i] == 0) continue;
    pieces[count++] = {dest + e.dest_offset[i], static_cast<std::size_t>(e.nbytes[i])};
    left += e.nbytes[i];
  }
  std::int64_t at = e.file_offset[run.begin];
  int first = 0;
  while (left > 0) {
    const ssize_t got = ::preadv(fd, pieces + first, count - first, static_cast<off_t>(at));
    if (got < 0) {
      if (errno == EINTR) continue;
      const int code = errno;
      throw ReadError(code, name + ": reading " + std::to_string(left) + " bytes at offset " +
                                std::to_string(at) + " failed: " + std::strerror(code));
    }
    if (got == 0)
      throw ReadError(0, name + ": the file ends at offset " + std::to_string(at) + ", where " +
                             std::to_string(left) + " more bytes of data should be: it is truncated");
    at += got;
    left -= got;
    // The kernel may stop anywhere, also inside a piece: step over what is done and go on.
    std::size_t done = static_cast<std::size_t>(got);
    while (first < count && done >= pieces[first].iov_len) done -= pieces[first++].iov_len;
    if (done > 0) {
      pieces[first].iov_base = static_cast<std::uint8_t*>(pieces[first].iov_base) + done;
      pieces[first].iov_len -= done;
    }
  }
}

}  // namespace

void read_extents(int fd, const std::string& name, const Extents& extents, std::uint8_t* dest,
                  std::int64_t dest_bytes, int threads) {
  check(extents, dest_bytes);
  const std::vector<Run> runs = merge(extents, bytes_of_run(extents, threads));
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex lock;
  const auto work = [&] {
    for (std::size_t i = next++; i < runs.size() && !failed; i = next++) {
      try {
        read_run(fd, name, extents, runs[i], dest);
      } catch (...) {
        const std::lock_guard<std::mutex> hold(lock);
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  };
  const std::size_t helpers =
      std::min<std::size_t>(std::max(threads, 1), std::max<std::size_t>(runs.size(), 1)) - 1;
  std::vector<std::thread> pool;
  pool.reserve(helpers);
  try {
    for (std::size_t i = 0; i < helpers; ++i) pool.emplace_back(work);
  } catch (const std::system_error&) {
    // The system gives no more threads: those that run, and this one, do the work.
  }
  work();
  for (std::thread& t : pool) t.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace shotsieve::io
