// SPDX-License-Identifier: Apache-2.0
// An allocation that fails, one after the other of all that the engine makes for three requests side by side: its own, or
// a tensor's. One of them may fail, the others have their tokens, no block is left in use.
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <map>

#include "../base/failing_new.h"
#include "../nn/support.h"
#include "infer/engine.h"
#include "infer/generate.h"

namespace braid {
namespace {

// Before PyTorch's own allocator for CPUs; the k-th tensor has no memory.
class FailingTensors final : public c10::Allocator {
 public:
  FailingTensors() : real_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 100); }
  ~FailingTensors() override { c10::SetCPUAllocator(real_, 100); }
  c10::DataPtr allocate(size_t bytes) override {
    if (left >= 0 && left-- == 0) TORCH_CHECK_WITH(OutOfMemoryError, false, "a test has taken the memory away");
    return real_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return real_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override { real_->copy_data(to, from, bytes); }

  int64_t left = -1;

 private:
  c10::Allocator* real_;
};

struct Answered {
  std::vector<int64_t> ids;
  std::optional<RequestEnd> end;
};

class EngineAllocations : public testing::Test {
 protected:
  EngineAllocations() : model(config(), Precision::fp32, at::kCPU, Weights::frozen) {
    test::randomise(model, 4, 0.5);
    EngineLimits limits;
    limits.running = 3;
    limits.step_tokens = 5;
    limits.block_tokens = 4;
    engine = std::make_unique<Engine>(model, nullptr, limits);
    for (const GenerationRequest& request : requests()) {
      expected.push_back(generate(model, {&request, 1}).answers[0].ids());
    }
  }
  static ModelConfig config() {
    ModelConfig config = test::small_model("llama", "residual");
    config.context = 48;
    return config;
  }
  static std::vector<GenerationRequest> requests() {
    std::vector<GenerationRequest> all(3);
    all[0].prompt = {1, 2, 3, 4, 5, 6, 7};
    all[1].prompt = {3};
    all[2].prompt = {9, 8, 9, 8, 9};
    for (GenerationRequest& one : all) one.max_tokens = 4;
    all[1].sampling.temperature = 0.7;
    all[2].sampling.repetition_penalty = 1.3;
    return all;
  }

  // What the engine allocates in `act` may fail; what a test does, and what is called back, does not.
  template <class Act>
  static auto in_the_engine(const Act& act) {
    struct Back {
      ~Back() { test::is_spared = true; }
    } back;
    test::is_spared = false;
    return act();
  }

  void submit(GenerationRequest request, Answered& told) {
    OnProgress take = [&told](RequestProgress progress) {
      test::is_spared = true;
      for (const SampledToken& token : progress.tokens) told.ids.push_back(token.id);
      if (progress.end) told.end = progress.end;
      test::is_spared = false;
    };
    try {
      in_the_engine([&] { return engine->submit(std::move(request), std::move(take)); });
    } catch (const std::bad_alloc&) {
      told.end.emplace().outcome = RequestOutcome::out_of_memory;
    }
  }

  // Runs all three, and returns how many failed.
  int64_t run() {
    test::is_spared = true;
    std::vector<Answered> told(expected.size());
    int64_t failed = 0;
    for (size_t i = 0; i < told.size(); ++i) submit(requests()[i], told[i]);
    while (in_the_engine([&] { return engine->step(); })) {
    }
    for (size_t i = 0; i < told.size(); ++i) {
      EXPECT_TRUE(told[i].end) << i;
      const bool whole = told[i].end && told[i].end->outcome == RequestOutcome::length;
      if (whole) EXPECT_EQ(told[i].ids, expected[i]) << i;
      if (!whole && told[i].end) EXPECT_EQ(told[i].end->outcome, RequestOutcome::out_of_memory) << told[i].end->message;
      failed += !whole;
    }
    const EngineState state = engine->state();
    EXPECT_EQ(state.running + state.waiting + state.blocks_in_use + state.outstanding_tokens, 0);
    EXPECT_LE(failed, 1);
    return failed;
  }

  Transformer model;
  std::unique_ptr<Engine> engine;
  std::vector<std::vector<int64_t>> expected;
};

TEST_F(EngineAllocations, OfItsOwnThatFailEndOneRequestAtMost) {
  for (int64_t k = 0; !HasFailure(); k += 3) {
    test::allocations_left = k;
    run();
    const bool all_were_made = test::allocations_left.exchange(-1) >= 0;
    if (all_were_made) {
      EXPECT_GT(k, 100);
      break;
    }
  }
  EXPECT_EQ(run(), 0);
}

TEST_F(EngineAllocations, OfTensorsThatFailEndOneRequestAtMost) {
  FailingTensors tensors;
  int64_t failed = 0, k = 0;
  for (; !HasFailure(); k += 3) {
    tensors.left = k;
    failed += run();
    if (std::exchange(tensors.left, -1) >= 0) break;
  }
  EXPECT_GT(k, 100);
  EXPECT_EQ(run(), 0);
}

}  // namespace
}  // namespace braid
