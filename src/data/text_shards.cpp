// SPDX-License-Identifier: Apache-2.0
#include "data/text_shards.h"

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "data/token_shard_writer.h"
#include "store/crc32c.h"
#include "store/posix_file.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

constexpr int64_t batch_bytes = 32 << 20;  // of text that is encoded at a time
constexpr size_t piece_bytes = 1 << 20;

// How many tokens there are is known only when all are encoded, and a shard wants to know it first: until then they
// wait in a file beside it.
class TokenSpool {
 public:
  TokenSpool(const std::string& path, int token_bytes)
      : file_(PosixFile::create(path)), token_bytes_(static_cast<size_t>(token_bytes)) {}
  ~TokenSpool() { remove_file(file_.path()); }
  TokenSpool(const TokenSpool&) = delete;
  TokenSpool& operator=(const TokenSpool&) = delete;

  void append(const std::vector<TokenId>& ids) {
    std::string bytes;
    for (const TokenId id : ids) bytes.append(reinterpret_cast<const char*>(&id), token_bytes_);  // little-endian
    file_.write(bytes.data(), bytes.size(), end_);
    end_ += static_cast<int64_t>(bytes.size());
  }
  int64_t tokens() const { return end_ / static_cast<int64_t>(token_bytes_); }
  void copy_to(TokenShardWriter& writer) const {
    std::string piece(piece_bytes, '\0');
    for (int64_t at = 0; at < end_; at += static_cast<int64_t>(piece.size())) {
      piece.resize(static_cast<size_t>(std::min<int64_t>(piece_bytes, end_ - at)));
      PosixFile::open_to_read(file_.path()).read(piece.data(), piece.size(), at);
      writer.append(piece.data(), static_cast<int64_t>(piece.size() / token_bytes_));
    }
  }

 private:
  PosixFile file_;
  size_t token_bytes_;
  int64_t end_ = 0;
};

class SideEncoder {
 public:
  SideEncoder(const TextFolder& folder, const Tokenizer& tokenizer, const TextShardOptions& options, TokenSpool& spool)
      : folder_(folder), tokenizer_(tokenizer), options_(options), spool_(spool) {}

  std::vector<int64_t> encode(bool held_out) {
    for (const TextFile& file : folder_.files) {
      if (file.held_out != held_out) continue;
      std::string& text = texts_.emplace_back();
      read_text(folder_.path, file, [&](std::string_view piece) { text += piece; });
      waiting_ += file.bytes;
      if (waiting_ >= batch_bytes) encode_waiting();
    }
    encode_waiting();
    return std::move(documents_);
  }

 private:
  void encode_waiting() {
    for (auto& ids : tokenizer_.encode_batch(texts_, options_.threads, SpecialTokens::leave_out)) {
      if (options_.end_of_text) ids.push_back(*options_.end_of_text);
      if (ids.empty()) continue;
      documents_.push_back(spool_.tokens());
      spool_.append(ids);
    }
    texts_.clear();
    waiting_ = 0;
  }

  const TextFolder& folder_;
  const Tokenizer& tokenizer_;
  const TextShardOptions& options_;
  TokenSpool& spool_;
  std::vector<std::string> texts_;
  std::vector<int64_t> documents_;
  int64_t waiting_ = 0;  // bytes in texts_
};

std::unique_ptr<TokenShardWriter> write_side(const std::string& path, const TextFolder& folder, bool held_out,
                                             const Tokenizer& tokenizer, const TextShardOptions& options,
                                             TokenShardInfo& info) {
  TokenSpool spool(path + ".tokens", info.token_bytes);
  const std::vector<int64_t> documents = SideEncoder(folder, tokenizer, options, spool).encode(held_out);
  info.token_count = spool.tokens();
  info.split = held_out ? "held-out" : "train";
  if (info.token_count == 0) throw UsageError(str(folder.path, ": its ", info.split, " text has no tokens"));
  auto writer = std::make_unique<TokenShardWriter>(path, info, documents);
  spool.copy_to(*writer);
  return writer;
}

// Stands for all that tokens depend on beside the text.
std::string digest_of(const Tokenizer& tokenizer, const TextShardOptions& options) {
  uint32_t crc = 0;
  int64_t bytes = 0;
  const fs::path path(tokenizer.file());
  const TextFile file{path.filename().string(), static_cast<int64_t>(fs::file_size(path)), 0, 0, false};
  read_text(path.parent_path().string(), file, [&](std::string_view piece) {
    crc = crc32c(piece.data(), piece.size(), crc);
    bytes += static_cast<int64_t>(piece.size());
  });
  return str(file.name, " crc32c ", crc, ", ", bytes, " bytes, end of text ",
             options.end_of_text ? str(*options.end_of_text) : "none");
}

}  // namespace

TextShardResult build_text_shards(const std::string& text_folder, const std::string& out_folder,
                                  const Tokenizer& tokenizer, const TextShardOptions& options) {
  const TextFolder folder = open_text_folder(text_folder, options.folder);
  TokenShardInfo info;
  info.vocabulary = tokenizer.vocabulary();
  info.token_bytes = info.vocabulary <= 1 << 16 ? 2 : 4;
  info.tokenizer = digest_of(tokenizer, options);
  info.source = fs::path(text_folder).filename().string();
  info.listing = folder.listing + ", " + info.tokenizer;
  const std::string train_path = out_folder + "/train.h5", held_out_path = out_folder + "/held-out.h5";
  TextShardResult result{static_cast<int64_t>(folder.files.size()), 0, 0, false};
  if (is_shard_of(train_path, info.listing) && is_shard_of(held_out_path, info.listing)) {
    result.train_tokens = read_token_shard_info(train_path).token_count;
    result.held_out_tokens = read_token_shard_info(held_out_path).token_count;
    return result;
  }
  make_shard_folder(out_folder);
  const auto train = write_side(train_path, folder, false, tokenizer, options, info);
  result.train_tokens = info.token_count;
  const auto held_out = write_side(held_out_path, folder, true, tokenizer, options, info);
  result.held_out_tokens = info.token_count;
  held_out->finish();  // before train.h5, by which a folder of shards is known
  train->finish();
  result.built = true;
  return result;
}

}  // namespace braid
