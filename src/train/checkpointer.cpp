// SPDX-License-Identifier: Apache-2.0
#include "train/checkpointer.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "base/clock.h"
#include "comm/recording_communicator.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr double cautious_bytes_per_second = 100e6;  // of a disk that nothing is known of yet

// Copies from a GPU are queued behind what computes the tensors; this waits for them, and for nothing queued later.
void wait_for_copies(const at::Device& device) {
  if (device.is_cpu()) return;
  c10::Event copied(device.type());
  copied.record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  copied.synchronize();
}

// That of a GPU where any tensor lies on one: masters and moments may be on the host.
at::Device device_of(const std::vector<StateTensor>& tensors) {
  for (const StateTensor& tensor : tensors) {
    if (!tensor.values.is_cpu()) return tensor.values.device();
  }
  return at::kCPU;
}

at::Tensor host_buffer(int64_t bytes, const at::Device& device) {
  return at::empty({bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(device.is_cuda()));
}

}  // namespace

Checkpointer::Checkpointer(CheckpointTask task, std::vector<StateTensor> tensors, Communicator& host)
    : tensors_(std::move(tensors)),
      share_(share_of(tensors_, host.rank(), host.size())),
      writer_(std::make_shared<CheckpointWriter>(std::move(task), make_patient_split(host, "checkpoint"))) {}

Checkpointer::~Checkpointer() {
  if (!thread_.joinable()) return;
  if (std::uncaught_exceptions() > 0 && writer_->ranks() > 1) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void Checkpointer::trust(int64_t step) {
  trusted_.push_back(step);
  committed_ = step;
}

void Checkpointer::distrust(int64_t step) {
  std::erase(trusted_, step);
  committed_ = trusted_.empty() ? -1 : trusted_.back();
}

double Checkpointer::estimated_seconds() const {
  return last_seconds_ >= 0 ? last_seconds_ : double(bytes_of(share_)) / cautious_bytes_per_second;
}

double Checkpointer::stage(const RunPosition& position) {
  const Stopwatch watch;
  finish();
  const at::NoGradGuard no_gradient;
  const at::Device device = device_of(tensors_);
  if (!buffer_.defined()) buffer_ = host_buffer(bytes_of(share_), device);
  staged_ = {position.step, to_state(position), {}, trusted_};
  auto* next = static_cast<std::byte*>(buffer_.mutable_data_ptr());
  for (const StateTensor& tensor : share_) {
    at::Tensor copy = at::from_blob(next, {tensor.slice.count}, tensor.values.options().device(at::kCPU));
    copy.copy_(tensor.values, true);
    staged_->slices.push_back({tensor.slice, next});
    next += tensor.slice.bytes();
  }
  wait_for_copies(device);
  return watch.seconds();
}

void Checkpointer::launch() {
  std::packaged_task<SaveReport()> save(
      [writer = writer_, buffer = buffer_, staged = std::move(*staged_)] { return writer->write(staged); });
  staged_.reset();
  under_way_ = save.get_future();
  thread_ = std::thread(std::move(save));
}

void Checkpointer::collect() {
  thread_.join();
  const SaveReport report = under_way_.get();
  failed_ = !report.problem.empty();
  if (!failed_) {
    trust(report.step);
    last_seconds_ = report.seconds;
  }
  reports_.push_back(report);
}

void Checkpointer::finish() {
  if (under_way_.valid()) collect();
}

std::vector<SaveReport> Checkpointer::take_reports() {
  if (under_way_.valid() && under_way_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) collect();
  return std::exchange(reports_, {});
}

}  // namespace braid
