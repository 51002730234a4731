#include "bank_mode.cuh"

#include "launch.cuh"

namespace shotsieve {
namespace {

dim3 grid_of(std::int64_t threads, std::int64_t groups) {
  const std::int64_t across = (threads + device::kBankThreads - 1) / device::kBankThreads;
  return dim3(static_cast<unsigned>(across), static_cast<unsigned>(groups), device::kBankFrames);
}

void subtract_medians(const BankModeCall& part, cudaStream_t stream) {
  if (part.bank_medians) {
    const dim3 banks = grid_of(part.n_banks() * 32, part.n_groups);
    SS_LAUNCH(device::bank_median_kernel<device::Median::kBank>, banks, device::kBankThreads, 0, stream,
              part);
  }
  if (part.row_medians) {
    const dim3 rows = grid_of(part.n_banks() * part.bank_rows, part.n_groups);
    SS_LAUNCH(device::bank_median_kernel<device::Median::kRow>, rows, device::kBankThreads, 0, stream, part);
  }
  if (part.column_medians) {
    const dim3 columns = grid_of(part.n_banks() * part.bank_columns, part.n_groups);
    SS_LAUNCH(device::bank_median_kernel<device::Median::kColumn>, columns, device::kBankThreads, 0, stream,
              part);
  }
}

}  // namespace

void bank_mode(const BankModeCall& call, const Where& where) {
  constexpr std::int64_t kMostRows = 65535;  // of a grid
  const cudaStream_t stream = stream_of(where);
  for (std::int64_t first = 0; first < call.n_groups; first += kMostRows) {
    BankModeCall part = call;
    part.groups += first;
    part.n_groups = call.n_groups - first < kMostRows ? call.n_groups - first : kMostRows;
    const dim3 pixels = grid_of(part.n_pixels, part.n_groups);
    SS_LAUNCH(device::bank_values_kernel<false>, pixels, device::kBankThreads, 0, stream, part);
    for (int pass = 0; pass < part.passes; ++pass) subtract_medians(part, stream);
    SS_LAUNCH(device::bank_values_kernel<true>, pixels, device::kBankThreads, 0, stream, part);
    check_launch("bank_mode");
  }
}

}  // namespace shotsieve
