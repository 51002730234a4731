// What processors of one level do in two ways, of which a run takes the better, beside plain loops: finding
// bytes that are not 0, and products of rows of bytes. Prints how many cases of each were compared, by the
// common way and by the better one; ends with 1 where one differs.
#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "cpu/gram.hpp"
#include "cpu/lit_bytes.hpp"

using namespace shotsieve::cpu;

namespace {

int lit_bytes(FindLit find, std::mt19937& random) {
  int rows = 0;
  for (const double rate : {0.0, 0.01, 0.1, 0.5, 3.0, 200.0}) {
    std::poisson_distribution<int> photons(rate);
    for (std::int32_t length = 0; length < 300; ++length, ++rows) {
      const std::int32_t place = rows * 7;
      // Nothing may be read behind the row: what lies there is lit, and would be listed.
      std::vector<std::uint8_t> bytes(length + 64, 255);
      std::vector<std::uint32_t> expected, found(length + kLitRoom);
      for (std::int32_t k = 0; k < length; ++k) {
        bytes[k] = static_cast<std::uint8_t>(std::min(photons(random), 255));
        if (bytes[k] != 0) expected.push_back(static_cast<std::uint32_t>(place + k) << 8 | bytes[k]);
      }
      found.resize(find(bytes.data(), bytes.data(), length, place, found.data()));
      if (found != expected) {
        std::printf("%d bytes at %g: %zu found, %zu expected\n", length, rate, found.size(), expected.size());
        return -1;
      }
    }
  }
  return rows;
}

int products(GramTile tile, std::mt19937& random) {
  std::uniform_int_distribution<int> counts(0, 127);
  int cases = 0;
  for (std::int64_t n = 0; n <= 640; n += kGramAlign, ++cases) {
    const std::int64_t stride = n + kGramAlign;
    std::vector<std::uint8_t> a(kGramRows * stride), b(kGramRows * stride);
    for (auto& one : a) one = static_cast<std::uint8_t>(cases % 2 ? 127 : counts(random));
    for (auto& one : b) one = static_cast<std::uint8_t>(cases % 2 ? 127 : counts(random));
    std::int32_t found[kGramRows][kGramRows];
    tile(a.data(), b.data(), stride, n, found);
    for (int i = 0; i < kGramRows; ++i) {
      for (int j = 0; j < kGramRows; ++j) {
        std::int32_t expected = 0;
        for (std::int64_t k = 0; k < n; ++k) expected += a[i * stride + k] * b[j * stride + k];
        if (found[i][j] != expected) {
          std::printf("%d bytes: %d, %d expected\n", static_cast<int>(n), found[i][j], expected);
          return -1;
        }
      }
    }
  }
  return cases;
}

}  // namespace

int main() {
  std::mt19937 random(7);
  const int found[4] = {
      lit_bytes(find_lit, random),
      best_find_lit() == find_lit ? 0 : lit_bytes(best_find_lit(), random),
      products(gram_tile_wide, random),
      best_gram_tile() == gram_tile_wide ? 0 : products(best_gram_tile(), random),
  };
  for (const int cases : found) std::printf("%d ", cases);
  return *std::min_element(found, found + 4) < 0;
}
