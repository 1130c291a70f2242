// SPDX-License-Identifier: Apache-2.0
// What readers of YAML files share: each refusal is one line with file, line and field.
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>
#include <vector>

namespace braid::yaml {

// "PATH:LINE: MESSAGE", the line left out where it is not known. UsageError.
[[noreturn]] void refuse(const std::string& path, const YAML::Mark& mark, const std::string& message);

// A file as YAML, or a text that stands for one. UsageError: it cannot be read, is not UTF-8 or not YAML.
YAML::Node load_file(const std::string& path);
YAML::Node load_text(const std::string& text, const std::string& path);

// UsageError unless `map` is a map of fields among `known`, each given once; `what` names it in messages.
void require_fields(const YAML::Node& map, const std::string& path, const std::string& what,
                    const std::vector<std::string>& known);

// A member that must be there and is a text that is not empty.
std::string text_field(const YAML::Node& map, const std::string& path, const std::string& what,
                       const std::string& name);
// The same for a list of such texts, one or more.
std::vector<std::string> list_field(const YAML::Node& map, const std::string& path, const std::string& what,
                                    const std::string& name);

}  // namespace braid::yaml
