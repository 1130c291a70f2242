// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_collectives.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "experiments/run.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

namespace {

constexpr int64_t warm_up_samples = 3;

at::ScalarType scalar_type(Dtype type) {
  if (type == Dtype::float32) return at::kFloat;
  if (type == Dtype::bfloat16) return at::kBFloat16;
  throw UsageError(str("no collective is timed in ", name_of(type)));
}

// `whole` holds the size that is spoken of; `other` as much again, and `slice` is one rank's part of it.
struct Buffers {
  at::Tensor whole, other, slice;
};

Buffers make_buffers(const Communicator& comm, const at::Device& device, Dtype type, int64_t bytes) {
  const int64_t ranks = comm.size(), element = static_cast<int64_t>(size_of(type));
  const int64_t per_rank = std::max<int64_t>(bytes / element / ranks, 1);
  const auto options = at::TensorOptions().device(device).dtype(scalar_type(type));
  const at::Tensor whole = at::zeros({per_rank * ranks}, options), other = at::zeros({per_rank * ranks}, options);
  return {whole, other, other.narrow(0, 0, per_rank)};
}

// Even ranks send to the next one and get the message back; half of that is one message's time. The last of an odd
// number of ranks only looks on.
void ping_pong(Communicator& comm, const at::Tensor& message) {
  const bool first = comm.rank() % 2 == 0;
  const int partner = first ? comm.rank() + 1 : comm.rank() - 1;
  if (partner >= comm.size()) return;
  const auto send = [&] { comm.send(buffer_of(message), partner).synchronize(); };
  if (first) send();
  comm.receive(buffer_of(message), partner).synchronize();
  if (!first) send();
}

void call_once(Communicator& comm, const std::string& name, const Buffers& b) {
  if (name == "all_reduce") return comm.all_reduce(buffer_of(b.whole), ReduceOp::sum).synchronize();
  if (name == "all_gather") return comm.all_gather(buffer_of(b.slice), buffer_of(b.whole)).synchronize();
  if (name == "reduce_scatter") {
    return comm.reduce_scatter(buffer_of(b.whole), buffer_of(b.slice), ReduceOp::sum).synchronize();
  }
  if (name == "broadcast") return comm.broadcast(buffer_of(b.whole), 0).synchronize();
  if (name == "all_to_all") return comm.all_to_all(buffer_of(b.whole), buffer_of(b.other)).synchronize();
  if (name == "send_receive") return ping_pong(comm, b.whole);
  if (name == "barrier") return comm.barrier();
  throw UsageError(str("no collective is called ", name));
}

// Seconds of one call in each sample, those of the slowest rank.
std::vector<double> sample(World& world, const std::string& name, const Buffers& buffers, int64_t repeats,
                           int64_t iterations) {
  Communicator& comm = world.data();
  const double calls = double(repeats) * (name == "send_receive" ? 2 : 1);
  std::vector<double> seconds;
  for (int64_t i = -warm_up_samples; i < iterations; ++i) {
    comm.barrier();
    const Stopwatch watch;
    for (int64_t call = 0; call < repeats; ++call) call_once(comm, name, buffers);
    if (i >= 0) seconds.push_back(watch.seconds() / calls);
  }
  world.host().all_reduce({seconds.data(), seconds.size(), Dtype::float64}, ReduceOp::max).wait();
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

double median_of_sorted(const std::vector<double>& values) {
  const size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

CollectiveTiming time_one(World& world, const std::string& name, Dtype type, int64_t bytes, int64_t iterations) {
  const Buffers buffers = make_buffers(world.data(), device_of(world), type, bytes);
  CollectiveTiming timing{name, type, static_cast<int64_t>(buffers.whole.nbytes()), repeats_of(bytes)};
  const std::vector<double> seconds = sample(world, name, buffers, timing.repeats, iterations);
  timing.median_seconds = median_of_sorted(seconds);
  timing.lowest_seconds = seconds.front();
  return timing;
}

}  // namespace

const std::vector<std::string>& collective_names() {
  static const std::vector<std::string> names = {"all_reduce", "all_gather",   "reduce_scatter", "broadcast",
                                                 "all_to_all", "send_receive", "barrier"};
  return names;
}

double bus_factor(const std::string& collective, int ranks) {
  const double others = double(ranks - 1) / ranks;
  if (collective == "all_reduce") return 2 * others;
  if (collective == "broadcast" || collective == "send_receive") return 1;
  return collective == "barrier" ? 0 : others;
}

int64_t repeats_of(int64_t bytes) { return std::clamp<int64_t>((int64_t{1} << 20) / std::max<int64_t>(bytes, 1), 1, 20); }

void bench_collectives(World& world, const CollectivePlan& plan,
                       const std::function<void(const CollectiveTiming&)>& tell) {
  for (const std::string& name : plan.collectives) {
    if (name == "barrier") {
      tell(time_one(world, name, Dtype::float32, 0, plan.iterations));
      continue;
    }
    for (const Dtype type : plan.types) {
      for (const int64_t bytes : plan.sizes) tell(time_one(world, name, type, bytes, plan.iterations));
    }
  }
}

}  // namespace braid
