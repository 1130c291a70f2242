// SPDX-License-Identifier: Apache-2.0
// Loads a Hugging Face model folder and writes what Braid computes with it to a safetensors file: `logits` [B, T, V],
// `frequencies` [d / 2], and of the last position `cosine` and `sine` [d].
//   hf_probe --model DIR --out FILE --ids 1,2,3 [--ids 4,5,6] [--quantise single|double]
#include <iostream>
#include <sstream>

#include "base/error.h"
#include "cli/options.h"
#include "models/hf_config.h"
#include "models/hf_model.h"
#include "nn/precompiled.h"
#include "tensor_file.h"

namespace braid {
namespace {

at::Tensor parse_ids(const std::vector<std::string>& texts) {
  std::vector<at::Tensor> rows;
  for (const std::string& text : texts) {
    std::vector<int64_t> ids;
    std::stringstream in(text);
    for (std::string id; std::getline(in, id, ',');) ids.push_back(std::stoll(id));
    rows.push_back(at::tensor(at::ArrayRef<int64_t>(ids), at::kLong));
  }
  return at::stack(rows);
}

void probe(const cxxopts::ParseResult& parsed) {
  const at::NoGradGuard no_gradient;
  const std::string folder = parsed["model"].as<std::string>();
  HfConfig config = read_hf_config(folder);
  if (parsed.count("quantise")) config.model.quantise = "nf4";
  if (parsed.count("quantise")) config.model.double_quantise = parsed["quantise"].as<std::string>() == "double";
  Transformer model(config.model, Precision::fp32, at::kCPU, Weights::frozen);
  load_hf_model(HfFiles(folder), model);
  const at::Tensor ids = parse_ids(parsed["ids"].as<std::vector<std::string>>());
  const RotaryTable last = rotary_table(at::tensor({config.model.context - 1}, at::kLong), config.model, at::kFloat);
  test::write_tensors(parsed["out"].as<std::string>(), {{"logits", model.logits(ids)},
                                          {"frequencies", rotary_frequencies(config.model, at::TensorOptions())},
                                          {"cosine", last.cosine.flatten()},
                                          {"sine", last.sine.flatten()}});
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  cxxopts::Options options("hf_probe");
  options.add_options()("model", "", cxxopts::value<std::string>())("out", "", cxxopts::value<std::string>())(
      "quantise", "", cxxopts::value<std::string>())(
      "ids", "", cxxopts::value<std::vector<std::string>>());
  try {
    braid::probe(options.parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "hf_probe: " << error.what() << "\n";
    return 1;
  }
}
