// SPDX-License-Identifier: Apache-2.0
#include "comm/file_communicator.h"

#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

using Bytes = std::vector<char>;
constexpr double patience_seconds = 300;

void write_file(const fs::path& path, const void* data, size_t bytes) {
  const fs::path temporary = path.string() + ".new";
  std::ofstream file(temporary, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  file.close();
  if (!file) throw Error(str(path.string(), ": cannot be written"));
  fs::rename(temporary, path);  // readers see all of it or nothing
}

Bytes read_when_there(const fs::path& path) {
  const Stopwatch watch;
  while (!fs::exists(path)) {
    if (watch.seconds() > patience_seconds) throw Error(str(path.string(), ": did not appear within 5 minutes; is that rank alive?"));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

template <class T>
void combine(T* into, const T* other, size_t count, ReduceOp op) {
  for (size_t i = 0; i < count; ++i) {
    if (op == ReduceOp::sum) into[i] += other[i];
    else if (op == ReduceOp::max) into[i] = other[i] > into[i] ? other[i] : into[i];
    else into[i] = other[i] < into[i] ? other[i] : into[i];
  }
}

void combine_into(const Buffer& into, const Bytes& other, ReduceOp op) {
  switch (into.dtype) {
    case Dtype::float32: return combine(static_cast<float*>(into.data), reinterpret_cast<const float*>(other.data()), into.count, op);
    case Dtype::float64: return combine(static_cast<double*>(into.data), reinterpret_cast<const double*>(other.data()), into.count, op);
    case Dtype::int64: return combine(static_cast<int64_t*>(into.data), reinterpret_cast<const int64_t*>(other.data()), into.count, op);
    case Dtype::uint8: return combine(static_cast<uint8_t*>(into.data), reinterpret_cast<const uint8_t*>(other.data()), into.count, op);
    case Dtype::bfloat16: throw Error("the shared-file rendezvous does not reduce bf16: it serves start-up, not training");
  }
}

class FileCommunicator final : public Communicator {
 public:
  FileCommunicator(fs::path folder, int rank, int size) : folder_(std::move(folder)), rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const char* backend() const override { return "file"; }

  // Each rank adds all parts in rank order: the same bits everywhere.
  Work all_reduce(Buffer inout, ReduceOp op) override {
    const std::vector<Bytes> parts = exchange_equal(inout);
    std::memcpy(inout.data, parts[0].data(), inout.bytes());
    for (int rank = 1; rank < size_; ++rank) combine_into(inout, parts[rank], op);
    return {};
  }
  Work all_gather(Buffer in, Buffer out) override {
    const std::vector<Bytes> parts = exchange_equal(in);
    for (int rank = 0; rank < size_; ++rank) {
      std::memcpy(static_cast<char*>(out.data) + rank * in.bytes(), parts[rank].data(), in.bytes());
    }
    return {};
  }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override {
    Bytes whole(static_cast<char*>(in.data), static_cast<char*>(in.data) + in.bytes());
    all_reduce({whole.data(), in.count, in.dtype}, op);
    std::memcpy(out.data, whole.data() + rank_ * out.bytes(), out.bytes());
    return {};
  }
  Work broadcast(Buffer inout, int root) override {
    const std::vector<Bytes> parts = exchange(rank_ == root ? inout : Buffer{});
    require_size(parts[root], root, inout);
    std::memcpy(inout.data, parts[root].data(), inout.bytes());
    return {};
  }
  Work all_to_all(Buffer in, Buffer out) override {
    const std::vector<Bytes> parts = exchange_equal(in);
    const size_t slice = in.bytes() / size_;
    for (int rank = 0; rank < size_; ++rank) {
      std::memcpy(static_cast<char*>(out.data) + rank * slice, parts[rank].data() + rank_ * slice, slice);
    }
    return {};
  }
  // Each rank's file begins with its counts.
  Work all_to_all_parts(Buffer in, const PartCounts& in_counts, Buffer out, const PartCounts& out_counts) override {
    require_parts(in, in_counts, out, out_counts, size_);
    const size_t head = in_counts.size() * sizeof(size_t);
    Bytes mine(head + in.bytes());
    std::memcpy(mine.data(), in_counts.data(), head);
    if (in.count > 0) std::memcpy(mine.data() + head, in.data, in.bytes());
    auto* to = static_cast<char*>(out.data);
    const std::vector<Bytes> parts = exchange({mine.data(), mine.size(), Dtype::uint8});
    for (int rank = 0; rank < size_; ++rank) {
      PartCounts theirs(in_counts.size());
      std::memcpy(theirs.data(), parts[rank].data(), head);
      const size_t before = std::accumulate(theirs.begin(), theirs.begin() + rank_, size_t{0}) * size_of(in.dtype);
      const size_t bytes = out_counts[rank] * size_of(out.dtype);
      if (theirs[rank_] != out_counts[rank]) {
        throw Error(str("ranks are out of step: rank ", rank, " has another count"));
      }
      if (bytes > 0) std::memcpy(to, parts[rank].data() + head + before, bytes);
      to += bytes;
    }
    return {};
  }
  Work send(Buffer in, int to) override {
    write_file(folder_ / str("message-", rank_, "-", to, "-", sent_[to]++), in.data, in.bytes());
    return {};
  }
  Work receive(Buffer out, int from) override {
    const fs::path path = folder_ / str("message-", from, "-", rank_, "-", received_[from]++);
    const Bytes bytes = read_when_there(path);
    require_size(bytes, from, out);
    std::memcpy(out.data, bytes.data(), out.bytes());
    fs::remove(path);
    return {};
  }
  void barrier() override { exchange({}); }

  std::unique_ptr<Communicator> split(int colour, int key) override {
    const int64_t mine[2] = {colour, key};
    std::vector<int64_t> all(2 * static_cast<size_t>(size_));
    all_gather({const_cast<int64_t*>(mine), 2, Dtype::int64}, {all.data(), all.size(), Dtype::int64});
    int members = 0, place = 0;
    for (int rank = 0; rank < size_; ++rank) {
      if (all[2 * rank] != colour) continue;
      ++members;
      place += std::pair(all[2 * rank + 1], int64_t{rank}) < std::pair(int64_t{key}, int64_t{rank_});
    }
    const fs::path folder = folder_ / str("split-", sequence_, "-", colour);
    fs::create_directories(folder);
    barrier();
    return std::make_unique<FileCommunicator>(folder, place, members);
  }

 private:
  static void require_size(const Bytes& theirs, int rank, const Buffer& mine) {
    if (theirs.size() == mine.bytes()) return;
    throw Error(str("ranks are out of step: rank ", rank, " sent ", theirs.size(), " bytes where ", mine.bytes(), " were expected"));
  }
  std::vector<Bytes> exchange_equal(const Buffer& mine) {
    std::vector<Bytes> parts = exchange(mine);
    for (int rank = 0; rank < size_; ++rank) require_size(parts[rank], rank, mine);
    return parts;
  }
  // Everybody's bytes. A rank's file of two calls ago is no longer needed: all have since read a later one.
  std::vector<Bytes> exchange(const Buffer& mine) {
    const int64_t call = sequence_++;
    write_file(path_of(call, rank_), mine.data, mine.bytes());
    std::vector<Bytes> parts;
    for (int rank = 0; rank < size_; ++rank) parts.push_back(read_when_there(path_of(call, rank)));
    if (call >= 2) fs::remove(path_of(call - 2, rank_));
    return parts;
  }
  fs::path path_of(int64_t call, int rank) const { return folder_ / str("call-", call, "-rank-", rank); }

  fs::path folder_;
  int rank_, size_;
  int64_t sequence_ = 0;
  std::vector<int64_t> sent_ = std::vector<int64_t>(static_cast<size_t>(size_), 0);
  std::vector<int64_t> received_ = sent_;
};

}  // namespace

std::unique_ptr<Communicator> make_file_communicator(const std::string& folder, int rank, int ranks) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) throw UsageError(str("BRAID_RENDEZVOUS=", folder, ": cannot be created: ", problem.message()));
  const fs::path mark = fs::path(folder) / str("joined-", rank);
  if (fs::exists(mark)) {
    throw UsageError(str("BRAID_RENDEZVOUS=", folder, ": rank ", rank,
                         " has been here before; give each run a new folder"));
  }
  write_file(mark, "", 0);
  return std::make_unique<FileCommunicator>(folder, rank, ranks);
}

}  // namespace braid
