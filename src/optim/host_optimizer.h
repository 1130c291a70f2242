// SPDX-License-Identifier: Apache-2.0
// An optimiser whose weights and state lie in host memory, while gradients are computed on a GPU (Ren et al., ZeRO-Offload,
// arXiv 2101.06840, section 4): gradients come piece by piece, the next one while the host's processors update with this one,
// so that there is never more than two pieces of them there.
#pragma once

#include <c10/core/Event.h>

#include <array>
#include <optional>

#include "optim/optimizer.h"

namespace braid {

class HostOptimizer final : public Optimizer {
 public:
  static constexpr int64_t usual_piece = 1 << 22;  // elements, a multiple of ParameterSet::alignment

  // Weights on CPUs, gradients on any device.
  HostOptimizer(std::vector<UpdateRange> ranges, const OptimConfig& config, int64_t piece = usual_piece);

  void step(double learning_rate, double divisor = 1.0) override;
  std::vector<OptimizerTensor> state() const override;  // that of the optimiser which `config` names
  void resume_at(int64_t steps) override;

 private:
  // Elements that are updated together.
  struct Piece {
    at::Tensor gradient, here;  // where it was computed, and the room for it
    std::unique_ptr<Optimizer> optimizer;
  };
  struct Room {
    at::Tensor memory;  // pinned
    std::optional<c10::Event> arrived;
  };
  void add(const UpdateRange& range, int64_t first, int64_t count, const OptimConfig& config);
  Room& room_of(size_t piece) { return rooms_[piece % rooms_.size()]; }
  void fetch(size_t piece);
  void await(size_t piece);

  std::array<Room, 2> rooms_;  // pieces take turns
  std::vector<Piece> pieces_;
};

}  // namespace braid
