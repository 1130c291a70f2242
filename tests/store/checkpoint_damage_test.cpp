// SPDX-License-Identifier: Apache-2.0
// 500 single flipped bits and cuts anywhere in a checkpoint's files: each is found, named, and found before HDF5 opens
// the file. The linker sends the store's calls of H5Fopen through the counter here.
#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint_layouts.h"
#include "file_bytes.h"
#include "store/checkpoint_reader.h"
#include "temp_folder.h"
#include "thrown.h"

extern "C" {
hid_t __real_H5Fopen(const char* path, unsigned flags, hid_t access);
hid_t __wrap_H5Fopen(const char* path, unsigned flags, hid_t access);
}

namespace {
std::vector<std::string> opened;  // a hook of the linker has nowhere else to write
}

hid_t __wrap_H5Fopen(const char* path, unsigned flags, hid_t access) {
  opened.emplace_back(path);
  return __real_H5Fopen(path, flags, access);
}

namespace braid {
namespace {

constexpr int damages = 500;

struct Damage {
  std::string file, what, content;
};

class Damaged : public testing::Test {
 protected:
  Damaged() {
    std::mt19937 layout(3);
    std::vector<KnownTensor> tensors;
    for (uint32_t i = 0; i < 6; ++i) {
      tensors.push_back(known_tensor(str("model/blocks.", i, ".weight"), h5::Element::float32, {8 + i, 12}, i));
    }
    Manifest manifest;
    manifest.step = 40;
    manifest.state = {{"step", int64_t{40}}, {"recent_losses", std::vector<double>(64, 2.5)}};
    manifest.shards = write_random_shards(folder_.path(), tensors, 2, layout);
    write_manifest(folder_.path(), manifest);
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      files_.emplace_back(entry.path().string(), read_bytes(entry.path().string()));
    }
  }

  // Four of five are flipped bits; every byte of every file is as likely.
  Damage random_damage() {
    size_t bytes = 0;
    for (const auto& [path, content] : files_) bytes += content.size();
    size_t at = std::uniform_int_distribution<size_t>(0, bytes - 1)(chance_), file = 0;
    while (at >= files_[file].second.size()) at -= files_[file++].second.size();
    Damage damage{files_[file].first, "", files_[file].second};
    if (chance_() % 5 == 0) {
      damage.content.resize(at);
      damage.what = str("cut to ", at, " bytes");
    } else {
      const auto bit = static_cast<int>(chance_() % 8);
      damage.content[at] = static_cast<char>(damage.content[at] ^ (1 << bit));
      damage.what = str("bit ", bit, " of byte ", at, " flipped");
    }
    return damage;
  }

  TempFolder folder_;
  std::vector<std::pair<std::string, std::string>> files_;  // path and content
  std::mt19937 chance_{2026};
};

TEST_F(Damaged, FilesAreNamedAndNeverOpenedByHdf5) {
  EXPECT_NO_THROW(verify_checkpoint(folder_.path()));
  EXPECT_EQ(opened.back(), folder_ / manifest_name);  // the counter does count
  for (int i = 0; i < damages; ++i) {
    const Damage damage = random_damage();
    write_bytes(damage.file, damage.content);
    opened.clear();
    const std::string message = thrown_message([&] { verify_checkpoint(folder_.path()); });
    EXPECT_TRUE(message.starts_with(damage.file + ": ")) << damage.file << " " << damage.what << ": " << message;
    EXPECT_EQ(std::count(opened.begin(), opened.end(), damage.file), 0) << damage.file << " " << damage.what;
    for (const auto& [path, content] : files_) {
      if (path == damage.file) write_bytes(path, content);
    }
  }
  EXPECT_NO_THROW(verify_checkpoint(folder_.path()));
}

// Why the seal is there: without it most flips in HDF5's own bytes would pass.
TEST_F(Damaged, MetadataIsOftenReadByHdf5WithoutAnError) {
  int unnoticed = 0;
  for (int i = 0; i < 100; ++i) {
    const Damage damage = random_damage();
    if (!damage.file.ends_with(manifest_name) || damage.what.starts_with("cut")) continue;
    write_bytes(folder_ / "copy.h5", damage.content);
    unnoticed +=
        thrown_message([&] { h5::int_attribute(h5::File::open(folder_ / "copy.h5"), "step"); }) == "nothing was thrown";
  }
  EXPECT_GT(unnoticed, 10);
}

}  // namespace
}  // namespace braid
