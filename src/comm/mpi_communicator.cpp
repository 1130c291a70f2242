// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi_communicator.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "comm/mpi_direct_sum.h"
#include "comm/mpi_types.h"

namespace braid {

namespace {

// One all-reduce of a large buffer goes in parts of so many bytes for each rank: MPI's own temporary copy of a part stays in the
// cache, and ranks that share cores wait for each other once a part (25 MiB on 2 cores beside other work: 2 ranks 20 ms, with
// parts of 512 KiB 29; 4 ranks 49 and 116).
constexpr size_t all_reduce_part_bytes = 2 << 20;

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, std::shared_ptr<CommThread> thread, size_t limit, bool owned)
      : comm_(comm), thread_(std::move(thread)), limit_(limit), owned_(owned), lane_(lane_of(comm)) {
    MPI_Comm_rank(comm, &rank_);
    MPI_Comm_size(comm, &size_);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  }
  ~MpiCommunicator() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (owned_ && !finalized) MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const char* backend() const override { return "mpi"; }

  Work all_reduce(Buffer inout, ReduceOp op) override {
    if (op == ReduceOp::sum && DirectSum::takes(inout.bytes() / size_, inout.dtype)) {
      return queue_sum("all_reduce", inout, DirectSum::all_reduce(inout, rank_, size_, comm_));
    }
    const size_t most = std::min(limit_, all_reduce_part_bytes * size_ / size_of(inout.dtype));
    return queue_parts("all_reduce", inout, [=, this, first = size_t{0}](auto& requests) mutable {
      const size_t count = std::min(inout.count - first, most);
      check_mpi(MPI_Iallreduce(MPI_IN_PLACE, element_at(inout, first), static_cast<int>(count), mpi_type(inout.dtype),
                               operation(inout.dtype, op), comm_, next(requests)),
                "all_reduce");
      first += count;
      return first < inout.count;
    });
  }

  Work broadcast(Buffer inout, int root) override {
    return queue("broadcast", inout, [=, this](auto& requests) {
      for (size_t first = 0; first < inout.count; first += limit_) {
        check_mpi(MPI_Ibcast(element_at(inout, first), part(inout.count - first), mpi_type(inout.dtype), root, comm_, next(requests)),
                  "broadcast");
      }
    });
  }

  // Parts of a large gather land at the stride of the whole, which a vector of blocks describes.
  Work all_gather(Buffer in, Buffer out) override {
    require(out.count == in.count * size_, "all_gather: the output must hold the input of every rank");
    return queue("all_gather", in, [=, this](auto& requests) {
      for (size_t first = 0; first < in.count; first += limit_) {
        const int count = part(in.count - first);
        const bool in_place = in.data == element_at(out, in.count * rank_);
        const StridedType blocks(mpi_type(in.dtype), count, in.count * size_of(in.dtype));
        check_mpi(MPI_Iallgather(in_place ? MPI_IN_PLACE : element_at(in, first), count, mpi_type(in.dtype), element_at(out, first), 1,
                                 blocks.type, comm_, next(requests)),
                  "all_gather");
      }
    });
  }

  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override {
    require(in.count == out.count * size_, "reduce_scatter: the input must hold a slice for every rank");
    if (op == ReduceOp::sum && DirectSum::takes(out.bytes(), out.dtype)) {
      return queue_sum("reduce_scatter", in, DirectSum::scatter(in, out, rank_, size_, comm_));
    }
    if (out.count > limit_) return reduce_scatter_in_parts(in, out, op);
    return queue("reduce_scatter", in, [=, this](auto& requests) {
      if (out.count == 0) return;
      const bool in_place = out.data == in.data;
      check_mpi(MPI_Ireduce_scatter_block(in_place ? MPI_IN_PLACE : in.data, out.data, static_cast<int>(out.count),
                                          mpi_type(in.dtype), operation(in.dtype, op), comm_, next(requests)),
                "reduce_scatter");
    });
  }

