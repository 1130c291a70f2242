// SPDX-License-Identifier: Apache-2.0
// What the files in tests/store/data hold: one of each released format_version, which must load for ever. They are
// never made anew; format_files_writer.cpp makes those of the present version, for the day when there is a new one.
#pragma once

#include <cmath>

#include "checkpoint_layouts.h"
#include "store/run_file.h"

namespace braid::format_files {

inline constexpr int64_t steps = 6;

inline std::vector<KnownTensor> tensors() {
  std::vector<KnownTensor> all;
  uint32_t seed = 1;
  for (const auto& [name, element, shape] : std::vector<std::tuple<const char*, h5::Element, Extent>>{
           {"model/embedding.weight", h5::Element::float32, {6, 5}},
           {"model/scale", h5::Element::bfloat16, {7}},
           {"optim/exp_avg/mix.res", h5::Element::float64, {2, 3, 2}},
           {"optim/blocks", h5::Element::uint8, {9}},
           {"count", h5::Element::int64, {}}}) {
    KnownTensor tensor{whole_tensor(name, element, shape), {}};
    for (size_t i = 0; i < tensor.whole.bytes(); ++i) tensor.bytes.push_back(std::byte(seed * 31 + 7 * i));
    all.push_back(std::move(tensor));
    ++seed;
  }
  return all;
}

inline CheckpointState state() {
  return {{"step", steps},
          {"elapsed_seconds", 1.25},
          {"stage", std::string("warm-up")},
          {"skipped_first", std::vector<int64_t>{8, 24}},
          {"recent_losses", std::vector<double>{2.5, 0.1}}};
}

inline RunAttributes attributes() {
  return {{"run_id", std::string("0123456789abcdef")}, {"config", std::string("[train]\nsteps = 6\n")}};
}

inline RunFileSpec run_file_spec() {
  return {
      attributes(),
      {{"train", {{"step", ColumnType::int64, "1", "optimiser step"}, {"loss", ColumnType::float64, "nats", "loss"}}},
       {"events", {{"step", ColumnType::int64, "1", "step"}, {"kind", ColumnType::text, "", "what happened", 32}}}},
      {{"gain", 2, "1", "gain"}}};
}

inline double loss(int64_t step) { return step == 3 ? NAN : 1.0 / double(step + 1); }

}  // namespace braid::format_files
