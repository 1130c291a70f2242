// SPDX-License-Identifier: Apache-2.0
// The HDF5 mirror of a file of needle samples: its tokens, for programs that read arrays. Datasets, N samples:
//   /tokens uint32, /offsets int64 [N + 1]                     contexts, one after the other
//   /question_tokens, /question_offsets, /answer_tokens, /answer_offsets   likewise; answers joined by ", "
//   /needle_tok_start, /needle_tok_end int64, /depth float64   a row for each needle
//   /needle_offsets int64 [N + 1]                              which of these rows are a sample's
// Root attributes: format "braid-needles", format_version, generator_version, seed, split, language, task, tokenizer,
// vocabulary, templates (id), wordings (needles and questions, a line each), distractor_rate.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/needle_sample.h"

namespace braid {

inline constexpr int64_t needle_mirror_version = 1;

class NeedleMirror {
 public:
  void add(const NeedleSample& sample, const std::vector<TokenId>& context, const NeedleTokens& tokens);

  // A file that is there as a whole or as it was before. Error.
  void write(const std::string& path, const NeedleTexts& texts) const;
  // Error, naming the dataset, unless the file holds these samples. UsageError when it is no mirror.
  void compare(const std::string& path) const;

 private:
  struct Ragged {
    std::vector<uint32_t> tokens;
    std::vector<int64_t> offsets = {0};
    void append(const std::vector<TokenId>& ids);
  };
  struct Column {  // a dataset and what it should hold
    const char* name;
    const void* data;
    int64_t count;
    bool is_tokens, is_real;
  };
  std::vector<Column> columns() const;
  void write_new(const std::string& fresh, const NeedleTexts& texts) const;

  Ragged contexts_, questions_, answers_;
  std::vector<int64_t> needle_offsets_ = {0}, starts_, ends_;
  std::vector<double> depths_;
  NeedleSample first_;  // whose split, task, seed … are those of all
  int64_t vocabulary_ = 0;
};

std::string answer_text(const NeedleSample& sample);  // answers joined by ", "

// The samples of such a file as far as its arrays tell: texts as they decode, each needle's value the answer in its
// statement, else the first word of capitals and digits there. UsageError "FILE: …": no mirror, a newer one, of another
// tokenizer than `tokens`, or with offsets that do not fit.
std::vector<NeedleSample> read_needle_mirror(const std::string& path, const NeedleTokens& tokens);

}  // namespace braid
