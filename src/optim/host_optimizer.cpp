// SPDX-License-Identifier: Apache-2.0
#include "optim/host_optimizer.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "nn/precompiled.h"

namespace braid {

namespace {

// Elements [first, first + count) of a range, whose gradient comes to `gradient`.
UpdateRange piece_of(const UpdateRange& range, int64_t first, int64_t count, const at::Tensor& gradient) {
  UpdateRange piece{range.group, range.rate, range.weights.narrow(0, first, count), gradient, {}};
  for (const ParameterPart& part : range.parts) {
    const int64_t begin = std::max(first, part.offset), end = std::min(first + count, part.offset + part.count);
    if (begin < end) piece.parts.push_back({part.parameter, part.first + begin - part.offset, end - begin, begin - first});
  }
  return piece;
}

}  // namespace

HostOptimizer::HostOptimizer(std::vector<UpdateRange> ranges, const OptimConfig& config, int64_t piece) {
  int64_t largest = 0;
  for (const UpdateRange& range : ranges) largest = std::max(largest, std::min(piece, range.weights.numel()));
  for (Room& room : rooms_) {
    if (ranges.empty()) break;
    const at::TensorOptions options = ranges.front().weights.options();
    room.memory = at::empty({largest}, options.pinned_memory(ranges.front().gradient.is_cuda()));
  }
  for (const UpdateRange& range : ranges) {
    const int64_t count = range.weights.numel();
    for (int64_t first = 0; first < count; first += piece) add(range, first, std::min(piece, count - first), config);
  }
}

void HostOptimizer::add(const UpdateRange& range, int64_t first, int64_t count, const OptimConfig& config) {
  const at::Tensor here = room_of(pieces_.size()).memory.narrow(0, 0, count);
  std::vector<UpdateRange> piece{piece_of(range, first, count, here)};
  pieces_.push_back({range.gradient.narrow(0, first, count), here, make_optimizer(std::move(piece), config)});
}

void HostOptimizer::fetch(size_t piece) {
  const at::Tensor& gradient = pieces_[piece].gradient;
  pieces_[piece].here.copy_(gradient, true);
  if (gradient.is_cpu()) return;
  std::optional<c10::Event>& arrived = room_of(piece).arrived;
  if (!arrived) arrived.emplace(gradient.device().type());
  arrived->record(c10::impl::VirtualGuardImpl(gradient.device().type()).getStream(gradient.device()));
}

void HostOptimizer::await(size_t piece) {
  if (room_of(piece).arrived) room_of(piece).arrived->synchronize();
}

void HostOptimizer::step(double learning_rate, double divisor) {
  const at::NoGradGuard no_gradient;
  if (!pieces_.empty()) fetch(0);
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if (i + 1 < pieces_.size()) fetch(i + 1);
    await(i);
    pieces_[i].optimizer->step(learning_rate, divisor);
  }
}

std::vector<OptimizerTensor> HostOptimizer::state() const {
  std::vector<OptimizerTensor> all;
  for (const Piece& piece : pieces_) {
    for (OptimizerTensor& tensor : piece.optimizer->state()) all.push_back(std::move(tensor));
  }
  return all;
}

void HostOptimizer::resume_at(int64_t steps) {
  for (Piece& piece : pieces_) piece.optimizer->resume_at(steps);
}

}  // namespace braid
