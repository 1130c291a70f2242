// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "data/answer_score.h"
#include "data/needle_mirror.h"
#include "store/h5.h"
#include "text/utf8.h"

namespace braid {

namespace {

std::string last_word(const std::string& text) { return text.substr(text.rfind(' ') + 1); }

void expect_mirror_of(const h5::File& file, const std::string& path, const NeedleTokens& tokens) {
  if (!h5::has_attribute(file, "format") || h5::text_attribute(file, "format") != "braid-needles")
    throw UsageError(str(path, ": is no mirror of needle samples (root attribute format is not \"braid-needles\")"));
  if (h5::int_attribute(file, "format_version") > needle_mirror_version)
    throw UsageError(str(path, ": format_version ", h5::int_attribute(file, "format_version"),
                         " is newer than this braid's ", needle_mirror_version));
  const std::string made = h5::text_attribute(file, "tokenizer");
  if (last_word(made) == last_word(tokens.name())) return;  // the path may be another one
  throw UsageError(str(path, ": its tokens are of tokenizer ", made, ", those of the model of ", tokens.name()));
}

template <class T>
std::vector<T> column(const h5::File& file, const char* name, hid_t type) {
  const h5::Dataset dataset = h5::Dataset::open(file, name);
  std::vector<T> values(static_cast<size_t>(dataset.count()));
  dataset.read(type, values.data());
  return values;
}

// Rows of different lengths.
struct Rows {
  std::vector<uint32_t> tokens;
  std::vector<int64_t> offsets;

  Rows(const h5::File& file, const std::string& path, const char* values, const char* places)
      : tokens(column<uint32_t>(file, values, H5T_NATIVE_UINT32)),
        offsets(column<int64_t>(file, places, H5T_NATIVE_INT64)) {
    const bool fit = !offsets.empty() && offsets.front() == 0 && offsets.back() == std::ssize(tokens) &&
                     std::is_sorted(offsets.begin(), offsets.end());
    if (!fit) throw UsageError(str(path, ": /", places, " does not fit /", values));
  }
  std::vector<TokenId> row(size_t i) const {
    return {tokens.begin() + offsets.at(i), tokens.begin() + offsets.at(i + 1)};
  }
};

int64_t points_in(const std::string& text) {
  int64_t points = 0;
  for (size_t at = 0; at < text.size(); ++points) at += code_point_bytes(static_cast<unsigned char>(text[at]));
  return points;
}

std::vector<std::string> split_answers(const std::string& text) {
  std::vector<std::string> answers;
  size_t from = 0;
  for (size_t comma = text.find(", "); comma != std::string::npos; from = comma + 2, comma = text.find(", ", from))
    answers.push_back(text.substr(from, comma - from));
  answers.push_back(text.substr(from));
  return answers;
}

std::string value_in(const std::string& said, const std::vector<std::string>& answers) {
  for (const std::string& word : runs_of(said)) {
    if (std::find(answers.begin(), answers.end(), word) != answers.end()) return word;
  }
  for (const std::string& word : runs_of(said)) {
    if (key_form("alnum", std::clamp<int64_t>(std::ssize(word), 2, 64)).fits(word)) return word;
  }
  return said;
}

Needle needle_of(const std::vector<TokenId>& context, int64_t first, int64_t last, const NeedleSample& sample,
                 const NeedleTokens& tokens) {
  const std::span<const TokenId> ids(context);
  const std::string before = repair_utf8(tokens.decode(ids.first(static_cast<size_t>(first))));
  const std::string said =
      repair_utf8(tokens.decode(ids.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first))));
  Needle needle;
  needle.value = value_in(said, sample.answers);
  if (sample.task == "vt") needle.key = needle.value;
  needle.char_start = points_in(before);
  needle.char_end = needle.char_start + points_in(said);
  needle.tok_start = first;
  needle.tok_end = last;
  return needle;
}

}  // namespace

std::vector<NeedleSample> read_needle_mirror(const std::string& path, const NeedleTokens& tokens) {
  const auto lock = h5::library_lock();
  const h5::File file = h5::File::open(path);
  expect_mirror_of(file, path, tokens);
  const Rows contexts(file, path, "tokens", "offsets"), questions(file, path, "question_tokens", "question_offsets"),
      answers(file, path, "answer_tokens", "answer_offsets");
  const auto owners = column<int64_t>(file, "needle_offsets", H5T_NATIVE_INT64),
             starts = column<int64_t>(file, "needle_tok_start", H5T_NATIVE_INT64),
             ends = column<int64_t>(file, "needle_tok_end", H5T_NATIVE_INT64);
  const auto depths = column<double>(file, "depth", H5T_NATIVE_DOUBLE);
  const size_t count = contexts.offsets.size() - 1;
  if (questions.offsets.size() != count + 1 || answers.offsets.size() != count + 1 || owners.size() != count + 1 ||
      owners.back() != std::ssize(starts) || ends.size() != starts.size() || depths.size() != starts.size())
    throw UsageError(str(path, ": its datasets are not of the same samples"));
  std::vector<NeedleSample> samples(count);
  for (size_t i = 0; i < count; ++i) {
    NeedleSample& sample = samples[i];
    const std::vector<TokenId> context = contexts.row(i);
    sample.id = str(i);
    sample.split = h5::text_attribute(file, "split");
    sample.language = h5::text_attribute(file, "language");
    sample.task = h5::text_attribute(file, "task");
    sample.tokenizer = tokens.name();
    sample.context = repair_utf8(tokens.decode(context));
    sample.context_tokens = std::ssize(context);
    sample.question = repair_utf8(tokens.decode(questions.row(i)));
    sample.answers = split_answers(repair_utf8(tokens.decode(answers.row(i))));
    for (int64_t n = owners[i]; n < owners[i + 1]; ++n) {
      const auto at = static_cast<size_t>(n);
      if (starts[at] < 0 || ends[at] < starts[at] || ends[at] > std::ssize(context))
        throw UsageError(str(path, ": /needle_tok_start ", n, " is outside of its context"));
      sample.needles.push_back(needle_of(context, starts[at], ends[at], sample, tokens));
      sample.needles.back().depth = depths[at];
    }
  }
  return samples;
}

}  // namespace braid
