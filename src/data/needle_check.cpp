// SPDX-License-Identifier: Apache-2.0
#include "data/needle_check.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "data/needle_mirror.h"

namespace braid {

namespace {

[[noreturn]] void fail(const NeedleFile& file, const NeedleSample& sample, const std::string& why) {
  const std::string id = sample.id.empty() ? "without an id" : sample.id;
  throw Error(str(file.path, ":", sample.line, ": sample ", on_one_line(id), ": ", on_one_line(why)));
}

void require_once(const NeedleFile& file, const NeedleSample& sample, std::string_view part, const char* what) {
  const int64_t found = occurrences(sample.context, part);
  if (found != 1) fail(file, sample, str(what, " '", part, "' stands in the context ", found, " times"));
}

// Variables of a chain stand in statements only.
void require_only_in_statements(const NeedleFile& file, const NeedleSample& sample, const std::string& name) {
  int64_t stated = 0;
  for (const Needle& needle : sample.needles) stated += occurrences(statement_of(sample, needle), name);
  if (stated == 0 || stated != occurrences(sample.context, name))
    fail(file, sample, str("variable '", name, "' stands outside the statements"));
}

bool is_a_key(const NeedleSample& sample, const std::string& answer) {
  return std::any_of(sample.needles.begin(), sample.needles.end(),
                     [&](const Needle& needle) { return answer == (sample.task == "vt" ? needle.key : needle.value); });
}

void check_text(const NeedleFile& file, const NeedleSample& sample) {
  const bool chain = sample.task == "vt";
  for (size_t i = 0; i < sample.needles.size(); ++i) {
    const Needle& needle = sample.needles[i];
    require_once(file, sample, statement_of(sample, needle), "the statement");
    if (!chain || i == 0) require_once(file, sample, needle.value, "the key");
    if (chain) require_only_in_statements(file, sample, needle.key);
  }
  for (const std::string& answer : sample.answers) {
    if (!is_a_key(sample, answer)) fail(file, sample, str("answer '", answer, "' is no key of its needles"));
  }
}

void check_tokens(const NeedleFile& file, const NeedleSample& sample, const NeedleTokens& tokens,
                  const std::vector<TokenId>& ids) {
  const auto count = static_cast<int64_t>(ids.size());
  if (count != sample.context_tokens)
    fail(file, sample, str("context_tokens is ", sample.context_tokens, ", but ", tokens.name(), " gives ", count));
  for (const Needle& needle : sample.needles) {
    const int64_t length = needle.tok_end - needle.tok_start, places = count - length;
    const std::string decoded = tokens.decode(std::span(ids).subspan(size_t(needle.tok_start), size_t(length)));
    if (trimmed(decoded) != statement_of(sample, needle)) {
      fail(file, sample,
           str("tokens ", needle.tok_start, " to ", needle.tok_end, " decode to '", decoded, "', not to '",
               statement_of(sample, needle), "'"));
    }
    const double depth = places > 0 ? double(needle.tok_start) / double(places) : 0;
    if (std::abs(depth - needle.depth) > 1e-6) fail(file, sample, str("depth is ", needle.depth, ", expected ", depth));
  }
}

std::string mirror_of(const std::string& path) { return std::filesystem::path(path).replace_extension(".h5").string(); }

// The tokenizer that a sample names; `last` keeps it for the next one.
const NeedleTokens& tokens_of(const NeedleFile& file, const NeedleSample& sample, std::optional<NeedleTokens>& last) {
  if (last && last->name() == sample.tokenizer) return *last;
  try {
    last = NeedleTokens::named(sample.tokenizer);
  } catch (const UsageError& problem) {
    throw UsageError(
        str(file.path, ":", sample.line, ": its tokenizer is needed (--tokenizer FILE): ", problem.what()));
  }
  return *last;
}

// What a key of one split may not be in the other.
std::vector<std::string> keys_of(const NeedleSample& sample) {
  std::vector<std::string> keys = sample.answers;
  for (const Needle& needle : sample.needles) keys.push_back(needle.value);
  return keys;
}

struct Bins {
  double low, high;
  std::vector<int64_t> counts;

