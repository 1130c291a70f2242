// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi_direct_sum.h"

#include <algorithm>
#include <cstring>

#include "comm/comm_thread.h"

namespace braid {

namespace {

constexpr int tag_of_terms = 2, tag_of_sums = 3;  // apart from other messages of the communicator

// Long parts: ranks that share cores wait for each other once a part. Those of an all-reduce, which are read again at once, are
// to stay in the cache.
size_t slice_bytes(bool to_all, int ranks) {
  return std::clamp<size_t>((16 << 20) / ranks, 64 << 10, to_all ? 2 << 20 : 8 << 20);
}

Buffer run_of(const Buffer& buffer, size_t first, size_t count) { return {element_at(buffer, first), count, buffer.dtype}; }

}  // namespace

DirectSum::DirectSum(const Buffer& in, const Buffer& out, bool to_all, int rank, int ranks, MPI_Comm comm)
    : in_(in), out_(out), to_all_(to_all), rank_(rank), ranks_(ranks), comm_(comm),
      most_(slice_bytes(to_all, ranks) / size_of(in.dtype)) {}

DirectSum DirectSum::scatter(const Buffer& in, const Buffer& out, int rank, int ranks, MPI_Comm comm) {
  return {in, out, false, rank, ranks, comm};
}

DirectSum DirectSum::all_reduce(const Buffer& inout, int rank, int ranks, MPI_Comm comm) {
  return {inout, inout, true, rank, ranks, comm};
}

bool DirectSum::post(std::vector<MPI_Request>& requests) {
  const size_t ended = begun_;
  if (begun_ < parts()) exchange(begun_++, requests);
  if (ended > 0) {
    add(ended - 1);
    if (to_all_) share(ended - 1, requests);
  }
  return ended < parts();
}

size_t DirectSum::parts() const {
  const size_t part = to_all_ ? most_ * ranks_ : most_;
  return (out_.count + part - 1) / part;
}

Buffer DirectSum::slice(size_t part, int rank) const {
  if (!to_all_) return run_of(in_, out_.count * rank + part * most_, std::min(most_, out_.count - part * most_));
  const size_t first = part * most_ * ranks_, count = std::min(most_ * ranks_, in_.count - first);
  const size_t each = (count + ranks_ - 1) / ranks_, begin = std::min(each * rank, count);
  return run_of(in_, first + begin, std::min(each, count - begin));
}

Buffer DirectSum::sum(size_t part) const {
  const Buffer mine = slice(part, rank_);
  return to_all_ ? mine : run_of(out_, part * most_, mine.count);
}

// Of the other ranks the one at `place`.
std::byte* DirectSum::received(size_t part, int place) {
  const size_t bytes = most_ * size_of(out_.dtype);
  std::vector<std::byte>& memory = received_[part % 2];
  memory.resize(bytes * (ranks_ - 1));
  return memory.data() + bytes * place;
}

void DirectSum::message(const Buffer& to_send, int to, const Buffer& to_receive, int from, int tag,
                        std::vector<MPI_Request>& requests) {
  const MPI_Datatype type = mpi_type(in_.dtype);
  MPI_Request& receive = requests.emplace_back(MPI_REQUEST_NULL);
  check_mpi(MPI_Irecv(to_receive.data, static_cast<int>(to_receive.count), type, from, tag, comm_, &receive), "sum over ranks");
  MPI_Request& send = requests.emplace_back(MPI_REQUEST_NULL);
  check_mpi(MPI_Isend(to_send.data, static_cast<int>(to_send.count), type, to, tag, comm_, &send), "sum over ranks");
}

void DirectSum::exchange(size_t part, std::vector<MPI_Request>& requests) {
  const size_t count = slice(part, rank_).count;
  for (int step = 1; step < ranks_; ++step) {
    const int to = (rank_ + step) % ranks_, from = (rank_ - step + ranks_) % ranks_;
    const Buffer term{received(part, from < rank_ ? from : from - 1), count, in_.dtype};
    message(slice(part, to), to, term, from, tag_of_terms, requests);
  }
}

void DirectSum::add(size_t part) {
  const Buffer to = sum(part), mine = slice(part, rank_);
  if (to.data != mine.data) std::memcpy(to.data, mine.data, mine.bytes());
  for (int place = 0; place < ranks_ - 1; ++place) {
    add_elements(to.dtype, received(part, place), static_cast<std::byte*>(to.data), static_cast<int>(to.count));
  }
}

void DirectSum::share(size_t part, std::vector<MPI_Request>& requests) {
  for (int step = 1; step < ranks_; ++step) {
    const int to = (rank_ + step) % ranks_, from = (rank_ - step + ranks_) % ranks_;
    message(sum(part), to, slice(part, from), from, tag_of_sums, requests);
  }
}

}  // namespace braid
