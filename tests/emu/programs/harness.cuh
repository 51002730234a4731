// What the test programs share: random input, arrays of the device, and the verdict.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/portable.cuh"

namespace {

int wrong = 0;
std::mt19937 generator;  // seeded by each program

int between(int low, int high) {
  return low + static_cast<int>(generator() % static_cast<unsigned>(high - low + 1));
}

std::vector<void*> allocated;

template <class T>
T* device_only(std::size_t n) {
  T* place = nullptr;
  cudaMalloc(&place, std::max<std::size_t>(n, 1) * sizeof(T));
  allocated.push_back(place);
  return place;
}
template <class T>
T* to_device(const std::vector<T>& host) {
  T* place = device_only<T>(host.size());
  cudaMemcpy(place, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice);
  return place;
}
template <class T>
std::vector<T> to_host(const T* place, std::size_t n) {
  std::vector<T> host(n);
  cudaMemcpy(host.data(), place, n * sizeof(T), cudaMemcpyDeviceToHost);
  return host;
}
void release_all() {
  for (void* place : allocated) cudaFree(place);
  allocated.clear();
}

template <class T>
void expect_same(const std::vector<T>& got, const std::vector<T>& wanted) {
  const std::size_t bytes = wanted.size() * sizeof(T);
  wrong += got.size() != wanted.size() || (bytes > 0 && std::memcmp(got.data(), wanted.data(), bytes) != 0);
}

// What a program ends with.
int verdict() {
  std::printf(wrong == 0 ? "right\n" : "wrong: %d\n", wrong);
  return wrong == 0 ? 0 : 1;
}

}  // namespace
