// SPDX-License-Identifier: Apache-2.0
// Times NF4 on this machine's CPUs for launch/bench nf4: nf4_bench ROWS COLUMNS SECONDS TOKENS… One JSON object: seconds of
// quantising, dequantising and products in bfloat16, each the median of the calls of SECONDS, and the rate at which plain
// reads go. Products go round copies of the matrix that are together larger than the caches, as a model's layers are.
#include <omp.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "nn/precompiled.h"
#include "nn/quantised_weight.h"

namespace braid {
namespace {

constexpr int64_t beyond_caches = 256 << 20;  // bytes

template <class Call>
double median_seconds(double seconds, const Call& call) {
  call();
  std::vector<double> each;
  for (const Stopwatch whole; whole.seconds() < seconds || each.size() < 3;) {
    const Stopwatch one;
    call();
    each.push_back(one.seconds());
  }
  std::nth_element(each.begin(), each.begin() + each.size() / 2, each.end());
  return each[each.size() / 2];
}

// Bytes a second that all threads read together, of memory that no cache holds.
double read_rate(double seconds) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  const std::vector<Line> memory(2 * beyond_caches / sizeof(Line));
  const int64_t lines = int64_t(memory.size()), part = 4096;
  const double each = median_seconds(seconds, [&] {
    uint64_t seen = 0;
#pragma omp parallel for schedule(static) reduction(+ : seen)
    for (int64_t first = 0; first < lines; first += part) {
      Line a = {}, b = {}, c = {}, d = {};
      for (int64_t i = first; i < first + part; i += 4) {
        a += memory[i];
        b += memory[i + 1];
        c += memory[i + 2];
        d += memory[i + 3];
      }
      a += b + c + d;
      seen += a[0];
    }
    if (seen != 0) std::cerr << seen;
  });
  return double(memory.size() * sizeof(Line)) / each;
}

Nf4Tensor copy_of(const Nf4Tensor& t) {
  const auto clone = [](const at::Tensor& x) { return x.defined() ? x.clone() : x; };
  return {t.rows, t.columns, clone(t.packed), clone(t.absmax), clone(t.codes), clone(t.map), t.offset};
}

nlohmann::ordered_json times(const Nf4Tensor& tensor, const std::vector<int64_t>& tokens, double seconds) {
  std::vector<Nf4Weight> weights;
  for (int64_t bytes = 0; bytes < beyond_caches; bytes += tensor.bytes()) {
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

void run(int64_t rows, int64_t columns, double seconds, const std::vector<int64_t>& tokens) {
  const at::NoGradGuard no_gradient;
  const at::Tensor dense = at::randn({rows, columns}), half = dense.to(at::kBFloat16);
  nlohmann::ordered_json result;
  result["quantise float32"] = median_seconds(seconds, [&] { quantise_nf4(dense, false); });
  result["quantise bfloat16"] = median_seconds(seconds, [&] { quantise_nf4(half, false); });
  result["quantise nested"] = median_seconds(seconds, [&] { quantise_nf4(half, true); });
  result["single"] = times(quantise_nf4(half, false), tokens, seconds);
  result["nested"] = times(quantise_nf4(half, true), tokens, seconds);
  result["read_bytes_per_second"] = read_rate(seconds);
  std::cout << result.dump() << std::endl;
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  std::vector<int64_t> tokens;
  for (int i = 4; i < argc; ++i) tokens.push_back(std::stoll(argv[i]));
  if (argc < 4) return 2;
  braid::run(std::stoll(argv[1]), std::stoll(argv[2]), std::stod(argv[3]), tokens);
}
