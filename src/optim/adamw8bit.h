// SPDX-License-Identifier: Apache-2.0
// AdamW with moments of 8 bits (kernels/adamw8bit.h) over flat buffers: 2.03 bytes of state a weight instead of
// 8. Parameters of fewer than 4096 elements (norms, biases, coefficients) keep 32 bits, as in bitsandbytes; frozen ones
// have no state and are left alone.
#pragma once

#include "kernels/adamw8bit.h"
#include "kernels/dynamic_map.h"
#include "optim/optimizer.h"

namespace braid {

class AdamW8bit final : public Optimizer {
 public:
  static constexpr int64_t least_elements = 4096;  // of a tensor whose moments are rounded

  // Error: parameters in double.
  AdamW8bit(std::vector<UpdateRange> ranges, const OptimConfig& config);
  AdamW8bit(ParameterSet& parameters, const OptimConfig& config) : AdamW8bit(whole_ranges(parameters), config) {}

  void step(double learning_rate, double divisor = 1.0) override;
  // exp_avg and exp_avg_sq of small tensors; of others exp_avg_codes, exp_avg_sq_codes (uint8, one for each element),
  // exp_avg_absmax and exp_avg_sq_absmax (one for each block).
  std::vector<OptimizerTensor> state() const override;
  void resume_at(int64_t steps) override { steps_ = steps; }

  // Where the codes lie.
  enum class Place { host, gpu, managed };
  Place place() const { return place_; }
  int64_t state_bytes() const;

 private:
  // Neighbours in a range that are treated alike. `own` is their first element in the state's buffers.
  struct Run {
    const UpdateRange* range = nullptr;
    int64_t first = 0, count = 0, own = 0;
    bool rounded = false;
  };
  struct Own {
    ParameterPart part;
    int64_t first = 0;  // in the state's buffers
    bool rounded = false;
  };
  // One of both moments.
  struct Moment {
    at::Tensor codes, absmax, wide;  // [rounded elements], [their blocks], [elements of small tensors]
  };

  void lay_out(const UpdateRange& range);
  Moment make_moment(const kernels::DynamicMap& map) const;  // of 0
  void update_rounded(const Run& run, double learning_rate, double divisor);
  void update_small(const Run& run, const at::Tensor& step_count, double learning_rate, double divisor);

  std::vector<UpdateRange> ranges_;
  OptimConfig config_;
  Place place_ = Place::host;
  std::vector<Run> runs_;
  std::vector<Own> owned_;
  int64_t rounded_ = 0, small_ = 0;  // elements, padded
  Moment first_, second_;
  int64_t steps_ = 0;
};

}  // namespace braid
