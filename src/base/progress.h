// SPDX-License-Identifier: Apache-2.0
// One line that says how far a run is: a bar with rate and time left on a terminal, plain lines at a calm pace
// otherwise (every `plain_every` updates, plus the first and last). Only rank 0 creates one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace braid {

class Progress {
 public:
  Progress(std::string label, int64_t total, int64_t plain_every);
  ~Progress();
  // `detail` follows the counter: "loss 2.3106  norm 0.91  1.2e-03  18.2k tok/s".
  void update(int64_t done, const std::string& detail);
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace braid
