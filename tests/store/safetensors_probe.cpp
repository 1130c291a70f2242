// SPDX-License-Identifier: Apache-2.0
// Copies a safetensors file with Braid's reader and writer, or prints what the reader says of it:
// safetensors_probe copy IN OUT | list IN.
#include <iostream>

#include "base/error.h"
#include "store/safetensors.h"

namespace {

void list(const braid::SafetensorsFile& file) {
  for (const auto& [key, value] : file.metadata()) std::cout << "metadata " << key << "=" << value << "\n";
  for (const braid::SafeTensor& tensor : file.tensors()) {
    std::cout << tensor.name << " " << braid::h5::element_name(tensor.element) << " ["
              << braid::extent_text(tensor.shape) << "]\n";
  }
}

void copy(const braid::SafetensorsFile& file, const std::string& out) {
  braid::SafetensorsWriter writer(out, file.tensors(), file.metadata());
  for (const braid::SafeTensor& tensor : file.tensors()) writer.write(file.data(tensor), tensor.bytes());
  writer.commit();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    const braid::SafetensorsFile file(words.at(1));
    words.at(0) == "copy" ? copy(file, words.at(2)) : list(file);
  } catch (const braid::Error& problem) {
    std::cerr << problem.what() << "\n";
    return problem.exit_code();
  }
}
