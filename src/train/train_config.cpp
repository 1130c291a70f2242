// SPDX-License-Identifier: Apache-2.0
#include "train/train_config.h"

namespace braid {

Recompute TrainConfig::recomputed() const {
  if (!recompute) return Recompute::none;
  return recompute_part == "attention" ? Recompute::attention : Recompute::blocks;
}

void TrainConfig::describe(ConfigSection& s) {
  s.value("steps", steps, "how many times the weights are updated [steps]", 1);
  s.value("epochs", epochs,
          "passes over data that ends (examples, or shards that are there): train.steps becomes so many times the batches "
          "of one pass; 0: train.steps counts [epochs]", 0, 1000000);
  s.value("batch", batch, "samples of one step, over all ranks; at least one for each [samples]", 1);
  s.value("micro_batch", micro_batch,
          "samples of one forward pass on a rank, which bounds its memory; 0: the rank's whole share [samples]", 0);
  s.value("seed", seed, "first number of the random streams of weights, order of samples and generated tasks", 0);
  s.choice("precision", precision, {"fp32", "bf16"},
           "numbers of activations and matrix products; bf16 keeps fp32 master weights, gradients, norm statistics, "
           "softmax and loss");
  s.value("recompute", recompute,
          "whether a block's activations are computed again in backward instead of kept: less memory for about a third "
          "more time, the same numbers");
  s.choice("recompute_part", recompute_part, {"block", "attention"},
           "what train.recompute computes again: all of a block, or its attention with the norm before it, for less memory saved "
           "and about a tenth more time; of gist tokens always the block");
  s.value("stream_interval", stream_interval,
          "hc and mhc in the paper's form keep their streams for backward at every so manieth sublayer and compute the others "
          "again from what sublayers gave: much less memory for little time, the same numbers; 0: the interval of least memory, "
          "about sqrt(S L / (S + 2)) of L sublayers; 1 keeps all [sublayers]", 0);
  s.choice("stream_precision", stream_precision, {"fp32", "bf16"},
           "how hc and mhc in the paper's form store their streams with train.precision = \"bf16\": bf16, as mHC's paper has them, "
           "for half of what they read and write; coefficients, sums and the plain residual stay in fp32");
  s.value("deterministic", deterministic,
          "only algorithms that give the same bits from run to run: fixed choices in cuBLAS, cuDNN and NCCL; some are "
          "slower, and an operation that has none fails");
  s.value("log_every", log_every,
          "steps between printed lines where the output is no terminal; run.h5 has every step [steps]", 1);
  s.value("layer_metrics_every", layer_metrics_every,
          "steps between rows of /layers in run.h5, which look at the residual stream behind each sublayer; 0: none "
          "[steps]",
          0);
  s.value("eval_every", eval_every, "steps between evaluations on held-out samples; 0: never [steps]", 0);
  s.value("eval_samples", eval_samples, "held-out samples of one evaluation, over all ranks [samples]", 1);
  s.value("patience", patience,
          "the run is done when the held-out loss has not fallen below its lowest for so many evaluations; 0: it goes on "
          "to the last step [evaluations]", 0);
  s.choice("nonfinite", nonfinite, {"skip", "apply", "stop", "rewind"},
           "what to do with a step whose loss or gradient is not finite: skip its update; apply it all the same, as "
           "softwarewrighter/mHC-poc does; stop the run; or rewind to the last checkpoint and leave the batch out");
  s.value("nonfinite_limit", nonfinite_limit,
          "with nonfinite = skip: so many bad steps in a row end the run as diverged [steps]", 1);
  s.choice("outlier", outlier, {"off", "skip", "stop", "rewind"},
           "what to do with a step whose loss or gradient norm is unusually high: nothing, or as with nonfinite");
  s.value("outlier_zscore", outlier_zscore,
          "unusually high: more standard deviations than this above the mean of the last accepted steps [1]", 0.0);
  s.value("outlier_window", outlier_window, "how many accepted steps that mean is taken over [steps]", 2, 100000);
  s.value("rewind_limit", rewind_limit, "a run that would rewind more often than this stops instead [rewinds]", 1);
}

}  // namespace braid
