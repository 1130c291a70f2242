// SPDX-License-Identifier: Apache-2.0
// silent_steps CONFIG --out DIR [--device NAME] [--set KEY=VALUE…]: braid train, whose steps say nothing to other ranks. Their calls
// end at once, reductions give a rank back its own numbers, and what others would have sent is zero. A step then takes what
// computing alone takes. Ranks grow apart and nothing is learnt, which is why this is no option of braid.
#include <cxxopts.hpp>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "comm/agreement.h"
#include "experiments/run.h"
#include "experiments/run_config.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

class SilentCommunicator final : public Communicator {
 public:
  // `spoken` knows who the ranks are; `device` has the memory of all calls.
  SilentCommunicator(std::shared_ptr<Communicator> spoken, const at::Device& device)
      : spoken_(std::move(spoken)), device_(device) {}

  int rank() const override { return spoken_->rank(); }
  int size() const override { return spoken_->size(); }
  const char* backend() const override { return spoken_->backend(); }

  Work all_reduce(Buffer, ReduceOp) override { return {}; }
  Work all_gather(Buffer in, Buffer out) override { return place(in, out, rank() * in.count); }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp) override {
    view(out, 0, out.count).copy_(view(in, rank() * out.count, out.count));
    return {};
  }
  // What ranks agree on before the first step, and no step does.
  Work broadcast(Buffer inout, int root) override { return spoken_->broadcast(inout, root); }
  Work all_to_all(Buffer in, Buffer out) override {
    const size_t slice = in.count / size();
    return place({view(in, rank() * slice, slice).data_ptr(), slice, in.dtype, in.stream}, out, rank() * slice);
  }
  Work all_to_all_parts(Buffer, const PartCounts&, Buffer out, const PartCounts&) override {
    view(out, 0, out.count).zero_();
    return {};
  }
  Work send(Buffer, int) override { return {}; }
  Work receive(Buffer out, int) override {
    view(out, 0, out.count).zero_();
    return {};
  }
  void barrier() override {}
  // Groups are made as ever.
  std::unique_ptr<Communicator> split(int colour, int key) override {
    return std::make_unique<SilentCommunicator>(spoken_->split(colour, key), device_);
  }

 private:
  at::Tensor view(const Buffer& buffer, size_t first, size_t count) const {
    const at::ScalarType type = type_of(buffer.dtype);
    auto* data = static_cast<std::byte*>(buffer.data) + first * size_of(buffer.dtype);
    return at::from_blob(data, {static_cast<int64_t>(count)}, at::TensorOptions(device_).dtype(type));
  }
  static at::ScalarType type_of(Dtype dtype) {
    switch (dtype) {
      case Dtype::float32: return at::kFloat;
      case Dtype::float64: return at::kDouble;
      case Dtype::bfloat16: return at::kBFloat16;
      case Dtype::int64: return at::kLong;
      case Dtype::uint8: return at::kByte;
    }
    throw Error("a type that no tensor has");
  }
  // Zeros, so that products stay finite; `in` may lie where it belongs.
  Work place(const Buffer& in, const Buffer& out, size_t first) const {
    if (first > 0) view(out, 0, first).zero_();
    if (in.data != view(out, first, in.count).data_ptr()) view(out, first, in.count).copy_(view(in, 0, in.count));
    const size_t end = first + in.count;
    if (end < out.count) view(out, end, out.count - end).zero_();
    return {};
  }

  std::shared_ptr<Communicator> spoken_;
  at::Device device_;
};

void train(World& world, const RunConfig& config, const std::string& out) {
  choose_threads(world);
  Logger logger(world.rank(), world.size());
  StopRequest stop;
  const auto silent = [&](Communicator& spoken, const at::Device& memory) {
    return SilentCommunicator(std::shared_ptr<Communicator>(std::shared_ptr<Communicator>(), &spoken), memory);
  };
  SilentCommunicator host = silent(world.host(), at::kCPU), data = silent(world.data(), device_of(world));
  const TrainRanks in_steps{host, &world.host() == &world.data() ? host : data};
  run_training({config, out, "", {}, {}}, {world, {world.host(), world.data()}, logger, stop, in_steps});
  world.host().barrier();
}

int main_of(int argc, char** argv) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  cxxopts::Options options("silent_steps");
  options.add_options()("config", "", text())("out", "", text())("device", "", text()->default_value("cpu"))(
      "set", "", cxxopts::value<std::vector<std::string>>());
  options.parse_positional({"config"});
  const auto parsed = options.parse(argc, argv);
  const auto overrides = parsed.count("set") ? parsed["set"].as<std::vector<std::string>>() : std::vector<std::string>();
  ConfigDocument document = ConfigDocument::from_file(parsed["config"].as<std::string>());
  for (const std::string& assignment : overrides) document.override_with(assignment);
  const RunConfig config = read_run_config(document);
  const auto world = World::connect({parsed["device"].as<std::string>()});
  try {
    train(*world, config, parsed["out"].as<std::string>());
    return exit_done;
  } catch (const AgreedError&) {
    throw;
  } catch (const std::exception& error) {
    world->abort(error.what(), exit_failed);
  }
  return exit_failed;
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  try {
    return braid::main_of(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "silent_steps: " << error.what() << "\n";
    return 1;
  }
}
