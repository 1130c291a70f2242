// SPDX-License-Identifier: Apache-2.0
#include "data/needle_mirror.h"

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "store/h5.h"
#include "store/posix_file.h"

namespace braid {

namespace {

std::string lines(const std::vector<const std::vector<std::string>*>& lists) {
  std::string text;
  for (const auto* list : lists) {
    for (const std::string& line : *list) text += line + "\n";
  }
  return text;
}

std::string wordings_of(const NeedleSample& sample, const NeedleTexts& texts) {
  if (sample.task == "single") return lines({&texts.needles, &texts.questions});
  if (sample.task == "multikey") return lines({&texts.keyed_needles, &texts.keyed_questions});
  if (sample.task == "multivalue") return lines({&texts.many_needles, &texts.many_questions});
  if (sample.task == "multiquery") return lines({&texts.keyed_needles, &texts.several_questions});
  return lines({&texts.chain_starts, &texts.chain_links, &texts.chain_questions});
}

hid_t memory_type(bool is_tokens, bool is_real) {
  return is_tokens ? H5T_NATIVE_UINT32 : is_real ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64;
}

}  // namespace

std::string answer_text(const NeedleSample& sample) {
  std::string text;
  for (const std::string& answer : sample.answers) text += (text.empty() ? "" : ", ") + answer;
  return text;
}

void NeedleMirror::Ragged::append(const std::vector<TokenId>& ids) {
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  offsets.push_back(static_cast<int64_t>(tokens.size()));
}

void NeedleMirror::add(const NeedleSample& sample, const std::vector<TokenId>& context, const NeedleTokens& tokens) {
  if (starts_.empty()) {
    first_ = sample;
    first_.context.clear();
    vocabulary_ = tokens.vocabulary();
  }
  contexts_.append(context);
  questions_.append(tokens.encode(sample.question));
  answers_.append(tokens.encode(answer_text(sample)));
  for (const Needle& needle : sample.needles) {
    starts_.push_back(needle.tok_start);
    ends_.push_back(needle.tok_end);
    depths_.push_back(std::round(needle.depth * 1e6) / 1e6);  // as in the JSON
  }
  needle_offsets_.push_back(static_cast<int64_t>(starts_.size()));
}

std::vector<NeedleMirror::Column> NeedleMirror::columns() const {
  const auto tokens = [](const char* name, const Ragged& of) {
    return Column{name, of.tokens.data(), static_cast<int64_t>(of.tokens.size()), true, false};
  };
  const auto numbers = [](const char* name, const std::vector<int64_t>& of) {
    return Column{name, of.data(), static_cast<int64_t>(of.size()), false, false};
  };
  return {tokens("tokens", contexts_),
          numbers("offsets", contexts_.offsets),
          tokens("question_tokens", questions_),
          numbers("question_offsets", questions_.offsets),
          tokens("answer_tokens", answers_),
          numbers("answer_offsets", answers_.offsets),
          numbers("needle_tok_start", starts_),
          numbers("needle_tok_end", ends_),
          numbers("needle_offsets", needle_offsets_),
          Column{"depth", depths_.data(), static_cast<int64_t>(depths_.size()), false, true}};
}

void NeedleMirror::write_new(const std::string& fresh, const NeedleTexts& texts) const {
  h5::File file = h5::File::create(fresh, h5::Exists::replace);
  h5::set_attribute(file, "format", std::string("braid-needles"));
  h5::set_attribute(file, "format_version", needle_mirror_version);
  h5::set_attribute(file, "generator_version", needle_generator_version);
  h5::set_attribute(file, "seed", static_cast<int64_t>(first_.seed));
  h5::set_attribute(file, "split", first_.split);
  h5::set_attribute(file, "language", first_.language);
  h5::set_attribute(file, "task", first_.task);
  h5::set_attribute(file, "tokenizer", first_.tokenizer);
  h5::set_attribute(file, "vocabulary", vocabulary_);
  h5::set_attribute(file, "templates", first_.filler_id);
  h5::set_attribute(file, "wordings", wordings_of(first_, texts));
  h5::set_attribute(file, "distractor_rate", first_.distractor_rate);
  for (const Column& column : columns()) {
    const h5::Element element = column.is_tokens ? h5::Element::uint32
                                : column.is_real ? h5::Element::float64
                                                 : h5::Element::int64;
    h5::create_contiguous(file, column.name, element, column.count)
        .write(memory_type(column.is_tokens, column.is_real), column.data);
  }
  file.close();
}

void NeedleMirror::write(const std::string& path, const NeedleTexts& texts) const {
  const std::string fresh = path + ".new";
  try {
    write_new(fresh, texts);
  } catch (...) {
    remove_file(fresh);
    throw;
  }
  rename_file(fresh, path);
}

void NeedleMirror::compare(const std::string& path) const {
  const h5::File file = h5::File::open(path);
  if (!h5::has_attribute(file, "format") || h5::text_attribute(file, "format") != "braid-needles")
    throw UsageError(str(path, ": is no mirror of needle samples (root attribute format is not \"braid-needles\")"));
  if (h5::int_attribute(file, "format_version") > needle_mirror_version)
    throw UsageError(str(path, ": format_version ", h5::int_attribute(file, "format_version"),
                         " is newer than this braid's ", needle_mirror_version));
  for (const Column& column : columns()) {
    const h5::Dataset dataset = h5::Dataset::open(file, column.name);
    const size_t bytes = static_cast<size_t>(column.count) * (column.is_tokens ? 4 : 8);
    std::vector<char> found(bytes);
    bool same = dataset.shape() == std::vector<int64_t>{column.count};
    if (same) dataset.read(memory_type(column.is_tokens, column.is_real), found.data());
    same = same && std::memcmp(found.data(), column.data, bytes) == 0;
    if (!same) throw Error(str(path, ": /", column.name, " is not what the JSON lines beside it give"));
  }
}

}  // namespace braid
