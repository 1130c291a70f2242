// SPDX-License-Identifier: Apache-2.0
#include "nn/hash_memory_config.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace braid {

namespace {

bool is_prime(int64_t number) {
  if (number < 4) return number > 1;
  if (number % 2 == 0) return false;
  for (int64_t divisor = 3; divisor <= number / divisor; divisor += 2) {
    if (number % divisor == 0) return false;
  }
  return true;
}

}  // namespace

void HashMemoryConfig::describe(ConfigSection& s) {
  s.value("layers", layers, "layers that read a memory before their attention, counted from 0; empty: none [layers]");
  s.value("table_size", table_size, "least number of rows of each head's table; it gets a prime of them [rows]", 2,
          int64_t{1} << 40);
  s.value("width", width, "numbers that the tables of one order give together, shared by the heads [1]", 1, 1 << 20);
  s.value("heads", heads, "tables of each order, each with a hash of its own [1]", 1, 1024);
  s.value("max_order", max_order, "tables are looked up by the last 2, 3, … max_order tokens [tokens]", 2, 16);
  s.value("kernel", kernel, "taps of the causal convolution, max_order tokens apart [1]", 1, 64);
  s.choice("gate", gate, {"root", "plain"}, "sigmoid of the signed root of the score, or of the score itself");
  s.value("learning_rate_factor", learning_rate_factor,
          "learning rate of the tables as a multiple of optim.learning_rate; they have AdamW in 32 bits and no weight "
          "decay [1]",
          0.0);
  s.value("compress", compress, "tokens that differ by case, accents or white space alone are one; needs a tokenizer");
  s.value("trains_model", trains_model, "train the model's own weights too, not the memory alone");
}

void HashMemoryConfig::check(const ModelConfig& model) const {
  if (!enabled()) return;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i] < 0 || layers[i] >= model.layers) {
      throw UsageError(str("memory.layers: expected 0 to ", model.layers - 1, ", found ", layers[i]));
    }
    if (i > 0 && layers[i] <= layers[i - 1]) throw UsageError("memory.layers: expected rising numbers");
  }
  if (width % heads != 0)
    throw UsageError(str("memory.heads: expected a divisor of memory.width = ", width, ", found ", heads));
}

int64_t memory_streams(const ModelConfig& model) { return model.has_streams() ? model.streams : 1; }

std::string memory_layer_name(int64_t layer) { return str("memory.layers.", layer); }

std::vector<std::string> memory_stream_names(const ModelConfig& model, int64_t layer) {
  if (!model.has_streams()) return {memory_layer_name(layer)};
  std::vector<std::string> names;
  for (int64_t s = 0; s < model.streams; ++s) names.push_back(str(memory_layer_name(layer), ".streams.", s));
  return names;
}

std::vector<int64_t> hash_memory_moduli(const HashMemoryConfig& memory) {
  std::vector<int64_t> primes;
  const auto count = memory.layers.size() * static_cast<size_t>(memory.tables());
  for (int64_t number = memory.table_size; primes.size() < count; ++number) {
    if (is_prime(number)) primes.push_back(number);
  }
  return primes;
}

int64_t hash_memory_rows(const HashMemoryConfig& memory) {
  const std::vector<int64_t> moduli = hash_memory_moduli(memory);
  return std::accumulate(moduli.begin(), moduli.end(), int64_t{0});
}

namespace {

// Distinct ones of so many draws from `of` equal ones.
double expected_distinct(double draws, double of) { return -of * std::expm1(draws * std::log1p(-1 / of)); }

}  // namespace

std::vector<double> expected_rows(const HashMemoryConfig& memory, int64_t vocabulary, int64_t tokens) {
  std::vector<double> rows;
  for (const int64_t modulus : hash_memory_moduli(memory)) {
    const auto order = int64_t(rows.size()) / memory.heads % memory.orders() + 2;
    const double ngrams = expected_distinct(double(tokens), std::pow(double(vocabulary), double(order)));
    rows.push_back(expected_distinct(ngrams, double(modulus)));
  }
  return rows;
}

int64_t hash_memory_table_elements(const HashMemoryConfig& memory) {
  return hash_memory_rows(memory) * memory.row_width();
}

int64_t hash_memory_dense_elements(const ModelConfig& model, const HashMemoryConfig& memory) {
  const int64_t norms = 3, stream = memory.input_width() + norms + memory.kernel;
  const int64_t layer = memory.input_width() + memory_streams(model) * stream;
  return int64_t(memory.layers.size()) * model.width * layer;
}

}  // namespace braid
