// SPDX-License-Identifier: Apache-2.0
// Token shards: what is written comes back at every width, and files that cannot be read safely are refused.
#include "data/token_shard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "data/token_shard_writer.h"
#include "data/token_windows.h"
#include "store/crc32c.h"
#include "store/h5.h"

namespace braid {
namespace {

namespace fs = std::filesystem;

class Shard : public testing::Test {
 protected:
  Shard() : folder_(testing::TempDir() + "braid-shard-" + std::to_string(getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Shard() override { fs::remove_all(folder_); }
  std::string path() const { return (folder_ / "s.h5").string(); }
  size_t files() const { return size_t(std::distance(fs::directory_iterator(folder_), {})); }

  // A shard as another program might write it, right but for what the test asks for.
  void foreign(h5::Element element, int64_t elements, int64_t token_count, int64_t version = 1,
               const std::string& format = "braid-tokens") const {
    h5::File file = h5::File::create(path(), h5::Exists::replace);
    for (const char* name : {"tokenizer", "split"}) h5::set_attribute(file, name, std::string("x"));
    h5::set_attribute(file, "format", format);
    h5::set_attribute(file, "format_version", version);
    h5::set_attribute(file, "vocabulary", int64_t{1000});
    h5::set_attribute(file, "token_count", token_count);
    h5::set_attribute(file, "crc32c", int64_t{0});
    const std::vector<int64_t> zeros(size_t(elements), 0);
    h5::create_contiguous(file, "tokens", element, elements).write(H5T_NATIVE_INT64, zeros.data());
  }

  // The message with which the shard is refused, or "".
  std::string refusal() const {
    try {
      const TokenShard shard(path());
      return "";
    } catch (const UsageError& error) {
      return error.what();
    }
  }
  fs::path folder_;
};

template <class Token>
class ShardOf : public Shard {};
using Widths = testing::Types<uint8_t, uint16_t, uint32_t>;
TYPED_TEST_SUITE(ShardOf, Widths);

TYPED_TEST(ShardOf, TokensWrittenInPiecesComeBack) {
  std::vector<TypeParam> tokens(5000);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = TypeParam(i * 2654435761u);
  TokenShardInfo info;
  info.token_bytes = sizeof(TypeParam);
  info.vocabulary = int64_t{1} << (8 * sizeof(TypeParam));
  info.token_count = int64_t(tokens.size());
  TokenShardWriter writer(this->path(), info);
  for (size_t first = 0; first < tokens.size(); first += 700) {
    writer.append(tokens.data() + first, int64_t(std::min<size_t>(700, tokens.size() - first)));
  }
  EXPECT_FALSE(fs::exists(this->path()));  // not before it is whole
  writer.finish();
  const TokenShard shard(this->path());
  EXPECT_EQ(shard.info().token_bytes, int(sizeof(TypeParam)));
  EXPECT_EQ(shard.info().crc, crc32c_table(tokens.data(), tokens.size() * sizeof(TypeParam)));
  EXPECT_TRUE(shard.verify());
  for (size_t i = 0; i < tokens.size(); ++i) ASSERT_EQ(shard.token(int64_t(i)), int64_t(tokens[i])) << i;
}

TEST_F(Shard, AWriterThatDoesNotFinishLeavesNothing) {
  TokenShardInfo info;
  info.token_count = 10;
  {
    TokenShardWriter writer(path(), info);
    writer.append("abcde", 5);
    EXPECT_THROW(writer.append("abcdef", 6), Error);  // one too many
    EXPECT_THROW(writer.finish(), Error);             // five too few
  }
  EXPECT_EQ(files(), 0u);
}

TEST_F(Shard, WidthsThatAreNotUnsignedTokensAreRefused) {
  for (const h5::Element element :
       {h5::Element::int32, h5::Element::int64, h5::Element::float32, h5::Element::float64}) {
    foreign(element, 100, 100);
    EXPECT_NE(refusal().find("expected one dimension of little-endian uint8"), std::string::npos) << refusal();
  }
  foreign(h5::Element::uint16, 100, 100);
  EXPECT_EQ(refusal(), "");
}

TEST_F(Shard, ATokenCountThatIsNotTheDatasetsIsRefused) {
  for (const int64_t count : {-5, 0, 99, 101}) {
    foreign(h5::Element::uint16, 100, count);
    EXPECT_NE(refusal().find("token_count: expected the 100 elements"), std::string::npos) << count << refusal();
  }
}

TEST_F(Shard, NewerAndForeignFormatsAreRefused) {
  foreign(h5::Element::uint8, 100, 100, token_shard_version + 1);
  EXPECT_NE(refusal().find("is newer than"), std::string::npos);
  foreign(h5::Element::uint8, 100, 100, 1, "other");
  EXPECT_NE(refusal().find("is not a token shard"), std::string::npos);
  std::ofstream(path()) << "not HDF5 at all";
  EXPECT_NE(refusal().find(path()), std::string::npos);
  fs::remove(path());
  EXPECT_NE(refusal().find("no such token shard"), std::string::npos);
}

TEST_F(Shard, ATokenOutsideOfTheVocabularyIsNamedBeforeAModelSeesIt) {
  std::vector<uint16_t> tokens(64, 299);
  tokens[40] = 300;
  TokenShardInfo info;
  info.token_bytes = 2;
  info.vocabulary = 300;
  info.token_count = 64;
  TokenShardWriter writer(path(), info);
  writer.append(tokens.data(), 64);
  writer.finish();
  const TokenWindows data(std::make_shared<TokenShard>(path()), "s", 16, 0, WindowOrder::sequential);
  EXPECT_EQ(gather(data, 0, 2).tokens[31], 299);
  try {
    gather(data, 2, 1);
    FAIL() << "token 300 was handed out";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("token 40 is 300, outside of its vocabulary of 300"), std::string::npos);
  }
}

}  // namespace
}  // namespace braid
