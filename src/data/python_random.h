// SPDX-License-Identifier: Apache-2.0
// The random numbers of CPython's module `random`, to the bit: splits that a Python program published can be made
// again. MT19937 (Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8, 1998) seeded through its init_by_array,
// which std::mt19937(seed) does not do; shuffle and sample as Lib/random.py of CPython 3.11 (since 3.2) draws them.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace braid {

class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);  // random.Random(seed)
  uint64_t bits(int count);              // getrandbits(count), 1 to 64
  uint64_t below(uint64_t bound);        // randrange(bound), bound of 1 or more

  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }
  // sample(range(population), count), count <= population: places in the order drawn.
  std::vector<size_t> sample(size_t population, size_t count);

 private:
  std::mt19937 twister_;
};

}  // namespace braid
