// SPDX-License-Identifier: Apache-2.0
// Counts the bytes of all tensors in CPU memory, in the place of LibTorch's allocator while it lives.
#pragma once

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace braid::test {

class CountingAllocator final : public c10::Allocator {
 public:
  CountingAllocator() : base_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 200); }
  ~CountingAllocator() override { c10::SetCPUAllocator(base_, 200); }

  c10::DataPtr allocate(size_t bytes) override {
    void* block = std::aligned_alloc(alignment, (alignment + bytes + alignment - 1) / alignment * alignment);
    if (!block) throw std::bad_alloc();
    new (block) Head{int64_t(bytes), live_};
    peak_ = std::max(peak_.load(), *live_ += int64_t(bytes));
    void* memory = static_cast<char*>(block) + alignment;
    return {memory, memory, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  int64_t live() const { return *live_; }
  int64_t peak() const { return peak_; }
  void forget_peak() { peak_ = live(); }

 private:
  // Before the memory, whose address must be all that is needed to free it. Memory that outlives this still knows where to count.
  struct Head {
    int64_t bytes;
    std::shared_ptr<std::atomic<int64_t>> live;
  };
  static constexpr size_t alignment = 64;

  static void release(void* memory) {
    void* block = static_cast<char*>(memory) - alignment;
    auto* head = static_cast<Head*>(block);
    *head->live -= head->bytes;
    head->~Head();
    std::free(block);
  }

  c10::Allocator* base_;
  std::shared_ptr<std::atomic<int64_t>> live_ = std::make_shared<std::atomic<int64_t>>(0);
  std::atomic<int64_t> peak_ = 0;
};

}  // namespace braid::test
