// SPDX-License-Identifier: Apache-2.0
// Patterns to be learnt by heart, as softwarewrighter/engram-poc writes them: YAML files with name, description,
// version and examples, each an {input, output, category}. Scalars are texts as they are written, quoted or not.
#pragma once

#include <string>
#include <vector>

namespace braid {

struct Pattern {
  std::string input, output, category;
  std::string source_file;  // without its folder
};

// The patterns of all *.yaml files of a folder: files in the order of their names, patterns in the order of the files.
// UsageError with file, line and field: no such folder or no pattern files, no YAML, a missing, unknown, empty or
// wrongly typed field, text that is not UTF-8, two patterns with one input.
std::vector<Pattern> read_patterns(const std::string& folder);

}  // namespace braid
