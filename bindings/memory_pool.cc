#include "common/memory_pool.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {
namespace {

// DLPack's DLManagedTensor, and behind it what it points to. Not nanobind's ndarray: that one
// takes the interpreter's lock to give memory back, and a tensor may outlive the interpreter.
struct ManagedTensor {
  nb::dlpack::dltensor tensor{};
  void* context = nullptr;
  void (*deleter)(ManagedTensor*) = nullptr;

  MemoryPool::Block block;
  std::vector<int64_t> shape, strides;
};

void give_back(ManagedTensor* managed) {
  MemoryPool::instance().release(managed->block);
  delete managed;
}

// The consumer renames the capsule and takes the tensor over; one that is not consumed owns it.
void destroy_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, "dltensor")) return;
  give_back(static_cast<ManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor")));
}

nb::object allocate(std::vector<int64_t> shape, std::vector<int64_t> strides, uint8_t code,
                    uint8_t bits, uint64_t bytes) {
  auto managed = std::make_unique<ManagedTensor>();
  managed->block = MemoryPool::instance().allocate(bytes);
  if (!managed->block.data) return nb::none();
  managed->shape = std::move(shape);
  managed->strides = std::move(strides);
  managed->tensor.data = managed->block.data;
  managed->tensor.device = {nb::device::cpu::value, 0};
  managed->tensor.ndim = static_cast<int32_t>(managed->shape.size());
  managed->tensor.dtype = {code, bits, 1};
  managed->tensor.shape = managed->shape.data();
  managed->tensor.strides = managed->strides.data();
  managed->deleter = give_back;
  PyObject* const capsule = PyCapsule_New(managed.get(), "dltensor", destroy_capsule);
  if (!capsule) {
    MemoryPool::instance().release(managed->block);
    throw nb::python_error();
  }
  managed.release();
  return nb::steal(capsule);
}

}  // namespace

void bind_memory_pool(nb::module_& module) {
  module.def("memory_is_supported", &MemoryPool::is_supported);
  // A DLPack capsule; None where the pool has nothing to give.
  module.def("memory_allocate", &allocate, "shape"_a, "strides"_a, "code"_a, "bits"_a, "bytes"_a);
  module.def("memory_empty_cache", [] { return MemoryPool::instance().empty_cache(); });
  module.def(
      "memory_set_limit", [](uint64_t bytes) { MemoryPool::instance().set_limit(bytes); },
      "bytes"_a);
  module.def("memory_statistics", [] {
    const MemoryPool::Statistics now = MemoryPool::instance().statistics();
    return std::map<std::string, uint64_t>{{"cached", now.cached},
                                           {"in_use", now.in_use},
                                           {"limit", now.limit},
                                           {"hits", now.hits},
                                           {"misses", now.misses}};
  });
}

}  // namespace lamina
