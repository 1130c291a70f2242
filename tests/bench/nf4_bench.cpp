// SPDX-License-Identifier: Apache-2.0
// Times NF4 on this machine's CPUs for launch/bench nf4: nf4_bench ROWS COLUMNS SECONDS TOKENS… One JSON object: seconds of
// quantising, dequantising and products in bfloat16, each the median of the calls of SECONDS, and the highest rate of plain
// reads. Products go round copies of the matrix that are together larger than the caches, as a model's layers are.
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "nn/precompiled.h"
#include "nn/quantised_weight.h"

namespace braid {
namespace {

constexpr int64_t beyond_caches = 256 << 20;  // bytes

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

// The most bytes a second that all threads read together, in calls as short as a product, of memory that no cache holds.
double read_rate(double seconds) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  const std::vector<Line> memory(2 * beyond_caches / sizeof(Line));
  const int64_t lines = (8 << 20) / int64_t(sizeof(Line)), part = 4096;
  size_t from = 0;
  const double fastest = sorted_seconds(seconds, [&] {
    std::atomic<uint64_t> seen = 0;
    const Line* const here = memory.data() + from;
    from = (from + size_t(lines)) % memory.size();
    at::parallel_for(0, lines / 4, part, [&](int64_t begin, int64_t end) {
      Line a = {}, b = {}, c = {}, d = {};
      for (int64_t i = 4 * begin; i < 4 * end; i += 4) {
        a += here[i];
        b += here[i + 1];
        c += here[i + 2];
        d += here[i + 3];
      }
      a += b + c + d;
      seen += a[0];
    });
    if (seen != 0) throw Error("zeros were read as something else");
  })[0];
  return double(lines * int64_t(sizeof(Line))) / fastest;
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
