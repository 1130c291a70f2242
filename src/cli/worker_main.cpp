// SPDX-License-Identifier: Apache-2.0
// braid_worker: braid serve under the options of the public worker (llm-worker-rbee), for what starts workers that way.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <vector>

namespace {

constexpr int exit_failed = 1, exit_usage = 2;

constexpr const char* usage =
    "Usage: braid_worker --worker-id ID --model DIR --port N --callback-url URL [--cuda-device N]\n\n"
    "braid serve on all of this machine's addresses. Once ready it POSTs worker_id, vram_bytes and uri to URL.\n"
    "--cuda-device counts as nvidia-smi does; without it a GPU is taken where there is one.\n\n"
    "Exit codes: 0 ended by a signal; 1 failed, or the callback was not taken; 2 wrong use.\n";

using Values = std::map<std::string, std::string>;

[[noreturn]] void refuse(const std::string& problem) {
  std::cerr << "braid_worker: " << problem << "\n";
  std::exit(exit_usage);
}

Values read(const std::vector<std::string>& words) {
  Values values = {{"--worker-id", ""}, {"--model", ""}, {"--port", ""}, {"--callback-url", ""}, {"--cuda-device", ""}};
  for (size_t i = 0; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    const auto found = values.find(words[i].substr(0, equals));
    if (found == values.end()) refuse("unknown option " + words[i]);
    if (equals == std::string::npos && i + 1 == words.size()) refuse(words[i] + ": expected a value");
    found->second = equals == std::string::npos ? words[++i] : words[i].substr(equals + 1);
  }
  for (const auto& [name, value] : values) {
    if (value.empty() && name != "--cuda-device") refuse("expected " + name);
  }
  return values;
}

void choose_device(const std::string& number) {
  if (number.find_first_not_of("0123456789") != std::string::npos)
    refuse("--cuda-device " + number + ": expected a number");
  setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1);
  setenv("CUDA_VISIBLE_DEVICES", number.c_str(), 1);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  for (const std::string& word : words) {
    if (word == "--help" || word == "-h") return std::cout << usage, 0;
  }
  const Values values = read(words);
  std::vector<std::string> command = {"braid", "serve", "--host", "0.0.0.0"};
  for (const auto& [name, value] : values) {
    if (name != "--cuda-device") command.insert(command.end(), {name, value});
  }
  if (const std::string& device = values.at("--cuda-device"); !device.empty()) {
    choose_device(device);
    command.insert(command.end(), {"--device", "cuda"});
  }
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::error_code problem;
  const auto braid = std::filesystem::read_symlink("/proc/self/exe", problem).parent_path() / "braid";
  execv(braid.c_str(), arguments.data());
  std::cerr << "braid_worker: cannot start " << braid.string() << "\n";
  return exit_failed;
}
