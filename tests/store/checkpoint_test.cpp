// SPDX-License-Identifier: Apache-2.0
// Shards, manifest and reader: what one layout stored, any other loads, and what is incomplete or wrong is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "checkpoint_layouts.h"
#include "file_bytes.h"
#include "store/checkpoint_reader.h"
#include "store/crc32c.h"
#include "store/sealed_file.h"
#include "temp_folder.h"
#include "thrown.h"

namespace braid {
namespace {

namespace fs = std::filesystem;

std::vector<KnownTensor> tensors_of_every_type() {
  std::vector<KnownTensor> tensors;
  const std::vector<Extent> shapes = {{}, {1}, {300}, {7, 5}, {4, 3, 5}, {2, 3, 2, 4}};
  for (const h5::Element element : h5::all_elements) {
    const Extent& shape = shapes[tensors.size() % shapes.size()];
    tensors.push_back(known_tensor(str("model/part.", h5::element_name(element)), element, shape,
                                   static_cast<uint32_t>(tensors.size())));
  }
  tensors.push_back(known_tensor("model/large", h5::Element::bfloat16, {1100, 700}, 99));  // above one piece of writing
  return tensors;
}

Manifest manifest_of(std::vector<ShardRecord> shards) {
  Manifest manifest;
  manifest.step = 12;
  manifest.shards = std::move(shards);
  return manifest;
}

// One tensor of 6 floats in two shards of 3.
std::vector<ShardRecord> two_halves(const std::string& folder) {
  static const float values[6] = {0, 1, 2, 3, 4, 5};
  std::vector<ShardRecord> records;
  for (int64_t half = 0; half < 2; ++half) {
    TensorSlice slice = whole_tensor("w", h5::Element::float32, {2, 3});
    slice.first = 3 * half;
    slice.count = 3;
    const SliceData data{slice, reinterpret_cast<const std::byte*>(values + 3 * half)};
    records.push_back(write_shard(folder, {half, 2}, {}, {&data, 1}));
  }
  return records;
}

class Layouts : public testing::TestWithParam<int64_t> {};

TEST_P(Layouts, AreReadAtAnyOther) {
  std::mt19937 chance(static_cast<uint32_t>(GetParam()));
  const std::vector<KnownTensor> tensors = tensors_of_every_type();
  for (int round = 0; round < 6; ++round) {
    const TempFolder folder;
    write_manifest(folder.path(), manifest_of(write_random_shards(folder.path(), tensors, GetParam(), chance)));
    const CheckpointReader reader(folder.path(), verify_checkpoint(folder.path()));
    for (const KnownTensor& tensor : tensors) {
      for (const Cut cut : {Cut::whole, Cut::boxes, Cut::flat, Cut::flat_boxes}) {
        for (const TensorSlice& slice : cut_tensor(tensor.whole, cut, 1 + chance() % 5, chance)) {
          std::vector<std::byte> found(slice.bytes());
          reader.read(slice, found.data());
          ASSERT_EQ(found, part_of_tensor(tensor, slice)) << slice.name << " " << slice.first << " + " << slice.count;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shards, Layouts, testing::Values(1, 2, 3, 4));

TEST(Shard, IsNamedByItsIndexAndCount) {
  EXPECT_EQ((ShardName{0, 4}.file()), "shard-000-of-004.h5");
  EXPECT_EQ((ShardName{1023, 1024}.file()), "shard-1023-of-1024.h5");
}

TEST(Shard, SaysWhereEachSliceLiesAndWithWhichDigest) {
  const TempFolder folder;
  const ShardRecord record = two_halves(folder.path())[1];
  const std::string bytes = read_bytes(folder / record.file);
  EXPECT_EQ(record.bytes, std::ssize(bytes));
  EXPECT_EQ(record.crc, crc32c(bytes.data() + seal_bytes, bytes.size() - seal_bytes));
  const StoredSlice& stored = record.slices.at(0);
  const auto* values = reinterpret_cast<const float*>(bytes.data() + stored.offset);
  EXPECT_EQ(values[0], 3);
  EXPECT_EQ(values[2], 5);
  EXPECT_EQ(stored.crc, crc32c(values, 12));
  const h5::File file = h5::File::open(folder / record.file);
  const h5::Dataset dataset = h5::Dataset::open(file, "w");
  EXPECT_EQ(h5::text_attribute(dataset, "global_shape"), "2,3");
  EXPECT_EQ(h5::int_attribute(dataset, "first"), 3);
  EXPECT_EQ(h5::int_attribute(dataset, "crc32c"), int64_t{stored.crc});
}

TEST(Shard, RecordComesBackFromItsText) {
  const TempFolder folder;
  const ShardRecord record = two_halves(folder.path())[1], again = parse_shard_record(to_text(record));
  EXPECT_EQ(to_text(again), to_text(record));
  EXPECT_EQ(again.file, record.file);
  EXPECT_EQ(again.crc, record.crc);
  EXPECT_EQ(again.slices.at(0).slice.box, record.slices.at(0).slice.box);
  EXPECT_EQ(again.slices.at(0).offset, record.slices.at(0).offset);
}

TEST(Shard, ThatCannotBeWrittenLeavesNothing) {
  const TempFolder folder;
  fs::create_directory(folder / "sub");
  const float values[3] = {};
  std::vector<SliceData> slices;  // a tensor cannot be a folder of others, too
  for (const char* name : {"w", "w/inner"}) {
    slices.push_back({whole_tensor(name, h5::Element::float32, {3}), reinterpret_cast<const std::byte*>(values)});
  }
  EXPECT_TRUE(contains(thrown_message([&] { write_shard(folder / "sub", {}, {}, slices); }), "shard-000-of-001.h5"));
  EXPECT_TRUE(fs::is_empty(folder / "sub"));
  EXPECT_TRUE(contains(thrown_message([&] { write_shard(folder / "missing", {}, {}, {}); }), "No such file"));
}

TEST(Manifest, KeepsStateOfEveryKindAttributesAndStep) {
  const TempFolder folder;
  Manifest manifest = manifest_of(two_halves(folder.path()));
  manifest.attributes = {
      {"run_id", std::string("abc")}, {"world_size", int64_t{4}}, {"config", std::string(100'000 / 2, 'x')}};
  manifest.state = {{"integer", std::numeric_limits<int64_t>::min()},
                    {"number", 0.1},
                    {"infinite", std::numeric_limits<double>::infinity()},
                    {"text", std::string("Größe")},
                    {"empty text", std::string()},
                    {"integers", std::vector<int64_t>{1, -2, int64_t{1} << 62}},
                    {"no integers", std::vector<int64_t>{}},
                    {"numbers", std::vector<double>{0.1, -1e300}},
                    {"no numbers", std::vector<double>{}}};
  write_manifest(folder.path(), manifest);
  const Manifest found = read_manifest(folder.path());
  EXPECT_EQ(found.step, 12);
  EXPECT_EQ(found.state, manifest.state);
  EXPECT_EQ(found.text("run_id"), "abc");
  EXPECT_EQ(found.text("config"), std::string(50'000, 'x'));
  EXPECT_EQ(found.text("no such attribute"), "");
  EXPECT_EQ(found.bytes(), manifest.bytes());
  EXPECT_FALSE(found.created_utc.empty());
  EXPECT_EQ(state_int(found.state, "integer"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(state_doubles(found.state, "numbers"), (std::vector<double>{0.1, -1e300}));
  EXPECT_TRUE(contains(thrown_message([&] { state_int(found.state, "number"); }), "number"));
  EXPECT_TRUE(contains(thrown_message([&] { state_ints(found.state, "missing"); }), "/state has no missing"));
}

TEST(Manifest, KeepsNotANumber) {
  const TempFolder folder;
  Manifest manifest = manifest_of(two_halves(folder.path()));
  manifest.state["last_loss"] = std::nan("");
  write_manifest(folder.path(), manifest);
  EXPECT_TRUE(std::isnan(state_double(read_manifest(folder.path()).state, "last_loss")));
}

TEST(Manifest, OfShardsThatDoNotCoverATensorIsRefused) {
  const TempFolder folder;
  std::vector<ShardRecord> shards = two_halves(folder.path());
  shards.pop_back();
  EXPECT_EQ(thrown_message([&] { write_manifest(folder.path(), manifest_of(shards)); }),
            folder.path() + ": tensor w: 3 elements are stored, it has 6");
  EXPECT_FALSE(fs::exists(folder / manifest_name));
}

TEST(Manifest, OfSlicesThatDisagreeIsRefused) {
  const TempFolder folder;
  std::vector<ShardRecord> shards = two_halves(folder.path());
  shards[1].slices[0].slice.element = h5::Element::float64;
  EXPECT_TRUE(contains(thrown_message([&] { write_manifest(folder.path(), manifest_of(shards)); }),
                       "tensor w: its slices disagree on shape or type"));
}

// Puts another version into a file and seals it anew, as a newer program would write it.
void set_version(const std::string& path, int64_t version) {
  PosixFile file = PosixFile::open_to_change(path);
  Seal seal = read_seal(file);
  seal.version = version;
  write_seal(file, seal);
}

TEST(Checkpoint, OfANewerVersionIsAUsageErrorThatNamesBoth) {
  for (const char* name : {manifest_name, "shard-001-of-002.h5"}) {
    const TempFolder folder;
    write_manifest(folder.path(), manifest_of(two_halves(folder.path())));
    set_version(folder / name, 2);
    EXPECT_THROW(verify_checkpoint(folder.path()), UsageError);
    EXPECT_EQ(thrown_message([&] { verify_checkpoint(folder.path()); }),
              folder / name + ": format_version 2 is newer than this program's 1");
  }
}

TEST(Checkpoint, WithAShardOfAnotherSaveIsRefused) {
  const TempFolder folder, other;
  write_manifest(folder.path(), manifest_of(two_halves(folder.path())));
  const float values[3] = {9, 9, 9};
  TensorSlice slice = whole_tensor("w", h5::Element::float32, {2, 3});
  slice.first = slice.count = 3;
  const SliceData data{slice, reinterpret_cast<const std::byte*>(values)};
  write_shard(other.path(), {1, 2}, {}, {&data, 1});
  fs::copy_file(other / "shard-001-of-002.h5", folder / "shard-001-of-002.h5", fs::copy_options::overwrite_existing);
  EXPECT_EQ(thrown_message([&] { verify_checkpoint(folder.path()); }),
            folder / "shard-001-of-002.h5: not the shard that the manifest was written for");
}

TEST(Checkpoint, WithoutAShardOrAManifestIsRefusedByName) {
  const TempFolder folder;
  write_manifest(folder.path(), manifest_of(two_halves(folder.path())));
  fs::remove(folder / "shard-000-of-002.h5");
  for (int part = 0; part < 2; ++part) {  // whichever rank checks it
    EXPECT_TRUE(contains(thrown_message([&] { verify_checkpoint(folder.path(), part, 2); }), "shard-000-of-002.h5: "));
  }
  fs::remove(folder / manifest_name);
  EXPECT_TRUE(contains(thrown_message([&] { verify_checkpoint(folder.path()); }), "manifest.h5: "));
}

TEST(Checkpoint, IsCheckedInPartsThatTogetherReadEveryShard) {
  const TempFolder folder;
  write_manifest(folder.path(), manifest_of(two_halves(folder.path())));
  std::string bytes = read_bytes(folder / "shard-001-of-002.h5");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_bytes(folder / "shard-001-of-002.h5", bytes);
  EXPECT_NO_THROW(verify_checkpoint(folder.path(), 0, 2));
  EXPECT_THROW(verify_checkpoint(folder.path(), 1, 2), Error);
  EXPECT_THROW(verify_checkpoint(folder.path(), 0, 1), Error);
}

TEST(Reader, NamesATensorThatIsMissingOrOfAnotherKind) {
  const TempFolder folder;
  write_manifest(folder.path(), manifest_of(two_halves(folder.path())));
  const CheckpointReader reader(folder.path(), verify_checkpoint(folder.path()));
  EXPECT_TRUE(reader.has("w"));
  EXPECT_FALSE(reader.has("v"));
  std::vector<std::byte> out(100);
  const auto refused = [&](const std::string& name, h5::Element element, const Extent& shape) {
    return thrown_message([&] { reader.read(whole_tensor(name, element, shape), out.data()); });
  };
  EXPECT_EQ(refused("v", h5::Element::float32, {2, 3}), folder.path() + ": has no tensor v");
  EXPECT_EQ(refused("w", h5::Element::float32, {3, 2}),
            folder.path() + ": tensor w is float32 [2,3], expected float32 [3,2]");
  EXPECT_EQ(refused("w", h5::Element::bfloat16, {2, 3}),
            folder.path() + ": tensor w is float32 [2,3], expected bfloat16 [2,3]");
}

TEST(Reader, FindsASliceThatWasDamagedAfterItWasVerified) {
  const TempFolder folder;
  const std::vector<ShardRecord> shards = two_halves(folder.path());
  write_manifest(folder.path(), manifest_of(shards));
  const CheckpointReader reader(folder.path(), verify_checkpoint(folder.path()));
  std::string bytes = read_bytes(folder / shards[1].file);
  bytes[static_cast<size_t>(shards[1].slices[0].offset)] ^= 1;
  write_bytes(folder / shards[1].file, bytes);
  std::vector<std::byte> out(24);
  EXPECT_TRUE(contains(thrown_message([&] {
                         reader.read(whole_tensor("w", h5::Element::float32, {2, 3}), out.data());
                       }),
                       "shard-001-of-002.h5: damaged: the CRC-32C of tensor w does not fit"));
}

TEST(View, ShowsWholeTensorsAndNotANumberWhereAShardIsMissing) {
  const TempFolder folder;
  std::mt19937 chance(5);
  std::vector<KnownTensor> tensors = {known_tensor("model/a", h5::Element::int32, {6, 5}, 1),
                                      known_tensor("model/b", h5::Element::int32, {3, 4, 5}, 2)};
  write_manifest(folder.path(), manifest_of(write_random_shards(folder.path(), tensors, 3, chance)));
  for (const KnownTensor& tensor : tensors) {
    const h5::File file = h5::File::open(folder / manifest_name);
    std::vector<std::byte> found(tensor.bytes.size());
    h5::Dataset::open(file, "view/" + tensor.whole.name).read(H5T_NATIVE_INT32, found.data());
    EXPECT_EQ(found, tensor.bytes);
  }
  const TempFolder halves;
  write_manifest(halves.path(), manifest_of(two_halves(halves.path())));
  fs::remove(halves / "shard-000-of-002.h5");
  float values[6] = {};
  h5::Dataset::open(h5::File::open(halves / manifest_name), "view/w").read(H5T_NATIVE_FLOAT, values);
  EXPECT_TRUE(std::isnan(values[0]) && std::isnan(values[2]));
  EXPECT_EQ(values[3], 3);
}

}  // namespace
}  // namespace braid
