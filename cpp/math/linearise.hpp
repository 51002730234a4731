// The linearised signal of ONE raw word of a strip detector: an entry of its own table.
//
// Source of the formula: the facility's documentation of Gotthard-II, LUT(strip, cell, 12-bit word), applied
// before the offset. Promise: exact, since words become words.
#pragma once

#include <cstdint>

#include "hd.hpp"

namespace shotsieve::math {

// Entry of a word in a table of 2^n entries; bits above, which no ADC sends, are left out as the receiver
// does.
SS_HD int linear_entry(int word, int entries) { return word & (entries - 1); }

}  // namespace shotsieve::math
