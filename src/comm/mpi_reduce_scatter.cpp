// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi_reduce_scatter.h"

#include <algorithm>
#include <cstring>

#include "comm/comm_thread.h"

namespace braid {

namespace {

// Long parts: ranks that share cores wait for each other once a part.
size_t part_bytes(int ranks) { return std::clamp<size_t>((16 << 20) / ranks, 64 << 10, 8 << 20); }

}  // namespace

DirectScatter::DirectScatter(const Buffer& in, const Buffer& out, int rank, int ranks, MPI_Comm comm)
    : in_(in), out_(out), rank_(rank), ranks_(ranks), comm_(comm), most_(part_bytes(ranks) / size_of(out.dtype)) {}

bool DirectScatter::post(std::vector<MPI_Request>& requests) {
  const size_t parts = (out_.count + most_ - 1) / most_, ended = begun_;
  if (begun_ < parts) exchange(begun_++, requests);
  if (ended > 0) add(ended - 1);
  return ended < parts;
}

size_t DirectScatter::count_of(size_t part) const { return std::min(most_, out_.count - part * most_); }

// Of the other ranks the one at `place`.
std::byte* DirectScatter::received(size_t part, int place) {
  const size_t bytes = most_ * size_of(out_.dtype);
  std::vector<std::byte>& memory = received_[part % 2];
  memory.resize(bytes * (ranks_ - 1));
  return memory.data() + bytes * place;
}

void DirectScatter::exchange(size_t part, std::vector<MPI_Request>& requests) {
  constexpr int tag = 2;  // apart from other messages of the communicator
  const int count = static_cast<int>(count_of(part));
  const MPI_Datatype type = mpi_type(in_.dtype);
  for (int step = 1; step < ranks_; ++step) {
    const int to = (rank_ + step) % ranks_, from = (rank_ - step + ranks_) % ranks_;
    MPI_Request& receive = requests.emplace_back(MPI_REQUEST_NULL);
    check_mpi(MPI_Irecv(received(part, from < rank_ ? from : from - 1), count, type, from, tag, comm_, &receive), "reduce_scatter");
    MPI_Request& send = requests.emplace_back(MPI_REQUEST_NULL);
    check_mpi(MPI_Isend(element_at(in_, out_.count * to + part * most_), count, type, to, tag, comm_, &send), "reduce_scatter");
  }
}

void DirectScatter::add(size_t part) {
  const int count = static_cast<int>(count_of(part));
  std::byte *sum = element_at(out_, part * most_), *mine = element_at(in_, out_.count * rank_ + part * most_);
  if (sum != mine) std::memcpy(sum, mine, count * size_of(out_.dtype));
  for (int place = 0; place < ranks_ - 1; ++place) add_elements(out_.dtype, received(part, place), sum, count);
}

}  // namespace braid
