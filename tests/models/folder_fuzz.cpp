// SPDX-License-Identifier: Apache-2.0
// Damages small folders of models and adapters some thousand times and reads each: folder_fuzz COUNT SEED. Every outcome must
// be a folder that is taken, or a UsageError of one line that begins with the folder. Built with sanitizers, without
// torch.
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>

#include "../store/file_bytes.h"
#include "../store/temp_folder.h"
#include "base/error.h"
#include "folder.h"
#include "models/hf_files.h"
#include "models/peft_config.h"
#include "models/peft_files.h"

namespace braid {
namespace {

using test::small_llama;

using Folder = std::map<std::string, std::string>;  // file to content

const std::vector<std::string> words = {"-1",
                                        "0",
                                        "1e999",
                                        "18446744073709551615",
                                        "9223372036854775807",
                                        "4294967296",
                                        "null",
                                        "true",
                                        "[]",
                                        "{}",
                                        "\"\"",
                                        "\"F64\"",
                                        "\"BF16\"",
                                        "[0,0]",
                                        "[9223372036854775807]",
                                        "{\"a\":",
                                        "[[[[",
                                        "]",
                                        "}",
                                        ",",
                                        "\\ud800",
                                        "\xff",
                                        "\"../x.safetensors\"",
                                        "\"dtype\":\"F32\",",
                                        "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2},",
                                        "\"head_dim\":2,",
                                        "\"rank_pattern\":{\"(\":2},",
                                        "\"rank_pattern\":{\"(a*)*b\":1e300},",
                                        "\"alpha_pattern\":{\"up_proj\":1e-320},",
                                        "\"layers_to_transform\":[1],",
                                        "\"use_dora\":true,",
                                        "\"modules_to_save\":[\"lm_head\"],",
                                        std::string(1, '\0')};

class Damage {
 public:
  explicit Damage(uint64_t seed) : generator_(seed) {}

  // One to three changes to one file of the folder, mostly where its header is.
  void apply(Folder& folder) {
    auto file = std::next(folder.begin(), below(folder.size()));
    if (below(50) == 0) {
      folder.erase(file);
      return;
    }
    for (size_t changes = 1 + below(3); changes > 0; --changes) change(file->second);
  }

 private:
  size_t below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(generator_); }

  void change(std::string& text) {
    if (text.empty()) return;
    const size_t at = below(std::min<size_t>(text.size(), below(4) == 0 ? text.size() : 1600));
    const std::string& word = words[below(words.size())];
    switch (below(7)) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        break;
      case 1:
        text[at] = static_cast<char>(below(256));
        break;
      case 2:
        text.resize(at);
        break;
      case 3:
        text.erase(at, 1 + below(40));
        break;
      case 4:
        text.insert(at, word);
        break;
      case 5:
        text.replace(at, std::min(word.size(), text.size() - at), word);
        break;
      default:
        replace_number(text, at, word);
    }
  }

  // The next run of digits becomes another: shapes, offsets, lengths.
  void replace_number(std::string& text, size_t at, const std::string& word) {
    const size_t first = text.find_first_of("0123456789", at);
    if (first == std::string::npos) return;
    size_t end = first;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
    text.replace(first, end - first, below(2) ? std::to_string(below(40)) : word);
  }

  std::mt19937_64 generator_;
};

void read_whole(const std::string& folder) {
  if (std::filesystem::exists(folder + "/adapter_config.json")) {
    const LoraConfig lora = read_peft_config(folder, small_llama());
    open_peft_weights(folder, adapter_tensors(small_llama(), lora));
    return;
  }
  const HfConfig config = read_hf_config(folder);
  const HfFiles files(folder);
  check_hf_tensors(files, config.model);
  for (const auto& [name, found] : files.tensors()) {
    first_not_finite(found.tensor->element, found.data(), elements_of(found.tensor->shape));
  }
  files.digest();
}

Folder valid_folder(const TempFolder& temp, const ModelConfig& model, bool sharded) {
  Folder folder = {{"config.json", hf_config_text(model, h5::Element::float32, "")},
                   {"generation_config.json", "{\"eos_token_id\": [2, 3]}"}};
  std::vector<test::FileTensor> all =
      model.is_quantised() ? test::nf4_tensors(model) : test::random_tensors(model, h5::Element::float32);
  const auto middle = sharded ? all.begin() + 9 : all.end();
  const std::vector<std::pair<std::string, std::vector<test::FileTensor>>> files = {
      {sharded ? "a.safetensors" : "model.safetensors", {all.begin(), middle}}, {"b.safetensors", {middle, all.end()}}};
  std::string map;
  for (const auto& [name, tensors] : files) {
    if (tensors.empty()) continue;
    test::write_weights(temp / name, tensors);
    folder[name] = read_bytes(temp / name);
    for (const auto& t : tensors) map += (map.empty() ? "\"" : ",\"") + t.header.name + "\":\"" + name + "\"";
  }
  if (sharded) folder["model.safetensors.index.json"] = "{\"metadata\":{},\"weight_map\":{" + map + "}}";
  return folder;
}

Folder valid_adapter(const TempFolder& temp) {
  LoraConfig lora;
  lora.rank = 3;
  lora.rank_pattern = {"layers.1.mlp.up_proj=2"};
  std::vector<test::FileTensor> all;
  for (const AdapterTensor& tensor : adapter_tensors(small_llama(), lora)) {
    const Extent shape(tensor.shape.begin(), tensor.shape.end());
    all.push_back(test::tensor_of(peft_name(tensor.name), h5::Element::float32, shape,
                                  std::vector<double>(static_cast<size_t>(elements_of(shape)), 0.25)));
  }
  test::write_weights(temp / peft_weights_name, all);
  return {{"adapter_config.json", peft_config_text(lora, "base")}, {peft_weights_name, read_bytes(temp / peft_weights_name)}};
}

void write_folder(const TempFolder& temp, const Folder& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(temp.path())) std::filesystem::remove(entry.path());
  for (const auto& [name, content] : folder) write_bytes(temp / name, content);
}

// Whether the folder was taken; anything but that or one good line ends the program.
bool attempt(const TempFolder& temp) {
  try {
    read_whole(temp.path());
    return true;
  } catch (const UsageError& error) {
    const std::string message = error.what();
    if (message.starts_with(temp.path()) && message.find('\n') == std::string::npos) return false;
    throw Error("not one line that begins with the folder: " + message);
  }
}

int fuzz(int count, uint64_t seed) {
  const TempFolder origin, temp;
  const Folder valid[] = {valid_folder(origin, small_llama(), false), valid_folder(origin, small_llama(), true),
                          valid_folder(origin, test::small_nf4_llama(), false), valid_adapter(origin)};
  for (const Folder& folder : valid) {
    write_folder(temp, folder);
    if (!attempt(temp)) throw Error("the folder is refused before it is damaged");
  }
  int taken = 0;
  for (int i = 0; i < count; ++i) {
    Folder folder = valid[size_t(i) % std::size(valid)];
    Damage damage(seed * 1000003 + static_cast<uint64_t>(i));
    damage.apply(folder);
    write_folder(temp, folder);
    taken += attempt(temp);
  }
  std::cout << count << " damaged folders: " << count - taken << " refused, " << taken << " taken\n";
  return taken < count / 2 ? 0 : 1;  // most damage is noticed; what hits a weight's bits cannot be
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 12000;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  try {
    return braid::fuzz(count, seed);
  } catch (const std::exception& error) {
    std::cerr << "folder_fuzz: " << error.what() << "\n";
    return 1;
  }
}
