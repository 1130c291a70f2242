// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline_schedule.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

LayerRange layers_of_stage(int64_t layers, const PipelineShape& shape, int64_t stage, int64_t chunk) {
  const int64_t run = chunk * shape.stages + stage, each = layers / shape.runs(), more = layers % shape.runs();
  return {run * each + std::min(run, more), each + (run < more ? 1 : 0)};
}

ModelConfig stage_share(const ModelConfig& whole, const PipelineShape& shape, int64_t stage) {
  ModelConfig share = whole;
  if (shape.stages == 1) return share;
  if (whole.layers < shape.runs()) {
    throw UsageError(str("parallel.pipeline: model.layers: ", whole.layers, " layers are too few for ", shape.stages,
                         " stages of ", shape.chunks, shape.chunks == 1 ? " run of layers" : " runs of layers"));
  }
  for (int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
    share.held.push_back(layers_of_stage(whole.layers, shape, stage, chunk));
  }
  return share;
}

namespace {

// Micro-batches go through the chunks in groups of as many as there are stages, so that the first of a group is through the
// last stage when the first stage begins with its next chunk. What remains is shared out among the groups: a small one at the
// end would be waited for by stages that it waits for. Backward takes the chunks from the last one.
std::vector<int64_t> groups_of(const PipelineShape& shape, int64_t passes) {
  const int64_t count = std::max<int64_t>(1, passes / shape.stages);
  std::vector<int64_t> sizes(size_t(count), passes / count);
  for (int64_t i = 0; i < passes % count; ++i) ++sizes[size_t(i)];
  return sizes;
}

std::vector<PipelineAction> in_groups(const PipelineShape& shape, int64_t passes, bool forward) {
  std::vector<PipelineAction> all;
  int64_t first = 0;
  for (const int64_t size : groups_of(shape, passes)) {
    for (int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
      for (int64_t pass = first; pass < first + size; ++pass) {
        all.push_back({forward, forward ? chunk : shape.chunks - 1 - chunk, pass});
      }
    }
    first += size;
  }
  return all;
}

// Forward passes before the first backward pass follows one.
int64_t warm_up(const PipelineShape& shape, int64_t stage, int64_t passes) {
  const int64_t all = shape.chunks * passes, behind = shape.stages - 1 - stage;  // stages behind this one
  if (shape.schedule == "gpipe") return all;
  return std::min(all, shape.chunks == 1 ? behind : 2 * behind + (shape.chunks - 1) * groups_of(shape, passes).front());
}

}  // namespace

std::vector<PipelineAction> pipeline_actions(const PipelineShape& shape, int64_t stage, int64_t passes) {
  const std::vector<PipelineAction> forward = in_groups(shape, passes, true), backward = in_groups(shape, passes, false);
  const auto first = size_t(warm_up(shape, stage, passes));
  std::vector<PipelineAction> all(forward.begin(), forward.begin() + int64_t(first));
  for (size_t i = 0; i < backward.size(); ++i) {
    if (first + i < forward.size()) all.push_back(forward[first + i]);
    all.push_back(backward[i]);
  }
  return all;
}

int64_t passes_kept(const PipelineShape& shape, int64_t stage, int64_t passes) {
  return std::min(shape.chunks * passes, warm_up(shape, stage, passes) + 1);
}

double bubble_share(const PipelineShape& shape, int64_t passes) {
  return double(shape.stages - 1) / double(shape.chunks * passes);
}

}  // namespace braid
