// The emulated device for Python: memory, streams and events as plain integers, for shotsieve/device.py.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <new>

#include "cuemu.hpp"

namespace cuemu {

// Declared where the module of a backend is put together; named there, not in a header of the emulator.
void bind_runtime(pybind11::module_& m);

namespace {

namespace py = pybind11;
using Handle = std::uintptr_t;

template <class T>
T* pointer(Handle handle) {
  return reinterpret_cast<T*>(handle);
}
template <class T>
Handle handle(T* pointer) {
  return reinterpret_cast<Handle>(pointer);
}

Handle allocate_or_throw(std::size_t bytes, MemoryKind kind) {
  void* place = Memory::get().allocate(bytes, kind);
  if (place == nullptr && bytes != 0) throw std::bad_alloc();
  return handle(place);
}

}  // namespace

void bind_runtime(py::module_& m) {
  // Every call may wait for work that another Python thread is about to queue, or run kernels for seconds.
  using NoGil = py::call_guard<py::gil_scoped_release>;
  Runtime& runtime = Runtime::get();

  m.def(
      "set_seed", [&runtime](std::uint64_t seed) { runtime.set_seed(seed); },
      "Choose the order of threads, warps, blocks and streams from now on; 0 is the natural order.",
      py::arg("seed"), NoGil());

  m.def(
      "malloc", [](std::size_t nbytes) { return allocate_or_throw(nbytes, MemoryKind::Device); },
      "Address of new device memory, filled with 0xCD and 16-byte aligned; 0 for 0 bytes.", py::arg("nbytes"),
      NoGil());
  m.def(
      "free", [&runtime](Handle ptr) { runtime.free_later(pointer<void>(ptr), MemoryKind::Device); },
      "Give device memory back once all work queued so far is done; waits for nothing.", py::arg("ptr"),
      NoGil());
  m.def(
      "host_alloc", [](std::size_t nbytes) { return allocate_or_throw(nbytes, MemoryKind::Pinned); },
      "Address of new pinned host memory, filled with 0xCB; 0 for 0 bytes.", py::arg("nbytes"), NoGil());
  m.def(
      "host_free", [&runtime](Handle ptr) { runtime.free_later(pointer<void>(ptr), MemoryKind::Pinned); },
      "Give pinned memory back once all work queued so far is done; waits for nothing.", py::arg("ptr"),
      NoGil());
  m.def(
      "live_allocations", [] { return Memory::get().count(); },
      "Number of device and pinned allocations that were not given back yet.", NoGil());

  m.def(
      "stream_create", [&runtime] { return handle(runtime.create_stream(false)); },
      "Handle of a new non-blocking stream. Its work runs when somebody waits for it, seldom earlier.",
      NoGil());
  m.def(
      "stream_destroy", [&runtime](Handle stream) { runtime.destroy_stream(pointer<Stream>(stream)); },
      "Forget a stream; what is queued on it still runs.", py::arg("stream"), NoGil());
  m.def(
      "stream_synchronize", [&runtime](Handle stream) { runtime.synchronize(pointer<Stream>(stream)); },
      "Wait for all work queued on the stream.", py::arg("stream"), NoGil());
  m.def(
      "stream_query", [&runtime](Handle stream) { return runtime.done(pointer<Stream>(stream)); },
      "True when all work queued on the stream is done.", py::arg("stream"), NoGil());
  m.def(
      "stream_wait_event",
      [&runtime](Handle stream, Handle event) {
        runtime.wait(pointer<Stream>(stream), pointer<Event>(event));
      },
      "Let later work of the stream wait for the event's latest record.", py::arg("stream"), py::arg("event"),
      NoGil());

  m.def(
      "event_create", [&runtime] { return handle(runtime.create_event()); }, "Handle of a new event.",
      NoGil());
  m.def(
      "event_destroy", [&runtime](Handle event) { runtime.destroy_event(pointer<Event>(event)); },
      "Forget an event.", py::arg("event"), NoGil());
  m.def(
      "event_record",
      [&runtime](Handle event, Handle stream) {
        runtime.record(pointer<Event>(event), pointer<Stream>(stream));
      },
      "Let the event mark all work queued on the stream so far.", py::arg("event"), py::arg("stream"),
      NoGil());
  m.def(
      "event_synchronize", [&runtime](Handle event) { runtime.synchronize(pointer<Event>(event)); },
      "Wait for the event's latest record; returns at once if it was never recorded.", py::arg("event"),
      NoGil());
  m.def(
      "event_query", [&runtime](Handle event) { return runtime.done(pointer<Event>(event)); },
      "True when the work before the event's latest record is done.", py::arg("event"), NoGil());

  m.def(
      "memcpy_async",
      [&runtime](Handle dst, Handle src, std::size_t nbytes, Handle stream) {
        runtime.copy(pointer<void>(dst), pointer<void>(src), nbytes, pointer<Stream>(stream));
      },
      "Queue a copy between any two places. From pageable memory the source is read before this returns, to "
      "pageable memory it returns when the bytes are there.",
      py::arg("dst"), py::arg("src"), py::arg("nbytes"), py::arg("stream"), NoGil());
  m.def(
      "memset_async",
      [&runtime](Handle ptr, int value, std::size_t nbytes, Handle stream) {
        runtime.fill(pointer<void>(ptr), value, nbytes, pointer<Stream>(stream));
      },
      "Queue the setting of every byte.", py::arg("ptr"), py::arg("value"), py::arg("nbytes"),
      py::arg("stream"), NoGil());
  m.def(
      "device_synchronize", [&runtime] { runtime.synchronize_device(); }, "Wait for all work of all streams.",
      NoGil());
}

}  // namespace cuemu
