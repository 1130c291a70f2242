// SPDX-License-Identifier: Apache-2.0
#include "comm/recording_communicator.h"

#include "base/error.h"

namespace braid {

namespace {

class RecordingCommunicator final : public Communicator {
 public:
  RecordingCommunicator(std::unique_ptr<Communicator> inner, std::shared_ptr<CollectiveRecorder> recorder,
                        const std::string& name, bool patient)
      : inner_(std::move(inner)),
        recorder_(std::move(recorder)),
        patient_(patient),
        channel_(recorder_->open(name, inner_->size(), patient)) {}
  ~RecordingCommunicator() override { recorder_->close(channel_); }

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  const char* backend() const override { return inner_->backend(); }

  Work all_reduce(Buffer inout, ReduceOp op) override {
    return record({"all_reduce", inout.count, inout.dtype}, [&] { return inner_->all_reduce(inout, op); });
  }
  Work all_gather(Buffer in, Buffer out) override {
    return record({"all_gather", in.count, in.dtype}, [&] { return inner_->all_gather(in, out); });
  }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override {
    return record({"reduce_scatter", in.count, in.dtype}, [&] { return inner_->reduce_scatter(in, out, op); });
  }
  Work broadcast(Buffer inout, int root) override {
    return record({"broadcast", inout.count, inout.dtype, root}, [&] { return inner_->broadcast(inout, root); });
  }
  Work all_to_all(Buffer in, Buffer out) override {
    return record({"all_to_all", in.count, in.dtype}, [&] { return inner_->all_to_all(in, out); });
  }
  Work all_to_all_parts(Buffer in, const PartCounts& in_counts, Buffer out, const PartCounts& out_counts) override {
    return record({"all_to_all_parts", in.count, in.dtype},
                  [&] { return inner_->all_to_all_parts(in, in_counts, out, out_counts); });
  }
  Work send(Buffer in, int to) override {
    return record({"send", in.count, in.dtype, to, true}, [&] { return inner_->send(in, to); });
  }
  Work receive(Buffer out, int from) override {
    return record({"receive", out.count, out.dtype, from, true}, [&] { return inner_->receive(out, from); });
  }
  void barrier() override {
    record({"barrier"}, [&] {
      inner_->barrier();
      return Work();
    });
  }

  std::unique_ptr<Communicator> split(int colour, int key) override {
    return split_as(colour, key, str("split-", ++splits_, "-", colour), patient_);
  }

  std::unique_ptr<Communicator> split_as(int colour, int key, const std::string& name, bool patient) {
    std::unique_ptr<Communicator> part;
    record({"split"}, [&] {
      part = inner_->split(colour, key);
      return Work();
    });
    return std::make_unique<RecordingCommunicator>(std::move(part), recorder_, recorder_->name(channel_) + "/" + name,
                                                   patient);
  }

  void abort() override { inner_->abort(); }

 private:
  template <class Act>
  Work record(const CollectiveRecorder::Call& call, const Act& act) {
    const auto ticket = recorder_->begin(channel_, call);
    try {
      Work work = act();
      recorder_->attach(ticket, work);
      return work;
    } catch (...) {
      recorder_->finish(ticket, CallState::failed);
      throw;
    }
  }

  std::unique_ptr<Communicator> inner_;
  std::shared_ptr<CollectiveRecorder> recorder_;
  bool patient_;
  CollectiveRecorder::Channel channel_;
  int splits_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> make_recording_communicator(std::unique_ptr<Communicator> inner,
                                                          std::shared_ptr<CollectiveRecorder> recorder,
                                                          const std::string& name) {
  return std::make_unique<RecordingCommunicator>(std::move(inner), std::move(recorder), name, false);
}

std::unique_ptr<Communicator> make_patient_split(Communicator& comm, const std::string& name) {
  auto* recording = dynamic_cast<RecordingCommunicator*>(&comm);
  if (!recording) return comm.split(0, comm.rank());
  return recording->split_as(0, comm.rank(), name, true);
}

}  // namespace braid
