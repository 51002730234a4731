// What whoever counts photons asks of the rules for it.
#pragma once

#include "../math/calibrate.hpp"
#include "array.hpp"

namespace shotsieve::bind {

// Raises ValueError where photons of a pixel might not fit the integers that they are counted in.
inline void check_photon_rules(float value_limit, float to_photon, float rounding_threshold) {
  check_that(value_limit > 0.0f && value_limit <= math::kMaxValueLimit, "value_limit",
             "above 0 and at most 16777214");
  check_that(to_photon >= 0.0f && value_limit * to_photon <= math::kMaxPhotonCount, "to_photon",
             "at least 0, and value_limit * to_photon below 2147483000");
  check_that(rounding_threshold > 0.0f && rounding_threshold <= 1.0f, "rounding_threshold",
             "above 0 and at most 1");
}

}  // namespace shotsieve::bind
