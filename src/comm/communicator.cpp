// SPDX-License-Identifier: Apache-2.0
#include "comm/communicator.h"

#include <cstring>
#include <numeric>

#include "base/error.h"

namespace braid {

size_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32: return 4;
    case Dtype::float64: return 8;
    case Dtype::bfloat16: return 2;
    case Dtype::int64: return 8;
    case Dtype::uint8: return 1;
  }
  return 0;
}

const char* name_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32: return "float32";
    case Dtype::float64: return "float64";
    case Dtype::bfloat16: return "bfloat16";
    case Dtype::int64: return "int64";
    case Dtype::uint8: return "uint8";
  }
  return "?";
}

namespace {

class SingleCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  const char* backend() const override { return "single"; }
  Work all_reduce(Buffer, ReduceOp) override { return {}; }
  Work all_gather(Buffer in, Buffer out) override { return copy(in, out); }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp) override { return copy(in, out); }
  Work broadcast(Buffer, int) override { return {}; }
  Work all_to_all(Buffer in, Buffer out) override { return copy(in, out); }
  Work all_to_all_parts(Buffer in, const PartCounts& in_counts, Buffer out, const PartCounts& out_counts) override {
    require_parts(in, in_counts, out, out_counts, 1);
    return copy(in, out);
  }
  Work send(Buffer, int) override { throw Error("a world of one rank has nobody to send to"); }
  Work receive(Buffer, int) override { throw Error("a world of one rank has nobody to receive from"); }
  void barrier() override {}
  std::unique_ptr<Communicator> split(int, int) override { return make_single_communicator(); }

 private:
  static Work copy(Buffer in, Buffer out) {
    if (in.data != out.data && in.count > 0) std::memcpy(out.data, in.data, in.bytes());
    return {};
  }
};

}  // namespace

void require_parts(const Buffer& in, const PartCounts& in_counts, const Buffer& out, const PartCounts& out_counts,
                   int ranks) {
  const auto fills = [&](const Buffer& buffer, const PartCounts& counts) {
    const size_t together = std::accumulate(counts.begin(), counts.end(), size_t{0});
    return counts.size() == static_cast<size_t>(ranks) && together == buffer.count;
  };
  if (in.dtype == out.dtype && fills(in, in_counts) && fills(out, out_counts)) return;
  throw Error("all_to_all_parts: expected a part for every rank that together fill the buffers");
}

std::unique_ptr<Communicator> make_single_communicator() { return std::make_unique<SingleCommunicator>(); }

std::string broadcast_text(Communicator& comm, const std::string& text, int root) {
  int64_t length = static_cast<int64_t>(text.size());
  comm.broadcast({&length, 1, Dtype::int64}, root).wait();
  std::string result = comm.rank() == root ? text : std::string(static_cast<size_t>(length), '\0');
  if (length > 0) comm.broadcast({result.data(), result.size(), Dtype::uint8}, root).wait();
  return result;
}

std::vector<std::string> gather_texts(Communicator& comm, const std::string& text) {
  std::vector<std::string> texts;
  for (int rank = 0; rank < comm.size(); ++rank) texts.push_back(broadcast_text(comm, text, rank));
  return texts;
}

}  // namespace braid
