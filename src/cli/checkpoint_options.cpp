// SPDX-License-Identifier: Apache-2.0
#include "cli/checkpoint_options.h"

#include "base/error.h"

namespace braid {

void add_checkpoint_options(cxxopts::Options& options) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options()("action", "inspect, verify, diff, export or import", text()->default_value(""))(
      "paths", "checkpoints or runs; import: a safetensors file", cxxopts::value<std::vector<std::string>>())(
      "step", "the run's checkpoint of so many updates, not the newest", cxxopts::value<int64_t>(), "N")(
      "best", "the run's checkpoint with the lowest held-out loss (checkpoint.keep_best)")(
      "json", "inspect: as an object instead of tables")(
      "tensors", "inspect, diff: only tensors of such names; diff then compares nothing else", text(), "PATTERN")(
      "out", "export: file, replaced if it is there; import: folder of the new checkpoint", text(), "PATH")(
      "prefix", "export: take tensors that begin so, without it; import: put before names (default: model/)", text(),
      "TEXT")("all", "export: every tensor, under its whole name")(
      "hf", "export: folder of a Hugging Face model to write; import: one to read", text(), "DIR")(
      "merge", "export --hf of a run with [lora]: the base model with the adapters merged")(
      "peft", "export: folder of the adapters of a run with [lora], as peft loads it", text(), "DIR")(
      "memory", "export: folder of the hash memory of a run with [memory]", text(), "DIR")(
      "shard-size", "export --hf: start another file of weights before one exceeds this (default: 5GB)", text(),
      "SIZE")(
      "nf4",
      "export --hf: projections in NF4, as bitsandbytes has them; double: their absmax in 8 bits, or single: not",
      text()->implicit_value("double"),
      "FORM")("dtype", "export: bf16 or fp32; floats are rounded to nearest even (default: as they are stored)", text(),
              "TYPE")("h,help", "this text");
  options.parse_positional({"action", "paths"});
  options.positional_help("ACTION PATH...");
}

CheckpointRequest read_checkpoint_request(const cxxopts::ParseResult& parsed) {
  CheckpointRequest request;
  if (parsed.count("paths")) request.paths = parsed["paths"].as<std::vector<std::string>>();
  if (parsed.count("step")) request.choice.step = parsed["step"].as<int64_t>();
  request.choice.best = parsed.count("best") > 0;
  request.merge = parsed.count("merge") > 0;
  const auto text = [&](const char* option, std::string& value) {
    if (parsed.count(option)) value = parsed[option].as<std::string>();
  };
  text("tensors", request.tensors);
  text("out", request.out);
  text("prefix", request.prefix);
  text("dtype", request.dtype);
  text("hf", request.hf);
  text("peft", request.peft);
  text("memory", request.memory);
  text("shard-size", request.shard_size);
  text("nf4", request.nf4);
  request.json = parsed.count("json") > 0;
  request.all = parsed.count("all") > 0;
  return request;
}

void check_checkpoint_request(const cxxopts::ParseResult& parsed, const CheckpointRequest& request) {
  if (parsed.count("step") && parsed.count("best")) throw UsageError("--step and --best: expected one of both");
  if (request.merge && request.hf.empty()) throw UsageError("--merge goes with --hf DIR");
  if (parsed.count("hf") && (parsed.count("all") || parsed.count("prefix"))) {
    throw UsageError("--hf takes the whole model; it has no --all and no --prefix");
  }
  if (parsed.count("peft") && (parsed.count("all") || parsed.count("prefix") || parsed.count("dtype"))) {
    throw UsageError("--peft writes adapters in float32; it has no --all, no --prefix and no --dtype");
  }
  if (parsed.count("all") && parsed.count("prefix")) throw UsageError("--all takes every tensor; it has no --prefix");
  if (!request.dtype.empty() && request.dtype != "bf16" && request.dtype != "fp32") {
    throw UsageError(str("--dtype ", request.dtype, ": expected bf16 or fp32"));
  }
  if (!request.nf4.empty() && request.nf4 != "double" && request.nf4 != "single") {
    throw UsageError(str("--nf4=", request.nf4, ": expected double or single"));
  }
}

}  // namespace braid
