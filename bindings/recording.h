// Calls of kernels, written down while they are made, to be made again on other memory: without
// Python between them, and without asking for memory.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings.h"

namespace lamina {

// Where a tensor's elements begin in a call that is made again: bytes behind one of its bases.
struct Place {
  size_t base;
  int64_t offset;
};

// A call with the addresses that its tensors had.
class RecordedCall {
 public:
  virtual ~RecordedCall() = default;
  // Of its tensors, in the order of `places`.
  virtual std::vector<uintptr_t> addresses() const = 0;
  virtual void run(char* const* bases, const Place* places) const = 0;
};

// What a thread writes down between begin and end.
class Recording {
 public:
  static Recording* current() { return current_; }
  static void begin();
  static Recording end();

  void add(std::shared_ptr<const RecordedCall> call) {
    recorded_ += call->addresses().size();
    calls_.push_back(std::move(call));
  }

  const std::vector<std::shared_ptr<const RecordedCall>>& calls() const { return calls_; }

  // Whether tensors went to no function but those that can be made again.
  bool is_whole() const { return tensors_handed - handed_before_ == recorded_; }

 private:
  static inline thread_local Recording* current_ = nullptr;

  std::vector<std::shared_ptr<const RecordedCall>> calls_;
  uint64_t recorded_ = 0, handed_before_ = tensors_handed;
};

// Calls visit(elements) for each tensor among a call's arguments, none for what is null.
template <typename T, typename Visit>
void for_elements(T&, const Visit&) {}
template <typename T, typename Visit>
void for_elements(Elements<T>& elements, const Visit& visit) {
  if (elements.data) visit(elements);
}
template <typename T, typename Visit>
void for_elements(std::optional<T>& value, const Visit& visit) {
  if (value) for_elements(*value, visit);
}
template <typename T, size_t Size, typename Visit>
void for_elements(std::array<T, Size>& values, const Visit& visit) {
  for (T& value : values) for_elements(value, visit);
}

template <typename Function, typename... Arguments>
class RecordedCallOf final : public RecordedCall {
 public:
  RecordedCallOf(const Function& function, const Arguments&... arguments)
      : function_(function), arguments_(arguments...) {}

  std::vector<uintptr_t> addresses() const override {
    std::vector<uintptr_t> found;
    auto arguments = arguments_;
    visit(arguments, [&](auto& e) { found.push_back(reinterpret_cast<uintptr_t>(e.data)); });
    return found;
  }

  void run(char* const* bases, const Place* places) const override {
    auto arguments = arguments_;
    visit(arguments, [&]<typename T>(Elements<T>& elements) {
      elements.data = reinterpret_cast<T*>(bases[places->base] + places->offset);
      ++places;
    });
    std::apply(function_, arguments);
  }

 private:
  template <typename Visit>
  static void visit(std::tuple<Arguments...>& arguments, const Visit& visit) {
    std::apply([&](auto&... argument) { (for_elements(argument, visit), ...); }, arguments);
  }

  Function function_;
  std::tuple<Arguments...> arguments_;
};

// Defines a function that a recording writes down; it runs without the interpreter's lock.
template <typename Function, typename... Arguments, typename... Extra>
void define_recorded(nanobind::module_& module, const char* name, const Function& function,
                     void (Function::*)(Arguments...) const, const Extra&... extra) {
  module.def(
      name,
      [function](Arguments... arguments) {
        if (Recording* recording = Recording::current()) {
          using Call = RecordedCallOf<Function, std::decay_t<Arguments>...>;
          recording->add(std::make_shared<const Call>(function, arguments...));
        }
        function(arguments...);
      },
      extra..., Unlocked());
}
template <typename Function, typename... Extra>
void define_recorded(nanobind::module_& module, const char* name, const Function& function,
                     const Extra&... extra) {
  define_recorded(module, name, function, &Function::operator(), extra...);
}

}  // namespace lamina
