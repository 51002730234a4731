// The Python module of one backend. The same files are compiled once per backend; SHOTSIEVE_MODULE names it.
#include "bind.hpp"

#if defined(SHOTSIEVE_EMULATED)
namespace cuemu {
void bind_runtime(pybind11::module_& m);
}
#elif defined(SHOTSIEVE_DEVICE_BACKEND)
#include "../../cuda/probe.hpp"
#endif

namespace {

// The x86-64 level of this processor (1-4); 0 on other machines.
int cpu_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return 4;
  if (__builtin_cpu_supports("x86-64-v3")) return 3;
  if (__builtin_cpu_supports("x86-64-v2")) return 2;
  return 1;
#else
  return 0;
#endif
}

}  // namespace

PYBIND11_MODULE(SHOTSIEVE_MODULE, m) {
  m.doc() = "One compiled backend of shotsieve; see shotsieve/_native.pyi.";
  shotsieve::bind::bind_bank_mode(m);
  shotsieve::bind::bind_baseline(m);
  shotsieve::bind::bind_bins(m);
  shotsieve::bind::bind_calibrate(m);
  shotsieve::bind::bind_common_mode(m);
  shotsieve::bind::bind_compact(m);
  shotsieve::bind::bind_correlation(m);
  shotsieve::bind::bind_darks(m);
  shotsieve::bind::bind_linearise(m);
  shotsieve::bind::bind_peaks(m);
  shotsieve::bind::bind_photon_list(m);
  shotsieve::bind::bind_scores(m);
  shotsieve::bind::bind_stats(m);
  m.def("cpu_level", &cpu_level, "x86-64 level of this processor, 0 on other machines.");
#if defined(SHOTSIEVE_EMULATED)
  cuemu::bind_runtime(m);
#elif defined(SHOTSIEVE_DEVICE_BACKEND)
  m.def(
      "probe",
      [] {
        const shotsieve::Probe p = shotsieve::probe();
        return pybind11::make_tuple(p.devices, p.name, p.error);
      },
      "(number of usable devices, name of the first, reason why there is none).");
#endif
}
