// Every file of cuda/ that holds kernels, compiled by the host compiler against the emulator.
#include "../../cuda/bank_mode.cu"
#include "../../cuda/bins.cu"
#include "../../cuda/calibrate.cu"
#include "../../cuda/common_mode.cu"
#include "../../cuda/compact.cu"
#include "../../cuda/linearise.cu"
#include "../../cuda/peaks.cu"
#include "../../cuda/stats.cu"
