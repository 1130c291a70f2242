// SPDX-License-Identifier: Apache-2.0
#include "parallel/vocabulary_loss.h"

#include <algorithm>
#include <limits>

#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Calls work(first, count) with runs of rows whose copy in a wider type stays small: in the cache, on CPUs.
template <class Work>
void for_rows(const at::Tensor& logits, const Work& work) {
  const int64_t wanted = logits.is_cuda() ? int64_t{1} << 26 : int64_t{1} << 18;  // elements
  const int64_t rows = logits.size(0), step = std::max<int64_t>(1, wanted / std::max<int64_t>(1, logits.size(1)));
  for (int64_t first = 0; first < rows; first += step) work(first, std::min(step, rows - first));
}

at::ScalarType wide_type(const at::Tensor& logits) { return logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

// Of each row, [N]: the target's column here, 0 where it is elsewhere, and whether it is here.
struct TargetPlaces {
  at::Tensor column, here;
  TargetPlaces(const at::Tensor& targets, int64_t first, int64_t columns) {
    const at::Tensor place = targets - first;
    here = (place >= 0).logical_and_(place < columns);
    column = place.masked_fill(here.logical_not(), 0);
  }
};

// Of each row, [N] in the wide type; the same on all ranks once exchanged.
struct RowSums {
  at::Tensor max, total, at_target;
  at::Tensor preceded;  // above 0: an equal of the largest logit stands before the target
};

at::Tensor largest_of_all(const at::Tensor& here, Communicator& comm) {
  const at::Tensor all = here.clone();
  comm.all_reduce(buffer_of(all), ReduceOp::max).wait();
  return all;
}

struct Exchange {
  at::Tensor sums;  // [3 N + 1] double: totals, targets' logits, equals before them, and how many logits are not finite
  at::Tensor row(int64_t which, int64_t rows) const { return sums.narrow(0, which * rows, rows); }
  at::Tensor nonfinite() const { return sums.narrow(0, sums.numel() - 1, 1); }
};

void add_exponentials(const at::Tensor& logits, const at::Tensor& max, const Exchange& exchange) {
  const at::ScalarType wide = wide_type(logits);
  for_rows(logits, [&](int64_t first, int64_t count) {
    const at::Tensor x = logits.narrow(0, first, count);
    exchange.nonfinite().add_(at::isfinite(x).logical_not_().sum());
    const at::Tensor powers = x.to(wide, false, true).sub_(max.narrow(0, first, count).unsqueeze(1)).exp_();
    exchange.row(0, logits.size(0)).narrow(0, first, count).copy_(powers.sum(1));
  });
}

RowSums sums_of_rows(const at::Tensor& logits, VocabularyPart part, const at::Tensor& targets, const TargetPlaces& places,
                     LossTotals& totals, Communicator& comm) {
  const int64_t rows = logits.size(0);
  const auto [here_max, here_first] = at::max(logits, 1);  // the first of equals
  const at::Tensor largest = here_max.to(wide_type(logits)), max = largest_of_all(largest, comm);
  const Exchange exchange{at::zeros({3 * rows + 1}, logits.options().dtype(at::kDouble))};
  add_exponentials(logits, max, exchange);
  const at::Tensor at_target = logits.gather(1, places.column.unsqueeze(1)).squeeze(1).to(at::kDouble);
  exchange.row(1, rows).copy_(at_target.masked_fill_(places.here.logical_not(), 0.0));
  exchange.row(2, rows).copy_((largest == max).logical_and_(here_first + part.first < targets));
  comm.all_reduce(buffer_of(exchange.sums), ReduceOp::sum).wait();
  totals.values.narrow(0, LossTotals::nonfinite, 1).add_(exchange.nonfinite());
  return {max, exchange.row(0, rows), exchange.row(1, rows), exchange.row(2, rows)};
}

// Returns the sum of the losses, [1] double.
at::Tensor add_losses(const RowSums& sums, const at::Tensor& targets, int64_t vocabulary, LossTotals& totals) {
  const at::Tensor counted = targets != -100, max = sums.max.to(at::kDouble);
  const at::Tensor known = (targets >= 0).logical_and_(targets < vocabulary);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor losses = (sums.total.log() - (sums.at_target - max)).masked_fill_(known.logical_not(), nan);
  const at::Tensor correct = (sums.at_target == max).logical_and_(sums.preceded == 0).logical_and_(known).logical_and_(
      sums.total == sums.total);
  const at::Tensor sum = losses.masked_fill_(counted.logical_not(), 0.0).sum().view({1});
  totals.values.narrow(0, LossTotals::loss, 1).add_(sum);
  totals.values.narrow(0, LossTotals::count, 1).add_(counted.sum());
  totals.values.narrow(0, LossTotals::correct, 1).add_(correct.sum());
  return sum;
}

// (softmax - onehot) * scale over the logits.
void to_gradient(const at::Tensor& logits, const RowSums& sums, const TargetPlaces& places, const at::Tensor& targets,
                 double scale) {
  const at::ScalarType wide = wide_type(logits);
  const at::Tensor counted = targets != -100;
  const at::Tensor factor = (scale / sums.total).to(wide), taken = places.here.to(wide) * scale;
  for_rows(logits, [&](int64_t first, int64_t count) {
    const auto part = [&](const at::Tensor& of_rows) { return of_rows.narrow(0, first, count).unsqueeze(1); };
    at::Tensor x = logits.narrow(0, first, count);
    const at::Tensor slope = x.to(wide, false, true).sub_(part(sums.max)).exp_().mul_(part(factor));
    slope.scatter_add_(1, part(places.column), part(taken).neg());
    x.copy_(slope.masked_fill_(part(counted).logical_not(), 0.0));
  });
}

struct VocabularyFunction : torch::autograd::Function<VocabularyFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& logits, const VocabularyPart* part,
                            const at::Tensor& targets, double scale, LossTotals* totals, Communicator* comm,
                            bool with_gradient) {
    const at::Tensor here = logits.detach();  // its memory is reused, which autograd is not to see
    const TargetPlaces places(targets, part->first, here.size(1));
    const RowSums sums = sums_of_rows(here, *part, targets, places, *totals, *comm);
    const at::Tensor loss = add_losses(sums, targets, part->vocabulary, *totals);
    if (with_gradient) {
      to_gradient(here, sums, places, targets, scale);
      ctx->saved_data["gradient"] = here;
    }
    return loss.sum() * scale;
  }

  static variable_list backward(AutogradContext* ctx, variable_list) {
    variable_list gradients(7);
    gradients[0] = ctx->saved_data["gradient"].toTensor();
    return gradients;
  }
};

}  // namespace

at::Tensor vocabulary_cross_entropy(const at::Tensor& logits, VocabularyPart part, const at::Tensor& targets, double scale,
                                    LossTotals& totals, Communicator& comm) {
  return VocabularyFunction::apply(logits, &part, targets, scale, &totals, &comm, at::GradMode::is_enabled());
}

}  // namespace braid
