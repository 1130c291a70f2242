// SPDX-License-Identifier: Apache-2.0
// How much memory tensors take.
#pragma once

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <memory>

namespace braid::test {

// Counts the bytes of all tensors on the CPU that are alive. Memory that outlives it still knows where to count.
class CountingAllocator final : public c10::Allocator {
 public:
  CountingAllocator() : base_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 200); }
  ~CountingAllocator() override { c10::SetCPUAllocator(base_, 200); }

  c10::DataPtr allocate(size_t bytes) override {
    auto* held = new Held{base_->allocate(bytes), int64_t(bytes), live_};
    peak_ = std::max(peak_.load(), *live_ += held->bytes);
    return {held->memory.get(), held, &release, c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
  int64_t live() const { return *live_; }
  int64_t peak() const { return peak_; }

 private:
  using Count = std::shared_ptr<std::atomic<int64_t>>;
  struct Held {
    c10::DataPtr memory;
    int64_t bytes;
    Count live;
  };
  static void release(void* context) {
    const std::unique_ptr<Held> held(static_cast<Held*>(context));
    *held->live -= held->bytes;
  }
  c10::Allocator* base_;
  Count live_ = std::make_shared<std::atomic<int64_t>>(0);
  std::atomic<int64_t> peak_ = 0;
};

}  // namespace braid::test
