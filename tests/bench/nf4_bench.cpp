// SPDX-License-Identifier: Apache-2.0
// Times NF4 on this machine's CPUs for launch/bench nf4: nf4_bench ROWS COLUMNS SECONDS ROUND TOKENS… One JSON object:
// seconds of quantising, dequantising and products in bfloat16, each the median of the calls of SECONDS, and the highest rate of plain
// reads. Products go round copies of the matrix of ROUND bytes together, more than caches hold, as a model's layers are.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "kernels/read_memory.h"
#include "nn/precompiled.h"
#include "nn/quantised_weight.h"

namespace braid {
namespace {

struct Measured {
  double seconds = 0;  // of calls of a kind
  int64_t round_bytes = 0;
};

// Seconds of each of the calls made in so many seconds, shortest first.
template <class Call>
std::vector<double> sorted_seconds(double seconds, const Call& call) {
  call();
  std::vector<double> each;
  for (const Stopwatch whole; whole.seconds() < seconds || each.size() < 3;) {
    const Stopwatch one;
    call();
    each.push_back(one.seconds());
  }
  std::sort(each.begin(), each.end());
  return each;
}

template <class Call>
double median_seconds(double seconds, const Call& call) {
  const std::vector<double> each = sorted_seconds(seconds, call);
  return each[each.size() / 2];
}

// The most bytes a second that all threads read together, in calls of as many bytes as a product reads, going round as much
// memory as products do.
double read_rate(const Measured& measured, int64_t call_bytes) {
  const int64_t bytes = call_bytes / 64 * 64, round = std::max<int64_t>(1, measured.round_bytes / bytes);
  const at::Tensor memory = at::ones({round, bytes / 8}, at::kLong);
  int64_t next = 0;
  const double fastest = sorted_seconds(std::max(measured.seconds, 0.1), [&] {
    const int64_t* here = memory.const_data_ptr<int64_t>() + next++ % round * (bytes / 8);
    if (kernels::read_memory(here, bytes) != 0) throw Error("memory was read wrongly");
  })[0];
  return double(bytes) / fastest;
}

Nf4Tensor copy_of(const Nf4Tensor& t) {
  const auto clone = [](const at::Tensor& x) { return x.defined() ? x.clone() : x; };
  return {t.rows, t.columns, clone(t.packed), clone(t.absmax), clone(t.codes), clone(t.map), t.offset};
}

nlohmann::ordered_json times(const Nf4Tensor& tensor, const std::vector<int64_t>& tokens, const Measured& measured) {
  const double seconds = measured.seconds;
  std::vector<Nf4Weight> weights;
  for (int64_t bytes = 0; bytes < measured.round_bytes; bytes += tensor.bytes()) {
    weights.emplace_back(std::vector<Nf4Tensor>{copy_of(tensor)}, at::kBFloat16);
  }
  nlohmann::ordered_json result;
  result["bytes"] = tensor.bytes();
  result["dequantise"] = median_seconds(seconds, [&] { dequantise(tensor, at::kBFloat16); });
  for (const int64_t count : tokens) {
    const at::Tensor x = at::randn({count, tensor.columns}).to(at::kBFloat16);
    const at::Tensor dy = at::randn({count, tensor.rows}).to(at::kBFloat16);
    size_t next = 0;
    const std::string name = std::to_string(count);
    result["product " + name] =
        median_seconds(seconds, [&] { weights[next++ % weights.size()].product(x, at::Tensor()); });
    result["transposed " + name] =
        median_seconds(seconds, [&] { weights[next++ % weights.size()].product_transposed(dy); });
  }
  return result;
}

void run(int64_t rows, int64_t columns, const Measured& measured, const std::vector<int64_t>& tokens) {
  const at::NoGradGuard no_gradient;
  const double seconds = measured.seconds;
  const at::Tensor dense = at::randn({rows, columns}), half = dense.to(at::kBFloat16);
  nlohmann::ordered_json result;
  result["quantise float32"] = median_seconds(seconds, [&] { quantise_nf4(dense, false); });
  result["quantise bfloat16"] = median_seconds(seconds, [&] { quantise_nf4(half, false); });
  result["quantise nested"] = median_seconds(seconds, [&] { quantise_nf4(half, true); });
  const Nf4Tensor packed = quantise_nf4(half, false);
  const double before = read_rate(measured, packed.bytes());
  result["single"] = times(packed, tokens, measured);
  result["nested"] = times(quantise_nf4(half, true), tokens, measured);
  result["read_bytes_per_second"] = std::max(before, read_rate(measured, packed.bytes()));
  std::cout << result.dump() << std::endl;
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  std::vector<int64_t> tokens;
  for (int i = 5; i < argc; ++i) tokens.push_back(std::stoll(argv[i]));
  if (argc < 5) return 2;
  braid::run(std::stoll(argv[1]), std::stoll(argv[2]), {std::stod(argv[3]), std::stoll(argv[4])}, tokens);
}
