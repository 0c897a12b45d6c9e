// Each kind binds itself into the module. Tensors arrive as addresses: src/lamina/ops has made
// sure of type, device, density and size, and keeps the tensors alive during the call.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace lamina {

using Address = uintptr_t;  // of a tensor's first element; 0 stands for no tensor

template <typename T = float>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

using Unlocked = nanobind::call_guard<nanobind::gil_scoped_release>;

void bind_activation(nanobind::module_& module);
void bind_batch_norm2d(nanobind::module_& module);
void bind_memory_pool(nanobind::module_& module);
void bind_depthwise_conv2d(nanobind::module_& module);
void bind_conv2d(nanobind::module_& module);
void bind_dropout(nanobind::module_& module);
void bind_pool2d(nanobind::module_& module);
void bind_roofline(nanobind::module_& module);
void bind_separable_conv2d(nanobind::module_& module);

}  // namespace lamina
