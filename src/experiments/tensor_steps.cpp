// SPDX-License-Identifier: Apache-2.0
#include "experiments/tensor_steps.h"

#include "base/error.h"
#include "comm/recording_communicator.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"
#include "parallel/sharded_rows.h"

namespace braid {

TensorSteps::TensorSteps(World& world, int64_t vocabulary)
    : world_(world), vocabulary_(vocabulary), plans_(make_patient_split(world.host(), "steps")) {}

void TensorSteps::tell(std::vector<int64_t> numbers) {
  auto count = static_cast<int64_t>(numbers.size());
  plans_->broadcast({&count, 1, Dtype::int64}, 0).wait();
  if (count > 0) plans_->broadcast({numbers.data(), numbers.size(), Dtype::int64}, 0).wait();
}

std::vector<int64_t> TensorSteps::hear() {
  int64_t count = 0;
  plans_->broadcast({&count, 1, Dtype::int64}, 0).wait();
  std::vector<int64_t> numbers(static_cast<size_t>(count));
  if (count > 0) plans_->broadcast({numbers.data(), numbers.size(), Dtype::int64}, 0).wait();
  return numbers;
}

// Ranks have rows of the head, earlier ones perhaps one more.
at::Tensor TensorSteps::whole(const at::Tensor& part) {
  const int ranks = world_.size();
  const int64_t rows = part.size(0), most = row_range(vocabulary_, 0, ranks).count;
  if (rows == 0) return at::empty({0, vocabulary_}, part.options());
  const at::Tensor own = at::constant_pad_nd(part, {0, most - part.size(1)}).contiguous();
  const at::Tensor all = at::empty({ranks, rows, most}, part.options());
  world_.data().all_gather(buffer_of(own), buffer_of(all)).wait();
  std::vector<at::Tensor> parts;
  for (int r = 0; r < ranks; ++r) parts.push_back(all[r].narrow(1, 0, row_range(vocabulary_, r, ranks).count));
  return at::cat(parts, 1);
}

at::Tensor TensorSteps::computed(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces) {
  try {
    return whole(run_step(model, cache, pieces));
  } catch (const std::exception& problem) {
    world_.abort(str("a step failed: ", problem.what()), exit_failed);
  }
}

void TensorSteps::begin(const PagedCache& cache) { tell({cache.values.size(1), cache.block_tokens}); }

at::Tensor TensorSteps::run(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces) {
  const at::NoGradGuard no_gradient;
  tell(told_step(pieces));
  return computed(model, cache, pieces);
}

void TensorSteps::end() { tell({}); }

void TensorSteps::follow(Transformer& model) {
  const at::NoGradGuard no_gradient;
  const std::vector<int64_t> size = hear();
  if (size.empty()) return;  // it has not come to a cache
  PagedCache cache = make_paged_cache(model, size[0], size[1]);
  model.residual().begin_step();
  while (true) {
    const std::vector<int64_t> told = hear();
    if (told.empty()) return;
    computed(model, cache, heard_step(told));
  }
}

}  // namespace braid
