// SPDX-License-Identifier: Apache-2.0
// Sums over ranks in parts, each of as many slices as there are ranks: every rank sends its numbers of a slice straight to the
// one that keeps it, who adds them up in the order of the ranks, behind its own, and, of an all-reduce, sends the sum to all: one
// rank's bits are everyone's. While one part is added up the next is on its way. Open MPI 4.1 brings all of a reduce-scatter to
// one rank first, and sends an all-reduce round a ring whose steps wait for each other.
#pragma once

#include <vector>

#include "comm/mpi_types.h"

namespace braid {

class DirectSum {
 public:
  // Of `in`, a slice for every rank, each keeps its own in `out`, which may be that slice.
  static DirectSum scatter(const Buffer& in, const Buffer& out, int rank, int ranks, MPI_Comm comm);
  static DirectSum all_reduce(const Buffer& inout, int rank, int ranks, MPI_Comm comm);

  // Large slices, of types that are summed fast here.
  static bool takes(size_t slice_bytes, Dtype dtype) { return slice_bytes > (64 << 10) && has_sum(dtype); }

  // Adds requests of the next part, once those of the last call have ended. Whether to call again.
  bool post(std::vector<MPI_Request>& requests);

 private:
  DirectSum(const Buffer& in, const Buffer& out, bool to_all, int rank, int ranks, MPI_Comm comm);
  size_t parts() const;
  Buffer slice(size_t part, int rank) const;  // of the input; the last ones of an all-reduce may be short or empty
  Buffer sum(size_t part) const;
  std::byte* received(size_t part, int place);
  void exchange(size_t part, std::vector<MPI_Request>& requests);
  void add(size_t part);
  void share(size_t part, std::vector<MPI_Request>& requests);
  void message(const Buffer& to_send, int to, const Buffer& to_receive, int from, int tag, std::vector<MPI_Request>& requests);

  Buffer in_, out_;
  bool to_all_;
  int rank_, ranks_;
  MPI_Comm comm_;
  size_t most_, begun_ = 0;  // elements of a slice; parts
  std::vector<std::byte> received_[2];
};

}  // namespace braid
