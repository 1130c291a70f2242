// SPDX-License-Identifier: Apache-2.0
// Renders what each line of its input asks for and answers with a line: {"template", "variables"} a template by itself,
// {"format" or "folder", "messages", "add_generation_prompt"[, "extra"]} a chat. Answers: {"text"} or {"error",
// "code"}.
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/chat_template.h"

namespace {

using Json = nlohmann::ordered_json;

std::string rendered(const Json& request) {
  if (request.contains("template")) {
    return braid::jinja::Template(request["template"].get<std::string>(), "template").render(request["variables"]);
  }
  const auto chat = request.contains("format")
                        ? braid::ChatTemplate::from_name(request["format"].get<std::string>())
                        : braid::ChatTemplate::from_tokenizer_config(request["folder"].get<std::string>());
  return chat.render(request["messages"], request["add_generation_prompt"].get<bool>(),
                     request.value("extra", Json::object()));
}

Json answer(const Json& request) {
  try {
    return {{"text", rendered(request)}};
  } catch (const braid::Error& problem) {
    return {{"error", problem.what()}, {"code", problem.exit_code()}};
  }
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) std::cout << answer(Json::parse(line)).dump() << "\n";
}
