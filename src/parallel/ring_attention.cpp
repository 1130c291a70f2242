// SPDX-License-Identifier: Apache-2.0
#include "parallel/ring_attention.h"

#include "nn/attention_part.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"
#include "parallel/zigzag.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// To the next rank, and as much from the one before, in one call: ranks that first all sent would wait for each other where
// calls run one after the other.
Work shift(const at::Tensor& to_next, const at::Tensor& from_previous, Communicator& comm) {
  const size_t ranks = size_t(comm.size()), rank = size_t(comm.rank()), count = size_t(to_next.numel());
  PartCounts to(ranks), from(ranks);
  to[(rank + 1) % ranks] = count;
  from[(rank + ranks - 1) % ranks] = count;
  return comm.all_to_all_parts(buffer_of(to_next), to, buffer_of(from_previous), from);
}

// Keys and values of one rank after the other, the own first, then that of the rank before, and so on.
class PassingKeys {
 public:
  PassingKeys(const at::Tensor& own, Communicator& comm) : here_(own), comm_(comm) {}

  const at::Tensor& here() const { return here_; }
  bool last() const { return passed_ == comm_.size() - 1; }
  int owner() const { return (comm_.rank() - passed_ + comm_.size()) % comm_.size(); }

  void start_next() {
    if (last()) return;
    next_ = at::empty_like(here_);
    work_ = shift(here_, next_, comm_);
  }
  void turn() {
    work_.wait();
    here_ = next_;
    ++passed_;
  }

 private:
  at::Tensor here_, next_;
  Communicator& comm_;
  Work work_;
  int passed_ = 0;
};

// Of a rank's keys the first that each query may see: [B, T], how many lie before its text.
at::Tensor first_seen(const at::Tensor& starts, int owner, int64_t ranks) {
  const int64_t tokens = starts.size(1);
  const std::vector<int64_t> chunks = zigzag_chunks(tokens * ranks, {owner, ranks});
  at::Tensor before = at::zeros_like(starts);
  for (const int64_t chunk : chunks) before += (starts - chunk).clamp(0, tokens / std::ssize(chunks));
  return before;
}

// What of a rank's queries sees what of passing keys. Of an earlier rank's, whose first chunk is before both of this one's and
// whose second is behind both, all queries see the first half; of a later rank's the second half of queries sees all. Of these
// keys none before `from`.
struct Sight {
  int64_t first_query, queries, keys;
  bool causal;
  at::Tensor from;

  Sight(int owner, const Communicator& comm, const at::Tensor& starts, int64_t tokens)
      : first_query(owner > comm.rank() ? tokens / 2 : 0),
        queries(tokens - first_query),
        keys(owner < comm.rank() ? tokens / 2 : tokens),
        causal(owner == comm.rank()) {
    if (starts.defined()) from = rows(first_seen(starts, owner, comm.size()));
  }
  at::Tensor rows(const at::Tensor& x) const { return x.narrow(1, first_query, queries); }   // of [B, T, H, d]
  at::Tensor sums(const at::Tensor& x) const { return x.narrow(2, first_query, queries); }   // of [B, H, T]
  at::Tensor seen(const at::Tensor& kv) const { return kv.narrow(1, 0, keys); }
};

at::Tensor queries_of(const at::Tensor& packed, int64_t heads) { return packed.narrow(2, 0, heads); }

at::Tensor keys_of(const at::Tensor& packed, int64_t heads) {
  return packed.narrow(2, heads, packed.size(2) - heads).contiguous();
}

// Gradients of keys on their way to the rank whose keys they are, each rank adding its share.
class PassingGradients {
 public:
  explicit PassingGradients(Communicator& comm) : comm_(comm) {}

  // `share`: this rank's, of the keys at hand; the same memory goes on.
  void add_and_pass(at::Tensor share) {
    if (arriving_.defined()) share.add_(arrived());
    leaving_ = std::move(share);
    arriving_ = at::empty_like(leaving_);
    work_ = shift(leaving_, arriving_, comm_);
  }
  const at::Tensor& arrived() {
    work_.wait();
    return arriving_;
  }

 private:
  Communicator& comm_;
  at::Tensor leaving_, arriving_;
  Work work_;
};

struct RingAttention : torch::autograd::Function<RingAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& packed, int64_t heads, Communicator* comm,
                            const std::optional<at::Tensor>& given) {
    const at::Tensor starts = given.value_or(at::Tensor());
    const at::Tensor q = queries_of(packed, heads);
    const AttentionSums sums = begin_attention(q);
    for (PassingKeys keys(keys_of(packed, heads), *comm);; keys.turn()) {
      keys.start_next();
      const Sight sight(keys.owner(), *comm, starts, packed.size(1));
      attend_to_part({sight.rows(sums.rows), sight.sums(sums.lse)}, sight.rows(q), sight.seen(keys.here()), sight.causal, sight.from);
      if (keys.last()) break;
    }
    const at::Tensor out = sums.rows.to(packed.scalar_type());
    ctx->save_for_backward({packed, out, sums.lse, starts});
    ctx->saved_data["heads"] = heads;
    ctx->saved_data["comm"] = reinterpret_cast<int64_t>(comm);
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &packed = saved[0], dout = gradients[0].contiguous();
    const int64_t heads = ctx->saved_data["heads"].toInt();
    auto& comm = *reinterpret_cast<Communicator*>(ctx->saved_data["comm"].toInt());
    const at::Tensor q = queries_of(packed, heads), &lse = saved[2], dots = row_dots(saved[1], dout);
    const at::Tensor dq = at::zeros(dout.sizes(), lse.options());
    at::Tensor own;
    PassingGradients passing(comm);
    for (PassingKeys keys(keys_of(packed, heads), comm);; keys.turn()) {
      keys.start_next();
      const Sight sight(keys.owner(), comm, saved[3], packed.size(1));
      const at::Tensor share = at::zeros(keys.here().sizes(), lse.options());
      add_part_gradient({sight.sums(lse), sight.rows(dout), sight.sums(dots)}, sight.rows(q), sight.seen(keys.here()),
                        sight.causal, sight.rows(dq), sight.seen(share), sight.from);
      own.defined() ? passing.add_and_pass(share) : void(own = share);
      if (keys.last()) break;
    }
    if (comm.size() > 1) own.add_(passing.arrived());
    at::Tensor dpacked = at::empty_like(packed);
    dpacked.narrow(2, 0, heads).copy_(dq);
    dpacked.narrow(2, heads, own.size(2)).copy_(own);
    return {dpacked, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor ring_attention(const at::Tensor& packed, int64_t heads, Communicator& comm, const at::Tensor& starts) {
  return RingAttention::apply(packed, heads, &comm, starts.defined() ? std::optional(starts) : std::nullopt);
}

}  // namespace braid
