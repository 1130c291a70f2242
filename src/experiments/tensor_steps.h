// SPDX-License-Identifier: Apache-2.0
// A model on several ranks (parallel/tensor_parallel.h), of which rank 0 has the requests: it tells the others
// each step, all compute it, and the logits come together on all of them.
#pragma once

#include "comm/world.h"
#include "infer/kept_past.h"
#include "infer/step_ranks.h"

namespace braid {

// Whatever fails in a step ends the job: a rank that has left it would leave the others waiting.
class TensorSteps {
 public:
  // Collective; the world must outlive it. Ranks may wait for a step as long as they like.
  TensorSteps(World& world, int64_t vocabulary);

  // On rank 0: what its engine is made with, and the end.
  WholeModel whole_model();
  void end();

  // On the others: computes what rank 0 tells until that ends. `pasts`: this rank's heads of those that rank 0's engine is given,
  // in that order.
  void follow(Transformer& model, std::vector<KeptPast> pasts);

 private:
  void begin(const PagedCache& cache);
  at::Tensor run(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces);
  void store(int64_t past, std::span<const int64_t> blocks, int64_t first);
  void obey(Transformer& model, PagedCache& cache, std::span<const KeptPast> pasts, std::span<const int64_t> told);
  std::vector<int64_t> hear();
  void tell(std::vector<int64_t> numbers);
  at::Tensor computed(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces);
  at::Tensor whole(const at::Tensor& part);

  World& world_;
  int64_t vocabulary_;
  std::unique_ptr<Communicator> plans_;
};

}  // namespace braid
