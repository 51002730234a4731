// Frames that are calibrated already: masked and counted, with no constants.
#pragma once

#include "../core/calibrate.hpp"

namespace shotsieve::cpu {

// calibrate_count for Encoding::kCorrected.
void count_corrected(const CalibrateCall& call, const Where& where);

}  // namespace shotsieve::cpu
