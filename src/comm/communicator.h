// SPDX-License-Identifier: Apache-2.0
// What ranks can say to each other. Two back ends behind one interface: MPI for CPU memory (mpi_communicator.h), NCCL
// for CUDA memory (nccl_communicator.h). All data calls are asynchronous and return a Work; every rank of the
// communicator must issue the same calls in the same order. Knows nothing of tensors: memory is (pointer, count, dtype).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace braid {

enum class Dtype { float32, float64, bfloat16, int64, uint8 };
enum class ReduceOp { sum, max, min };
size_t size_of(Dtype dtype);
const char* name_of(Dtype dtype);

// Contiguous memory. `stream` is the CUDA stream that produced it and will consume it (nullptr on CPU): NCCL waits for
// what is queued there, and Work::wait makes it wait for the result, without stopping the host.
struct Buffer {
  void* data = nullptr;
  size_t count = 0;  // elements
  Dtype dtype = Dtype::float32;
  void* stream = nullptr;
  size_t bytes() const { return count * size_of(dtype); }
};

// A call under way. Copies share it. Errors of the call are thrown from wait().
class Work {
 public:
  struct State {
    virtual ~State() = default;
    virtual void wait() = 0;         // CPU: blocks; CUDA: orders the caller's stream after the result
    virtual void synchronize() = 0;  // blocks the host until the result is there
    virtual bool done() = 0;         // or failed; then synchronize() throws at once
  };
  Work() = default;
  explicit Work(std::shared_ptr<State> state) : state_(std::move(state)) {}
  void wait() const { if (state_) state_->wait(); }
  void synchronize() const { if (state_) state_->synchronize(); }
  bool done() const { return !state_ || state_->done(); }
  bool empty() const { return !state_; }  // of a call that had ended when it returned

 private:
  std::shared_ptr<State> state_;
};

using PartCounts = std::vector<size_t>;  // elements, one entry for each rank

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const char* backend() const = 0;  // "mpi", "nccl" or "single"

  virtual Work all_reduce(Buffer inout, ReduceOp op) = 0;
  virtual Work all_gather(Buffer in, Buffer out) = 0;                    // out.count = size * in.count; in may lie in out
  virtual Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) = 0;   // in.count = size * out.count
  virtual Work broadcast(Buffer inout, int root) = 0;
  virtual Work all_to_all(Buffer in, Buffer out) = 0;                    // equal slices, count a multiple of size
  // As many elements for each rank as `in_counts` says, one after the other in `in`; as many from each as `out_counts`
  // says, which is what that rank has for this one. Any may be 0. The counts may go when it returns.
  virtual Work all_to_all_parts(Buffer in, const PartCounts& in_counts, Buffer out, const PartCounts& out_counts) = 0;
  // Over NCCL the calls of a rank run one after the other: ranks that all receive before they send would wait for ever.
  virtual Work send(Buffer in, int to) = 0;
  virtual Work receive(Buffer out, int from) = 0;
  virtual void barrier() = 0;
  // Ranks with the same colour form a new communicator, ordered by (key, rank). Collective.
  virtual std::unique_ptr<Communicator> split(int colour, int key) = 0;
  // For a job that ends: makes calls under way fail where the back end can, from any thread. May hang.
  virtual void abort() {}
};

// Error unless the counts are of `ranks` parts that fill their buffers.
void require_parts(const Buffer& in, const PartCounts& in_counts, const Buffer& out, const PartCounts& out_counts,
                   int ranks);

// A world of one: every call is a copy or nothing.
std::unique_ptr<Communicator> make_single_communicator();

// Strings over any CPU communicator: rank `root`'s text on every rank; every rank's text, in rank order, on all.
std::string broadcast_text(Communicator& comm, const std::string& text, int root);
std::vector<std::string> gather_texts(Communicator& comm, const std::string& text);

}  // namespace braid
