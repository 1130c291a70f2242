// SPDX-License-Identifier: Apache-2.0
// Answers each line of its input with one: "bits SEED WIDTH COUNT", "below SEED BOUND COUNT", "shuffle SEED N" or
// "sample SEED N K".
#include <iostream>
#include <numeric>
#include <sstream>

#include "data/python_random.h"

namespace {

template <class T>
void print(const std::vector<T>& numbers) {
  for (const T x : numbers) std::cout << x << " ";
  std::cout << "\n";
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what;
    uint64_t seed = 0, size = 0, count = 0;
    words >> what >> seed >> size >> count;
    braid::PythonRandom random(seed);
    std::vector<uint64_t> numbers(what == "shuffle" ? size : count);
    if (what == "bits") {
      for (uint64_t& x : numbers) x = random.bits(static_cast<int>(size));
      print(numbers);
    } else if (what == "below") {
      for (uint64_t& x : numbers) x = random.below(size);
      print(numbers);
    } else if (what == "shuffle") {
      std::iota(numbers.begin(), numbers.end(), 0);
      random.shuffle(numbers);
      print(numbers);
    } else {
      print(random.sample(size, count));
    }
  }
}
