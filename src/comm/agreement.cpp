// SPDX-License-Identifier: Apache-2.0
#include "comm/agreement.h"

namespace braid {

void agree(Communicator& comm, const std::function<void()>& act) {
  std::string message;
  int64_t failed_rank = comm.size();
  int code = exit_done;
  try {
    act();
  } catch (const Error& error) {
    message = error.what();
    code = error.exit_code();
    failed_rank = comm.rank();
  }
  comm.all_reduce({&failed_rank, 1, Dtype::int64}, ReduceOp::min).wait();
  if (failed_rank == comm.size()) return;
  const int root = static_cast<int>(failed_rank);
  const std::string agreed = broadcast_text(comm, message, root);
  int64_t agreed_code = code;
  comm.broadcast({&agreed_code, 1, Dtype::int64}, root).wait();
  throw AgreedError(agreed, static_cast<int>(agreed_code));
}

void agree_on_root(Communicator& comm, const std::function<void()>& act) {
  agree(comm, [&] {
    if (comm.rank() == 0) act();
  });
}

}  // namespace braid
