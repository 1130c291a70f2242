// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_io.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/clock.h"
#include "base/error.h"
#include "comm/agreement.h"
#include "nn/precompiled.h"
#include "store/crc32c.h"
#include "store/posix_file.h"
#include "train/checkpointer.h"

namespace braid {

namespace {

namespace fs = std::filesystem;

constexpr size_t piece_bytes = 1 << 20, early_bytes = 8 << 20;

// A folder of its own for all ranks, gone at the end.
class Scratch {
 public:
  Scratch(World& world, const std::string& parent) : mine_(world.rank() == 0) {
    path_ = broadcast_text(world.host(), str(parent, "/braid-bench-io-", getpid()), 0);
    agree_on_root(world.host(), [&] {
      std::error_code problem;
      fs::create_directories(path_, problem);
      if (problem) throw UsageError(str(path_, ": cannot be created: ", problem.message()));
    });
  }
  ~Scratch() {
    std::error_code ignored;
    if (mine_) fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  bool mine_;
  std::string path_;
};

// Tensors like a transformer's, weights and moments, as many as fill a flat buffer (1 GiB: 12 layers of width 768);
// `copies` of them under names of their own, so that each of as many ranks stores the whole buffer while it has it once.
std::vector<StateTensor> transformer_like(const at::Tensor& flat, int copies) {
  const int64_t total = flat.numel(), width = total >= (int64_t{64} << 20) ? 768 : 64;
  const std::vector<std::pair<const char*, Extent>> parts = {
      {"attn.in.weight", {3 * width, width}}, {"attn.in.bias", {3 * width}},       {"attn.out.weight", {width, width}},
      {"attn.out.bias", {width}},             {"ln1.weight", {width}},             {"ff1.weight", {4 * width, width}},
      {"ff1.bias", {4 * width}},              {"ff2.weight", {width, 4 * width}},  {"ff2.bias", {width}},
      {"ln2.weight", {width}}};
  const int64_t of_block = 12 * width * width + 11 * width;
  const char* const kinds[] = {"model/", "optim/exp_avg/", "optim/exp_avg_sq/"};
  std::vector<StateTensor> all;
  for (int copy = 0; copy < copies; ++copy) {
    int64_t at = 0;
    const auto add = [&](const std::string& name, const Extent& shape) {
      const TensorSlice slice = whole_tensor(name, h5::Element::float32, shape);
      all.push_back({slice, flat.narrow(0, at, slice.count)});
      at += slice.count;
    };
    for (int64_t block = 0; at + of_block <= total; ++block) {
      for (const auto& [name, shape] : parts) {
        add(str(kinds[block % 3], "part", copy, ".blocks.", block / 3, ".", name), shape);
      }
    }
    if (at < total) add(str("model/part", copy, ".rest"), {total - at});
  }
  return all;
}

// Out of the page cache; what is dirty stays in it.
void forget(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw Error(str(path, ": cannot be opened: ", std::strerror(errno)));
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  close(descriptor);
}

void forget_folder(const std::string& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) forget(entry.path().string());
}

class IoBench {
 public:
  IoBench(World& world, const IoPlan& plan)
      : host_(world.host()),
        scratch_(world, plan.folder),
        source_(at::rand({std::max<int64_t>(plan.bytes / 4, 1)})),
        target_(at::zeros_like(source_)),
        tensors_(transformer_like(source_, host_.size())),
        checkpointer_({root(), {}, keep_all(), {}}, tensors_, host_),
        position_(TrainConfig{}) {}

  IoTiming first_save() {
    IoTiming timing;
    save(timing);
    remove_checkpoint();
    return timing;
  }

  // Another order in each round, so that neither always meets what the other has left behind.
  IoTiming round(int64_t number) {
    IoTiming timing;
    timing.round = number;
    if (number % 2 == 1) write_plainly(timing);
    save(timing);
    if (number % 2 == 0) write_plainly(timing);
    timing.memory_copy = timed([&] { std::memcpy(bytes_of_target(), source_.const_data_ptr(), bytes()); });
    timing.digest = timed([&] { digest_ = crc32c(source_.const_data_ptr(), bytes(), digest_); });
    read_all(timing);
    remove_checkpoint();
    if (host_.rank() == 0) fs::remove_all(scratch_.path() + "/plain");
    return timing;
  }

