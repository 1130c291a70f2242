// SPDX-License-Identifier: Apache-2.0
#include "experiments/tensor_steps.h"

#include "base/error.h"
#include "comm/recording_communicator.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"
#include "parallel/sharded_rows.h"

namespace braid {

namespace {

// What a message begins with.
constexpr int64_t a_step = 0, a_past = 1;

}  // namespace

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
  std::vector<int64_t> told = told_step(pieces);
  told.insert(told.begin(), a_step);
  tell(std::move(told));
  return computed(model, cache, pieces);
}

void TensorSteps::store(int64_t past, std::span<const int64_t> blocks, int64_t first) {
  std::vector<int64_t> told = {a_past, past, first};
  told.insert(told.end(), blocks.begin(), blocks.end());
  tell(std::move(told));
}

WholeModel TensorSteps::whole_model() {
  WholeModel whole;
  whole.steps = [this](Transformer& part, PagedCache& cache, std::span<const StepPiece> pieces) {
    return run(part, cache, pieces);
  };
  whole.begin = [this](const PagedCache& cache) { begin(cache); };
  whole.vocabulary = vocabulary_;
  whole.tell_past = [this](int64_t past, std::span<const int64_t> blocks, int64_t first) { store(past, blocks, first); };
  return whole;
}

void TensorSteps::end() { tell({}); }

void TensorSteps::obey(Transformer& model, PagedCache& cache, std::span<const KeptPast> pasts, std::span<const int64_t> told) {
  if (told[0] == a_step) {
    computed(model, cache, heard_step(told.subspan(1)));
  } else {
    store_past(cache, pasts[static_cast<size_t>(told[1])], told.subspan(3), told[2]);
  }
}

void TensorSteps::follow(Transformer& model, std::vector<KeptPast> pasts) {
  const at::NoGradGuard no_gradient;
  const std::vector<int64_t> size = hear();
  if (size.empty()) return;  // it has not come to a cache
  PagedCache cache = make_paged_cache(model, size[0], size[1]);
  for (KeptPast& past : pasts) past.kept = past.kept.to(cache.keys.device(), cache.keys.scalar_type());
  model.residual().begin_step();
  for (std::vector<int64_t> told = hear(); !told.empty(); told = hear()) obey(model, cache, pasts, told);
}

}  // namespace braid
