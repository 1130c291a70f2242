// SPDX-License-Identifier: Apache-2.0
// A sum of which each rank keeps a slice, in parts: every rank sends its numbers of a part to those that keep them, who add
// them up in the order of the ranks, behind their own. While one part is added up the next is on its way. Open MPI 4.1 brings
// all of the input to one rank first.
#pragma once

#include <vector>

#include "comm/mpi_types.h"

namespace braid {

class DirectScatter {
 public:
  DirectScatter(const Buffer& in, const Buffer& out, int rank, int ranks, MPI_Comm comm);

  // Large slices, of types that are summed fast here.
  static bool takes(const Buffer& out) { return out.bytes() > (512 << 10) && has_sum(out.dtype); }

  // Adds requests of the next part, once those of the last call have ended. Whether to call again.
  bool post(std::vector<MPI_Request>& requests);

 private:
  size_t count_of(size_t part) const;
  std::byte* received(size_t part, int place);
  void exchange(size_t part, std::vector<MPI_Request>& requests);
  void add(size_t part);

  Buffer in_, out_;
  int rank_, ranks_;
  MPI_Comm comm_;
  size_t most_, begun_ = 0;  // elements of a part; parts
  std::vector<std::byte> received_[2];
};

}  // namespace braid