  Work all_to_all(Buffer in, Buffer out) override {
    require(in.count == out.count && in.count % size_ == 0, "all_to_all: equal counts, a multiple of the ranks");
    const size_t slice = in.count / size_;
    return queue("all_to_all", in, [=, this](auto& requests) {
      for (size_t first = 0; first < slice; first += limit_) {
        const int count = part(slice - first);
        const StridedType blocks(mpi_type(in.dtype), count, slice * size_of(in.dtype));
        check_mpi(MPI_Ialltoall(element_at(in, first), 1, blocks.type, element_at(out, first), 1, blocks.type, comm_, next(requests)),
                  "all_to_all");
      }
    });
  }

  // Messages between each two, which take counts beyond MPI's and need none for an empty part. Their tag keeps them
  // apart from those of send(), their order apart from those of the next such call.
  Work all_to_all_parts(Buffer in, const PartCounts& in_counts, Buffer out, const PartCounts& out_counts) override {
    require_parts(in, in_counts, out, out_counts, size_);
    return queue("all_to_all_parts", in, [=, this](auto& requests) {
      size_t sent = 0, received = 0;
      for (int rank = 0; rank < size_; ++rank) {
        const Buffer to{element_at(in, sent), in_counts[rank], in.dtype}, from{element_at(out, received), out_counts[rank], out.dtype};
        rank == rank_ ? copy_part(to, from) : exchange_parts(to, from, rank, requests);
        sent += to.count;
        received += from.count;
      }
    });
  }

  Work send(Buffer in, int to) override {
    return queue_message("send", in, [=, this](auto& requests) {
      for (size_t first = 0; first < std::max<size_t>(in.count, 1); first += limit_) {
        check_mpi(MPI_Isend(element_at(in, first), part(in.count - first), mpi_type(in.dtype), to, 0, comm_, next(requests)), "send");
      }
    });
  }

  Work receive(Buffer out, int from) override {
    return queue_message("receive", out, [=, this](auto& requests) {
      for (size_t first = 0; first < std::max<size_t>(out.count, 1); first += limit_) {
        check_mpi(MPI_Irecv(element_at(out, first), part(out.count - first), mpi_type(out.dtype), from, 0, comm_, next(requests)),
                  "receive");
      }
    });
  }

  void barrier() override {
    queue("barrier", {}, [this](auto& requests) { check_mpi(MPI_Ibarrier(comm_, next(requests)), "barrier"); }).wait();
  }

  std::unique_ptr<Communicator> split(int colour, int key) override {
    MPI_Comm part_comm = MPI_COMM_NULL;
    const auto blocking = [&](auto&) {
      check_mpi(MPI_Comm_split(comm_, colour, key, &part_comm), "split");
      return false;
    };
    submit("split", {}, MpiJob::alone, blocking).wait();
    return std::make_unique<MpiCommunicator>(part_comm, thread_, limit_, true);
  }

 private:
  // count elements, the next such block `stride` bytes further.
  struct StridedType {
    MPI_Datatype type = MPI_DATATYPE_NULL;
    StridedType(MPI_Datatype element, int count, size_t stride) {
      MPI_Datatype block;
      MPI_Type_contiguous(count, element, &block);
      MPI_Type_create_resized(block, 0, static_cast<MPI_Aint>(stride), &type);
      MPI_Type_commit(&type);
      MPI_Type_free(&block);
    }
    ~StridedType() { MPI_Type_free(&type); }  // MPI keeps it until calls that use it have ended
  };

  static MPI_Request* next(std::vector<MPI_Request>& requests) { return &requests.emplace_back(MPI_REQUEST_NULL); }
  int part(size_t left) const { return static_cast<int>(std::min(left, limit_)); }
  MPI_Op operation(Dtype dtype, ReduceOp op) const {
    if (dtype == Dtype::bfloat16) return bf16_.of(op);
    return op == ReduceOp::sum ? MPI_SUM : op == ReduceOp::max ? MPI_MAX : MPI_MIN;
  }

