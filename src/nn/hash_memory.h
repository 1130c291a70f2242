// SPDX-License-Identifier: Apache-2.0
// Hash memory (Engram, arXiv 2601.07372, section 2) put on a model from outside. Before the attention of each chosen
// layer
//   H <- H + Y,  Y = SiLU(conv(RMSNorm(u))) + u,  u = gate V,  K = W_K e,  V = W_V e
//   gate = sigmoid(sgn(s) sqrt |s|),  s = <RMSNorm(H), RMSNorm(K)> / sqrt(D)        (gate = "plain": sigmoid(s))
// where e [B, T, orders * width] are the rows that the last tokens name (nn/ngram_hash.h), of one table for all layers.
// Where the residual keeps streams, H is each of them: the rows and V are the same for all, and a stream has a W_K,
// norms and a convolution of its own (section 2.4).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "nn/block_input.h"
#include "nn/linear.h"
#include "nn/ngram_hash.h"
#include "nn/norm.h"
#include "nn/row_past.h"
#include "nn/row_store.h"
#include "nn/transformer.h"

namespace braid {

class HashMemory final : public BlockInput {
 public:
  // `rows` of the table are in this process. W_V and the convolution begin at zero: the model computes what it did. The
  // table begins normal (0, 0.02), W_K uniform in +-1/sqrt(in), both by (seed, name, element). It is on from here.
  HashMemory(Transformer& model, const HashMemoryConfig& config, NgramHash hash, uint64_t seed, RowRange rows);
  HashMemory(Transformer& model, const HashMemoryConfig& config, NgramHash hash, uint64_t seed);  // all rows
  ~HashMemory() override;
  HashMemory(const HashMemory&) = delete;
  HashMemory& operator=(const HashMemory&) = delete;

  // What every process holds alike: "memory.layers.3.value.weight", "….key.weight", "….query_norm.weight", …; of a
  // stream "memory.layers.3.streams.1.key.weight", …
  ParameterSet& parameters() { return parameters_; }
  // "memory.table" [rows, width / heads], of which this process has some rows; a set of its own, because it is neither
  // reduced nor updated like the others.
  ParameterSet& table() { return table_; }
  Parameter& rows() { return table_.all().front(); }
  const NgramHash& hash() const { return hash_; }
  const HashMemoryConfig& config() const { return config_; }

  // Where rows come from, where not all are here.
  void use_store(std::unique_ptr<RowStore> store) { store_ = std::move(store); }
  void set_enabled(bool enabled) { model_.add_to_blocks(enabled ? this : nullptr); }

  void fetch(const TextTokens& tokens) override;
  void return_gradients() override;
  void release() override;
  void enter(const TextTokens& tokens, BlockInputPast* past) override;
  at::Tensor addition(int64_t layer, const at::Tensor& x, BlockInputPast* past) override;

  // The same for rows of many texts: ids and reach [R, 1], x [R, 1, D] or streams [R, 1, S, D].
  void enter(const TextTokens& rows, RowPast& past);
  at::Tensor addition(int64_t layer, const at::Tensor& x, RowPast& past);
  // Convolutions of all layers and streams: the numbers that RowPast::heard is asked for are below it.
  int64_t convolutions() const { return static_cast<int64_t>(layers_.size() * layers_.front().streams.size()); }

 private:
  struct Stream {
    Linear key;
    Norm query_norm, key_norm, value_norm;
    Parameter* conv = nullptr;  // [D, kernel]
  };
  struct Layer {
    int64_t number = 0;
    Linear value;
    std::vector<Stream> streams;  // one of a plain residual
  };
  struct Fetched {
    at::Tensor numbers;  // [n] rising
    at::Tensor rows;     // [n, width / heads], a leaf that gathers their gradients
  };

  // What convolution `number` hears [B, T, D] behind what it heard before, as many as it looks back on.
  using Hearing = std::function<at::Tensor(int64_t number, const at::Tensor& heard)>;

  void make_layer(int64_t number);
  void make_norms(Stream& stream, const std::string& name);
  void fill_first_values(uint64_t seed);
  Fetched fetched_rows(const at::Tensor& named);
  void read_table(const at::Tensor& canonical, const at::Tensor& reach);
  at::Tensor gate(const at::Tensor& x, const Stream& stream, const at::Tensor& e) const;
  at::Tensor added_by(int64_t layer, const at::Tensor& x, const Hearing& hear) const;

  Transformer& model_;
  HashMemoryConfig config_;
  NgramHash hash_;
  ParameterSet parameters_, table_;
  std::vector<Layer> layers_;
  std::unique_ptr<RowStore> store_;
  Fetched fetched_;
  std::vector<at::Tensor> inputs_;  // e of each layer, of the forward pass under way
  at::Tensor reach_;
};

}  // namespace braid
