// Is there a GPU that this build can use?
#pragma once

#include <string>

namespace shotsieve {

struct Probe {
  int devices;        // 0 when none can be used
  std::string name;   // of device 0
  std::string error;  // why there is none
};

Probe probe();

}  // namespace shotsieve
