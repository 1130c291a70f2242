// SPDX-License-Identifier: Apache-2.0
// A model on several ranks (parallel/tensor_parallel.h), of which rank 0 has the requests: it tells the others
// each step, all compute it, and the logits come together on all of them.
#pragma once

#include "comm/world.h"
#include "infer/step_ranks.h"

namespace braid {

// Whatever fails in a step ends the job: a rank that has left it would leave the others waiting.
class TensorSteps {
 public:
  // Collective; the world must outlive it. Ranks may wait for a step as long as they like.
  TensorSteps(World& world, int64_t vocabulary);

  // On rank 0.
  void begin(const PagedCache& cache);
  at::Tensor run(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces);
  void end();

  // On the others: computes what rank 0 tells until that ends.
  void follow(Transformer& model);

 private:
  std::vector<int64_t> hear();
  void tell(std::vector<int64_t> numbers);
  at::Tensor computed(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces);
  at::Tensor whole(const at::Tensor& part);

  World& world_;
  int64_t vocabulary_;
  std::unique_ptr<Communicator> plans_;
};

}  // namespace braid
