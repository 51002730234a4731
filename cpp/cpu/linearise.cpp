#include "../core/linearise.hpp"

#include <cstring>

#include "parallel.hpp"

namespace shotsieve {

void linearise(const LineariseCall& call, const Where& where) {
  const std::int64_t n = call.n_pixels;
  const std::int64_t frame_words = call.planes * n;
  cpu::parallel_for(call.n_groups, where.threads, [&](std::int64_t g) {
    const FrameGroup& group = call.groups[g];
    for (std::int32_t k = group.start; k < group.stop; ++k) {
      const std::uint16_t* raw = call.raw + call.frames[k] * frame_words;
      std::uint16_t* words = call.words + call.frames[k] * frame_words;
      std::memcpy(words, raw, static_cast<std::size_t>(frame_words) * sizeof(std::uint16_t));
      if (group.table_row < 0) continue;
      const std::uint16_t* linear = call.linear + group.table_row * n * call.entries;
      for (std::int64_t i = 0; i < n; ++i) {
        words[i] = linear[i * call.entries + math::linear_entry(raw[i], call.entries)];
      }
    }
  });
}

}  // namespace shotsieve
