#include "recording.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "common/derived.h"
#include "common/memory_pool.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {
namespace {

using Calls = std::vector<std::shared_ptr<const RecordedCall>>;

// Memory for what only a program's own calls read.
class Arena {
 public:
  explicit Arena(uint64_t bytes) {
    if (bytes == 0) return;
    block_ = MemoryPool::instance().allocate(bytes);
    if (!block_.data) own_ = std::make_unique<float[]>((bytes + 3) / 4);
  }
  ~Arena() {
    if (block_.data) MemoryPool::instance().release(block_);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  char* data() { return static_cast<char*>(block_.data ? block_.data : own_.get()); }

 private:
  MemoryPool::Block block_;
  std::unique_ptr<float[]> own_;
};

// Calls to make one after the other. Base 0 is the arena; the others come with each run. What the
// calls make of their weights is kept from run to run, for one thread at a time: another one that
// runs meanwhile makes its own.
class Program {
 public:
  Program(Calls calls, const std::vector<std::pair<size_t, int64_t>>& places, uint64_t bytes)
      : calls_(std::move(calls)), bytes_(bytes) {
    for (const auto& [base, offset] : places) {
      places_.push_back({base, offset});
      bases_ = std::max(bases_, base + 1);
    }
    size_t wanted = 0;
    for (const auto& call : calls_) {
      tensors_.push_back(call->addresses().size());
      wanted += tensors_.back();
    }
    kept_.resize(calls_.size());
    if (wanted != places_.size()) throw std::invalid_argument("a place for each tensor");
  }

  void run(const std::vector<Address>& tensors) const {
    if (tensors.size() + 1 < bases_) throw std::invalid_argument("a tensor for each base");
    Arena arena(bytes_);
    std::vector<char*> bases = {arena.data()};
    for (const Address& tensor : tensors) bases.push_back(tensor.data);
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    size_t at = 0;
    for (size_t call = 0; call < calls_.size(); ++call) {
      const Keeping keeping(lock ? &kept_[call] : nullptr);
      calls_[call]->run(bases.data(), places_.data() + at);
      at += tensors_[call];
    }
  }

 private:
  Calls calls_;
  std::vector<size_t> tensors_;  // of each call
  std::vector<Place> places_;    // of each tensor
  uint64_t bytes_;
  size_t bases_ = 1;
  mutable std::mutex mutex_;
  mutable std::vector<Kept> kept_;  // by each call
};

}  // namespace

void Recording::begin() {
  static thread_local Recording recording;
  recording = Recording();
  current_ = &recording;
}

Recording Recording::end() {
  if (!current_) throw std::logic_error("nothing is recorded");
  Recording done = std::move(*current_);
  current_ = nullptr;
  return done;
}

void bind_recording(nb::module_& module) {
  // A program lives as long as the compiled graph that holds it: to the end of the process.
  nb::set_leak_warnings(false);
  nb::class_<RecordedCall>(module, "RecordedCall")
      .def_prop_ro("addresses", &RecordedCall::addresses);
  nb::class_<Program>(module, "Program")
      .def(nb::init<Calls, const std::vector<std::pair<size_t, int64_t>>&, uint64_t>(), "calls"_a,
           "places"_a, "arena_bytes"_a)
      .def("run", &Program::run, "tensors"_a, Unlocked());
  module.def("recording_begin", &Recording::begin);
  module.def("is_recording", [] { return Recording::current() != nullptr; });
  // None where a function ran that no recording writes down.
  module.def("recording_end", []() -> std::optional<Calls> {
    const Recording done = Recording::end();
    if (!done.is_whole()) return std::nullopt;
    return done.calls();
  });
}

}  // namespace lamina
