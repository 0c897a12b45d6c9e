// Each kind binds itself into the module. A tensor arrives as the address of its elements, which
// src/lamina/ops has checked for size and density; the caller holds the tensor during the call.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace lamina {

// The elements of a PyTorch tensor, or null for None. What is anything else than plain memory of
// this type - another type or device, a sparse or nested tensor, one with the negative or
// conjugate bit - is refused.
template <typename T>
struct Elements {
  T* data = nullptr;
  operator T*() const { return data; }
};

using Floats = Elements<float>;
using Bytes = Elements<uint8_t>;
using Words = Elements<uint32_t>;  // int32 for PyTorch

// How PyTorch calls a tensor of these elements.
template <typename T>
inline constexpr const char* tensor_type = nullptr;
template <>
inline constexpr const char* tensor_type<float> = "FloatTensor";
template <>
inline constexpr const char* tensor_type<uint8_t> = "ByteTensor";
template <>
inline constexpr const char* tensor_type<uint32_t> = "IntTensor";

// Where a PyTorch tensor of whatever type begins.
struct Address {
  char* data = nullptr;
};

using Unlocked = nanobind::call_guard<nanobind::gil_scoped_release>;

// How many tensors this thread has handed to functions of this module.
inline thread_local uint64_t tensors_handed = 0;

void bind_activation(nanobind::module_& module);
void bind_batch_norm2d(nanobind::module_& module);
void bind_memory_pool(nanobind::module_& module);
void bind_depthwise_conv2d(nanobind::module_& module);
void bind_conv2d(nanobind::module_& module);
void bind_dropout(nanobind::module_& module);
void bind_pool2d(nanobind::module_& module);
void bind_recording(nanobind::module_& module);
void bind_roofline(nanobind::module_& module);
void bind_separable_conv2d(nanobind::module_& module);

}  // namespace lamina

namespace nanobind::detail {

// Where a tensor's elements begin, null where it is empty; false for what is no instance of the
// type, or has no memory, as tracers' tensors have none.
template <typename T>
bool take_address(handle tensor, PyObject* type, T*& to) noexcept {
  static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
  object address;
  if (PyObject_IsInstance(tensor.ptr(), type) == 1)
    address = steal(PyObject_CallMethodNoArgs(tensor.ptr(), data_ptr));
  if (!address.is_valid()) {
    PyErr_Clear();
    return false;
  }
  to = static_cast<T*>(PyLong_AsVoidPtr(address.ptr()));
  return true;
}

// Types of PyTorch's are held for the life of the process, as PyTorch is.
template <typename T>
struct type_caster<lamina::Elements<T>> {
  NB_TYPE_CASTER(lamina::Elements<T>, const_name("torch.Tensor"))

  bool from_python(handle source, uint8_t, cleanup_list*) noexcept {
    if (source.is_none())
      return true;  // it comes as far as this where an argument's .none() lets it
    static PyObject* const type =
        module_::import_("torch").attr(lamina::tensor_type<T>).inc_ref().ptr();
    if (!take_address(source, type, value.data)) return false;
    ++lamina::tensors_handed;
    return true;
  }
};

template <>
struct type_caster<lamina::Address> {
  NB_TYPE_CASTER(lamina::Address, const_name("torch.Tensor"))

  bool from_python(handle source, uint8_t, cleanup_list*) noexcept {
    static PyObject* const type = module_::import_("torch").attr("Tensor").inc_ref().ptr();
    return take_address(source, type, value.data);
  }
};

}  // namespace nanobind::detail
