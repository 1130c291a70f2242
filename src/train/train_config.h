// SPDX-License-Identifier: Apache-2.0
// The [train] table.
#pragma once

#include <cstdint>
#include <string>

#include "base/config.h"
#include "nn/parameter.h"
#include "nn/recompute.h"

namespace braid {

struct TrainConfig {
  int64_t steps = 100;
  int64_t epochs = 0;        // above 0: steps follow from the data
  int64_t batch = 32;        // samples of one step, over all ranks
  int64_t micro_batch = 0;   // samples of one forward pass on one rank; 0: all of the rank's share
  int64_t seed = 0;
  std::string precision = "fp32";  // fp32 | bf16
  bool recompute = false;      // nn/recompute.h
  std::string recompute_part = "block";  // block | attention
  int64_t stream_interval = 1;  // ResidualConnection::keep_streams_every
  std::string stream_precision = "fp32";  // fp32 | bf16: ResidualConnection::store_streams_as_bf16
  bool deterministic = false;  // determinism.h
  int64_t log_every = 10;
  int64_t layer_metrics_every = 20;
  int64_t eval_every = 0, eval_samples = 256;
  int64_t patience = 0;  // evaluations without a lower held-out loss after which the run ends; 0: never
  // apply: update all the same (what softwarewrighter/mHC-poc does); skip: leave the weights as they are; stop; rewind.
  std::string nonfinite = "skip";
  int64_t nonfinite_limit = 20;  // skip only: so many bad steps in a row end the run as diverged
  std::string outlier = "off";   // off | skip | stop | rewind
  double outlier_zscore = 6.0;
  int64_t outlier_window = 128;
  int64_t rewind_limit = 3;

  bool rewinds() const { return nonfinite == "rewind" || outlier == "rewind"; }
  // Of a rank's `share` of the batch, what passes through the model together.
  int64_t samples_at_once(int64_t share) const { return micro_batch > 0 && micro_batch < share ? micro_batch : share; }
  Recompute recomputed() const;
  bool has_narrow_streams() const { return precision == "bf16" && stream_precision == "bf16"; }
  Precision numeric() const { return precision == "bf16" ? Precision::bf16 : Precision::fp32; }
  void describe(ConfigSection& section);
};

}  // namespace braid
