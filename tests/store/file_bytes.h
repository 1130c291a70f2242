// SPDX-License-Identifier: Apache-2.0
// Whole files as bytes, for tests that damage them.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

namespace braid {

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace braid