  static void copy_part(const Buffer& from, const Buffer& to) {
    if (from.count > 0) std::memcpy(to.data, from.data, from.bytes());
  }

  void exchange_parts(const Buffer& to, const Buffer& from, int rank, std::vector<MPI_Request>& requests) {
    constexpr int tag = 1;
    for (size_t first = 0; first < from.count; first += limit_) {
      check_mpi(MPI_Irecv(element_at(from, first), part(from.count - first), mpi_type(from.dtype), rank, tag, comm_,
                          next(requests)),
                "all_to_all_parts");
    }
    for (size_t first = 0; first < to.count; first += limit_) {
      check_mpi(MPI_Isend(element_at(to, first), part(to.count - first), mpi_type(to.dtype), rank, tag, comm_, next(requests)),
                "all_to_all_parts");
    }
  }

  static void require(bool good, const char* problem) {
    if (!good) throw Error(problem);
  }

  // A slice beyond MPI's counts: all ranks reduce the whole input in parts, then keep their own slice.
  Work reduce_scatter_in_parts(Buffer in, Buffer out, ReduceOp op) {
    Buffer whole = in;
    auto copy = std::make_shared<std::vector<std::byte>>(in.bytes());
    std::memcpy(copy->data(), in.data, in.bytes());
    whole.data = copy->data();
    all_reduce(whole, op).wait();
    std::memcpy(out.data, element_at(whole, out.count * rank_), out.bytes());
    return {};
  }

  Work queue_sum(const char* operation, const Buffer& buffer, DirectSum sum) {
    const auto post = [sum = std::make_shared<DirectSum>(std::move(sum))](auto& requests) { return sum->post(requests); };
    return submit(operation, buffer, lane_, post, MpiJob::Next::when_none_moves);
  }

  // A collective that posts everything at once.
  template <class Post>
  Work queue(const char* operation, const Buffer& buffer, Post post) {
    return submit(operation, buffer, lane_, at_once(std::move(post)));
  }

  // A collective whose `post` says whether there is more.
  template <class Post>
  Work queue_parts(const char* operation, const Buffer& buffer, Post post) {
    return submit(operation, buffer, lane_, std::move(post));
  }

  // A message between two ranks is held back by nothing: the other rank may wait for it.
  template <class Post>
  Work queue_message(const char* operation, const Buffer& buffer, Post post) {
    return submit(operation, buffer, MpiJob::no_lane, at_once(std::move(post)));
  }

  static MpiJob::Lane lane_of(MPI_Comm comm) { return MpiJob::no_lane + 1 + static_cast<MpiJob::Lane>(MPI_Comm_c2f(comm)); }

  template <class Post>
  static MpiJob::Post at_once(Post post) {
    return [post = std::move(post)](std::vector<MPI_Request>& requests) {
      post(requests);
      return false;
    };
  }

  Work submit(const char* operation, const Buffer& buffer, MpiJob::Lane lane, MpiJob::Post post,
              MpiJob::Next next = MpiJob::Next::while_one_moves) {
    auto job = std::make_shared<MpiJob>(str(operation, " of ", buffer.count, " ", name_of(buffer.dtype), " on rank ", rank_),
                                        lane, std::move(post), next);
    const Work work(job);
    thread_->submit(std::move(job));
    return work;
  }

  MPI_Comm comm_;
  std::shared_ptr<CommThread> thread_;
  size_t limit_;
  bool owned_;
  MpiJob::Lane lane_;
  int rank_ = 0, size_ = 1;
  Bf16Ops bf16_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm comm, std::shared_ptr<CommThread> thread,
                                                    size_t message_elements) {
  return std::make_unique<MpiCommunicator>(comm, std::move(thread), message_elements, false);
}

}  // namespace braid