 private:
  size_t bytes() const { return source_.nbytes(); }
  std::byte* bytes_of_target() { return static_cast<std::byte*>(target_.mutable_data_ptr()); }
  std::string root() const { return checkpoints_of(scratch_.path()); }
  std::string newest() const { return checkpoint_path(root(), position_.step); }
  std::string plain_file(int rank) const { return str(scratch_.path(), "/plain/", rank); }
  static CheckpointConfig keep_all() {
    CheckpointConfig config;
    config.keep = std::numeric_limits<int64_t>::max();  // removing is not part of writing
    return config;
  }

  // Seconds of the slowest rank, after all have arrived.
  template <class Act>
  double timed(const Act& act) {
    host_.barrier();
    const Stopwatch watch;
    act();
    return slowest(watch.seconds());
  }

  double slowest(double seconds) {
    host_.all_reduce({&seconds, 1, Dtype::float64}, ReduceOp::max).wait();
    return seconds;
  }

  void save(IoTiming& timing) {
    ++position_.step;
    host_.barrier();
    timing.blocked = slowest(checkpointer_.stage(position_));
    timing.save = timed([&] {
      checkpointer_.launch();
      checkpointer_.finish();
    });
    const SaveReport report = checkpointer_.take_reports().at(0);
    if (!report.problem.empty()) throw AgreedError(report.problem, exit_failed);
  }

  void remove_checkpoint() {
    host_.barrier();
    if (host_.rank() == 0) fs::remove_all(newest());
  }

  void write_plainly(IoTiming& timing) {
    timing.plain_write = plain_write(false);
    timing.early_write = plain_write(true);
  }

  double plain_write(bool early) {
    const std::string folder = scratch_.path() + "/plain", path = plain_file(host_.rank());
    agree_on_root(host_, [&] {
      fs::remove_all(folder);
      fs::create_directory(folder);
    });
    return timed([&] {
      std::ofstream{path};
      PosixFile file = PosixFile::open_to_change(path);
      if (early) file.reserve(static_cast<int64_t>(bytes()));
      write_pieces(file, early);
      file.sync();
    });
  }

  void write_pieces(PosixFile& file, bool early) {
    const auto* data = static_cast<const std::byte*>(source_.const_data_ptr());
    for (size_t at = 0; at < bytes();) {
      const size_t piece = std::min(piece_bytes, bytes() - at);
      file.write(data + at, piece, static_cast<int64_t>(at));
      at += piece;
      if (early && at % early_bytes == 0) file.start_writing_out(static_cast<int64_t>(at - early_bytes), early_bytes);
    }
  }

  double plain_read() {
    return timed([&] {
      for (int rank = 0; rank < host_.size(); ++rank) {
        PosixFile file = PosixFile::open_to_read(plain_file(rank));
        file.expect_in_order();
        for (size_t at = 0; at < bytes(); at += piece_bytes) {
          file.read(bytes_of_target() + at, std::min(piece_bytes, bytes() - at), static_cast<int64_t>(at));
        }
      }
    });
  }

  double load() {
    return timed([&] {
      load_tensors(CheckpointReader(newest(), verify_checkpoint(newest(), host_.rank(), host_.size())), tensors_);
    });
  }

  void read_all(IoTiming& timing) {
    const auto both_forgotten = [&] {
      host_.barrier();
      if (host_.rank() != 0) return;
      forget_folder(scratch_.path() + "/plain");
      forget_folder(newest());
    };
    both_forgotten();
    if (timing.round % 2 == 1) timing.plain_read = plain_read();
    timing.load = load();
    if (timing.round % 2 == 0) timing.plain_read = plain_read();
    timing.plain_read_cached = plain_read();
    timing.load_cached = load();
  }

  Communicator& host_;
  Scratch scratch_;
  at::Tensor source_, target_;
  std::vector<StateTensor> tensors_;
  Checkpointer checkpointer_;
  RunPosition position_;
  uint32_t digest_ = 0;
};

}  // namespace

void bench_io(World& world, const IoPlan& plan, const std::function<void(const IoTiming&)>& tell) {
  const at::NoGradGuard no_gradient;
  IoBench bench(world, plan);
  tell(bench.first_save());
  for (int64_t number = 1; number <= plan.rounds; ++number) tell(bench.round(number));
}

}  // namespace braid
