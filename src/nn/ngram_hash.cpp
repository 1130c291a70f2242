// SPDX-License-Identifier: Apache-2.0
#include "nn/ngram_hash.h"

#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr int64_t largest = std::numeric_limits<int64_t>::max();

// Odd and below largest / ids: times an id, it stays within int64.
int64_t multiplier(const RandomStream& stream, uint64_t index, int64_t ids) {
  const uint64_t half = std::max<uint64_t>(static_cast<uint64_t>(largest / ids) / 2, 1);
  const uint64_t drawn = uint64_t{stream.bits(2 * index)} << 32 | stream.bits(2 * index + 1);
  return static_cast<int64_t>(drawn % half * 2 + 1);
}

at::Tensor to_tensor(const std::vector<int64_t>& values, const at::Device& device) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong).to(device);
}

}  // namespace

CanonicalTokens distinct_tokens(int64_t vocabulary) {
  CanonicalTokens tokens{std::vector<int64_t>(static_cast<size_t>(vocabulary)), vocabulary, vocabulary};
  std::iota(tokens.ids.begin(), tokens.ids.end(), int64_t{0});
  return tokens;
}

NgramHash::NgramHash(const HashMemoryConfig& config, const CanonicalTokens& tokens, uint64_t seed,
                     const at::Device& device)
    : canonical_(to_tensor(tokens.ids, device)), pad_(tokens.pad) {
  std::vector<int64_t> drawn;
  for (const int64_t layer : config.layers) {
    const RandomStream stream(seed + 10007 * static_cast<uint64_t>(layer), RandomPurpose::initialise,
                              "memory.multipliers");
    for (int64_t j = 0; j < config.max_order; ++j)
      drawn.push_back(multiplier(stream, static_cast<uint64_t>(j), tokens.count + 1));
  }
  const auto layers = static_cast<int64_t>(config.layers.size());
  multipliers_ = to_tensor(drawn, device).view({layers, config.max_order});
  moduli_ = to_tensor(hash_memory_moduli(config), device).view({layers, config.tables()});
  place_tables();
}

NgramHash::NgramHash(const CanonicalTokens& tokens, const at::Tensor& multipliers, const at::Tensor& moduli)
    : canonical_(to_tensor(tokens.ids, multipliers.device())),
      multipliers_(multipliers),
      moduli_(moduli),
      pad_(tokens.pad) {
  const int64_t most = multipliers.max().item<int64_t>(), least = multipliers.min().item<int64_t>();
  if (least < 1 || most > largest / (tokens.count + 1))
    throw UsageError("a multiplier is no positive number that an id can be multiplied by");
  if (moduli.min().item<int64_t>() < 1) throw UsageError("a table has no rows");
  place_tables();
}

// One table after the other.
void NgramHash::place_tables() {
  const at::Tensor ends = moduli_.flatten().cumsum(0);
  offsets_ = (ends - moduli_.flatten()).view_as(moduli_);
  table_rows_ = ends[-1].item<int64_t>();
}

at::Tensor NgramHash::canonical(const at::Tensor& ids) const {
  return canonical_.index_select(0, ids.reshape(-1)).view_as(ids);
}

// Whole tensors of int64 in PyTorch's own kernels, the same on CPUs and GPUs: a few integer operations a row, beside
// the thousands of multiplications that each row then goes into.
at::Tensor NgramHash::rows(const at::Tensor& canonical, const at::Tensor& reach) const {
  const int64_t tokens = reach.size(1), past = canonical.size(1) - tokens;
  const int64_t orders = multipliers_.size(1) - 1, heads = moduli_.size(1) / orders;
  const auto product = [&](int64_t back) {  // [layers, B, T]
    const int64_t missing = std::max<int64_t>(back - past, 0);
    const int64_t first = std::max<int64_t>(past - back, 0), end = std::max<int64_t>(canonical.size(1) - back, first);
    const at::Tensor known = canonical.slice(1, first, end);
    const at::Tensor earlier = at::constant_pad_nd(known, {missing, 0}, pad_).narrow(1, 0, tokens);
    const at::Tensor within = at::where(reach >= back, earlier, at::scalar_tensor(pad_, earlier.options()));
    return within.unsqueeze(0) * multipliers_.select(1, back).view({-1, 1, 1});
  };
  std::vector<at::Tensor> all;
  at::Tensor mixed = product(0);
  for (int64_t order = 0; order < orders; ++order) {
    mixed = mixed.bitwise_xor(product(order + 1));
    const auto of_order = [&](const at::Tensor& each) {
      return each.narrow(1, order * heads, heads).view({-1, 1, 1, heads});
    };
    all.push_back(mixed.unsqueeze(-1).remainder(of_order(moduli_)) + of_order(offsets_));
  }
  return at::cat(all, -1);
}

}  // namespace braid
