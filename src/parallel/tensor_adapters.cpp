// SPDX-License-Identifier: Apache-2.0
#include "parallel/tensor_adapters.h"

#include <cmath>

#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "nn/projection.h"
#include "parallel/sharded_rows.h"
#include "parallel/shared_gradients.h"

namespace braid {

namespace {

// Of each linear layer once.
std::vector<Linear*> layers_of(Transformer& model) {
  std::vector<Linear*> all;
  for (const Projection& projection : projections(model)) {
    if (all.empty() || all.back() != projection.linear) all.push_back(projection.linear);
  }
  return all;
}

}  // namespace

TensorAdapters::TensorAdapters(LoraModel& adapters, Transformer& model, const ModelConfig& whole, uint64_t seed,
                               Communicator& comm)
    : comm_(comm) {
  if (comm.size() == 1) return;
  const at::NoGradGuard no_gradient;
  for (Linear* layer : layers_of(model)) {
    const auto* adapter = dynamic_cast<const LoraAdapter*>(layer->adapter.get());
    if (!adapter) continue;
    for (const LoraPart& part : adapter->parts()) {
      if (layer->partition.leave) {
        cut_inputs(part, seed);
      } else if (layer == &model.head()) {
        cut_outputs(part, row_range(whole.vocabulary, comm.rank(), comm.size()).first, whole.vocabulary);
      } else {
        cut_outputs(part, part.out * comm.rank(), part.out * comm.size());
      }
    }
  }
  adapters.parameters().refresh_compute();
}

void TensorAdapters::cut_outputs(const LoraPart& part, int64_t first, int64_t all) {
  part.b->shape[0] = all;
  part.b->slice.origin[0] = first;
  shared_.push_back(part.a);
}

void TensorAdapters::cut_inputs(const LoraPart& part, uint64_t seed) {
  const int64_t columns = part.a->shape[1];
  part.a->shape[1] = columns * comm_.size();
  part.a->slice.origin[1] = columns * comm_.rank();
  fill_uniform(*part.a, seed, 1 / std::sqrt(double(part.a->shape[1])));
  shared_.push_back(part.b);
}

void TensorAdapters::sum_gradients(const std::vector<UpdateRange>& ranges) { braid::sum_gradients(ranges, shared_, comm_); }

}  // namespace braid