  Bins(double from, double to, size_t bins) : low(from), high(to), counts(bins) {}
  void add(double value) {
    const double place = high > low ? (value - low) / (high - low) * double(counts.size()) : 0;
    ++counts[std::min(static_cast<size_t>(std::max(place, 0.0)), counts.size() - 1)];
  }
  double edge(size_t i) const { return low + (high - low) * double(i) / double(counts.size()); }
};

std::string padded(const std::string& text, size_t width) {
  return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
}

std::string histogram(const std::string& title, const Bins& bins) {
  const int64_t most = std::max<int64_t>(*std::max_element(bins.counts.begin(), bins.counts.end()), 1);
  std::string text = title + "\n";
  for (size_t i = 0; i < bins.counts.size(); ++i) {
    const auto shown = [](double x) { return str(static_cast<int64_t>(std::llround(x))); };
    text +=
        padded(shown(bins.edge(i)), 9) + " to " + padded(shown(bins.edge(i + 1)), 7) + padded(str(bins.counts[i]), 8);
    const auto bar = static_cast<size_t>((bins.counts[i] * 40 + most / 2) / most);
    text += (bar ? "  " : "") + std::string(bar, '#') + "\n";
  }
  return text;
}

int64_t length_of(const NeedleSample& sample) {
  if (sample.context_tokens > 0) return sample.context_tokens;
  return static_cast<int64_t>(
      std::count_if(sample.context.begin(), sample.context.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string chance_line(const NeedleFile& file) {
  std::vector<std::string> answers;
  for (const NeedleSample& sample : file.samples)
    answers.insert(answers.end(), sample.answers.begin(), sample.answers.end());
  try {
    const KeyForm form = form_of_keys(answers);
    char text[96];
    std::snprintf(text, sizeof text, "chance 1 in %.3g, a character 1 in %zu", form.keys(), form.alphabet.size());
    return str("  answers: ", answers.size(), " of ", describe(form), "; ", text, "\n");
  } catch (const Error&) {
    return str("  answers: ", answers.size(), ", not all of capitals and digits: chance unknown\n");
  }
}

}  // namespace

void check_needle_file(const NeedleFile& file, const std::optional<NeedleTokens>& tokens) {
  std::optional<NeedleTokens> last;
  std::set<std::string> ids;
  NeedleMirror mirror;
  bool all_have_tokens = true;
  for (const NeedleSample& sample : file.samples) {
    if (!sample.id.empty() && !ids.insert(sample.id).second) fail(file, sample, "its id is that of an earlier one");
    check_text(file, sample);
    all_have_tokens = all_have_tokens && sample.context_tokens > 0;
    if (sample.context_tokens == 0) continue;
    const NeedleTokens& of = tokens ? *tokens : tokens_of(file, sample, last);
    const std::vector<TokenId> context = of.encode(sample.context);
    check_tokens(file, sample, of, context);
    mirror.add(sample, context, of);
  }
  if (all_have_tokens && std::filesystem::exists(mirror_of(file.path))) mirror.compare(mirror_of(file.path));
}

void check_disjoint_keys(const std::vector<NeedleFile>& files) {
  std::map<std::string, std::pair<std::string, std::string>> seen;  // key -> split and where
  for (const NeedleFile& file : files) {
    for (const NeedleSample& sample : file.samples) {
      if (sample.split.empty()) continue;
      for (const std::string& key : keys_of(sample)) {
        const std::string where = str(file.path, ":", sample.line);
        const auto [first, is_new] = seen.emplace(key, std::pair{sample.split, where});
        if (!is_new && first->second.first != sample.split)
          fail(file, sample,
               str("key '", key, "' of split ", sample.split, " is in ", first->second.first, " too (",
                   first->second.second, ")"));
      }
    }
  }
}

std::string describe(const NeedleFile& file) {
  const NeedleSample& first = file.samples.front();
  Bins depths(0, 100, 10);
  int64_t shortest = INT64_MAX, longest = 0, needles = 0;
  for (const NeedleSample& sample : file.samples) {
    shortest = std::min(shortest, length_of(sample));
    longest = std::max(longest, length_of(sample));
    needles += static_cast<int64_t>(sample.needles.size());
    for (const Needle& needle : sample.needles) depths.add(100 * needle.depth);
  }
  Bins lengths(double(shortest), double(longest), shortest == longest ? 1 : 8);
  for (const NeedleSample& sample : file.samples) lengths.add(double(length_of(sample)));
  const bool tokens = first.context_tokens > 0;
  std::string text =
      str(file.path, ": ", file.samples.size(), " samples, ", first.language, ", ", first.task,
          first.split.empty() ? "" : ", " + first.split, tokens ? ", tokens: " + first.tokenizer : "", "\n");
  text += str("  each of ", needles, " needles stands once in its context",
              tokens ? "; its token span decodes to it" : "; the file has no token spans",
              tokens && std::filesystem::exists(mirror_of(file.path)) ? "; the HDF5 mirror agrees" : "", "\n");
  text += chance_line(file);
  text += histogram("  depth, %               needles", depths);
  return text + histogram(tokens ? "  length, tokens         samples" : "  length, characters     samples", lengths);
}

std::string describe_splits(const std::vector<NeedleFile>& files) {
  int64_t train = 0, test = 0;
  for (const NeedleFile& file : files) {
    for (const NeedleSample& sample : file.samples) {
      train += sample.split == "train";
      test += sample.split == "test";
    }
  }
  if (train > 0 && test > 0) return str("keys of ", train, " training and ", test, " test samples are disjoint\n");
  return "keys of training and test samples: one split only, nothing to compare\n";
}

}  // namespace braid
