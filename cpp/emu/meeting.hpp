// How the lanes of one warp meet in a warp operation; the rules are the same whether lanes are fibers or
// threads.
#pragma once

#include "common.hpp"

namespace cuemu {

enum class WarpOp : unsigned char { Sync, Shuffle, Vote, Reduce, Product };

// What the lanes of a meeting handed in.
struct Gathered {
  std::uint64_t value[kWarp];
  unsigned present = 0;  // lanes that took part; the others' values are poison

  // What a vote or a reduction makes of all values: worked out by the first lane that asks, the same for all.
  template <class Work>
  std::uint64_t once(Work work) {
    if (!known_) outcome_ = work();
    known_ = true;
    return outcome_;
  }
  void forget() { known_ = false; }

 private:
  std::uint64_t outcome_ = 0;
  bool known_ = false;
};

class Meeting {
 public:
  Gathered gathered;  // of the group that release() let go last

  void start(int lanes) {
    here_ = lanes == kWarp ? ~0u : (1u << lanes) - 1u;
    waiting_ = 0;
  }
  void leave(int lane) { here_ &= ~(1u << lane); }
  unsigned waiting() const { return waiting_; }
  Site where(int lane) const { return seat_[lane].at; }

  void arrive(int lane, WarpOp op, unsigned mask, std::uint64_t value, Site at) {
    if ((mask >> lane & 1u) == 0) die("lane not in its own mask", at);
    seat_[lane] = {op, mask, value, at};
    waiting_ |= 1u << lane;
  }

  // Lets go one group of lanes that are complete: all lanes of their mask that have not returned wait in the
  // same operation. The caller lets them read `gathered` before it asks for the next group. 0: nobody can go
  // on.
  unsigned release() {
    for (unsigned rest = waiting_; rest != 0; rest &= rest - 1) {
      const int first = __builtin_ctz(rest);
      const unsigned group = seat_[first].mask & here_;
      if ((group & ~waiting_) == 0 && agreed(group, first)) {
        gathered.present = group;
        gathered.forget();
        for (int l = 0; l < kWarp; ++l) gathered.value[l] = (group >> l & 1u) != 0 ? seat_[l].value : kNobody;
        waiting_ &= ~group;
        return group;
      }
    }
    if (waiting_ != 0 && waiting_ == here_) disagreement();
    return 0;
  }

 private:
  static constexpr std::uint64_t kNobody = 0xFBFBFBFBFBFBFBFBu;

  struct Seat {
    WarpOp op = WarpOp::Sync;
    unsigned mask = 0;
    std::uint64_t value = 0;
    Site at{nullptr, 0};
  };

  bool agreed(unsigned group, int first) const {
    for (unsigned rest = group; rest != 0; rest &= rest - 1) {
      if (differs(seat_[__builtin_ctz(rest)], seat_[first])) return false;
    }
    return true;
  }

  // Every lane waits, so none of them will ever go on.
  [[noreturn]] void disagreement() const {
    const int first = __builtin_ctz(waiting_);
    std::string where = text(seat_[first].at);
    for (int l = first + 1; l < kWarp; ++l) {
      if ((waiting_ >> l & 1u) == 0 || !differs(seat_[l], seat_[first])) continue;
      where += " (lane " + std::to_string(first) + ") and " + text(seat_[l].at) + " (lane " +
               std::to_string(l) + ")";
      break;
    }
    die("lanes of one warp meet in different operations or with different masks: " + where);
  }
  static bool differs(const Seat& a, const Seat& b) { return a.op != b.op || a.mask != b.mask; }

  Seat seat_[kWarp];
  unsigned here_ = 0;     // lanes that exist and have not returned
  unsigned waiting_ = 0;  // lanes that wait in a warp operation
};

}  // namespace cuemu
