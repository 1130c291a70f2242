// SPDX-License-Identifier: Apache-2.0
// The [memory] table: hash memory (Engram, arXiv 2601.07372), tables of vectors that are looked up by the last few
// tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/config.h"
#include "nn/model_config.h"

namespace braid {

struct HashMemoryConfig {
  std::vector<int64_t> layers;     // counted from 0; empty: no memory
  int64_t table_size = 65536;      // rows of each head's table, at least: it gets a prime of them
  int64_t width = 256, heads = 8;  // what the tables of one order give together; heads share it
  int64_t max_order = 3;           // n-grams of 2 to max_order tokens
  int64_t kernel = 4;              // taps of the convolution
  std::string gate = "root";       // root | plain
  double learning_rate_factor = 5;
  bool compress = true;
  bool trains_model = false;

  bool enabled() const { return !layers.empty(); }
  int64_t orders() const { return max_order - 1; }
  int64_t tables() const { return orders() * heads; }  // of one layer
  int64_t row_width() const { return width / heads; }
  int64_t input_width() const { return orders() * width; }  // what a layer reads for each token
  int64_t history() const {
    return (kernel - 1) * max_order;
  }  // tokens before the present that the convolution reaches
  void describe(ConfigSection& section);
  // What cannot be: a UsageError that begins with the key.
  void check(const ModelConfig& model) const;
};

// "memory.layers.3", and what parameters of its streams begin with: "memory.layers.3.streams.0", …; the same name once
// where the residual is plain.
std::string memory_layer_name(int64_t layer);
std::vector<std::string> memory_stream_names(const ModelConfig& model, int64_t layer);

// Streams that a memory is added to.
int64_t memory_streams(const ModelConfig& model);

// Rows of all tables together; elements of the tables, and of all else.
int64_t hash_memory_rows(const HashMemoryConfig& memory);
int64_t hash_memory_table_elements(const HashMemoryConfig& memory);
int64_t hash_memory_dense_elements(const ModelConfig& model, const HashMemoryConfig& memory);

// How many rows of each table `tokens` tokens are expected to name, in the order of hash_memory_moduli, where they are drawn
// evenly from the vocabulary: others repeat more n-grams and name fewer.
std::vector<double> expected_rows(const HashMemoryConfig& memory, int64_t vocabulary, int64_t tokens);

// The primes that are the tables' sizes, [layers, orders, heads] in one row: upward from table_size, none twice.
std::vector<int64_t> hash_memory_moduli(const HashMemoryConfig& memory);

}  // namespace braid
