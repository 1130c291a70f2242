// SPDX-License-Identifier: Apache-2.0
#include "data/byte_shards.h"

#include <filesystem>
#include <memory>

#include "data/token_shard_writer.h"

namespace braid {

namespace {

int64_t tokens_of(const std::vector<TextFile>& files, bool held_out) {
  int64_t bytes = 0;
  for (const TextFile& file : files) bytes += file.held_out == held_out ? file.bytes : 0;
  return bytes;
}

// All of one side's text, not yet under its final name. The shard's size, its digest and its documents rest on the
// sizes that were listed.
std::unique_ptr<TokenShardWriter> write_side(const std::string& path, const TextFolder& folder, bool held_out,
                                             TokenShardInfo info) {
  info.token_count = tokens_of(folder.files, held_out);
  info.split = held_out ? "held-out" : "train";
  std::vector<int64_t> documents;
  int64_t start = 0;
  for (const TextFile& file : folder.files) {
    if (file.held_out != held_out) continue;
    documents.push_back(start);
    start += file.bytes;
  }
  auto writer = std::make_unique<TokenShardWriter>(path, info, documents);
  for (const TextFile& file : folder.files) {
    if (file.held_out != held_out) continue;
    read_text(folder.path, file,
              [&](std::string_view piece) { writer->append(piece.data(), static_cast<int64_t>(piece.size())); });
  }
  return writer;
}

}  // namespace

TextShardResult build_byte_shards(const std::string& text_folder, const std::string& out_folder,
                                  const TextFolderOptions& options) {
  const TextFolder folder = open_text_folder(text_folder, options);
  TokenShardInfo info;
  info.source = std::filesystem::path(text_folder).filename().string();
  info.listing = folder.listing;
  const std::string train_path = out_folder + "/train.h5", held_out_path = out_folder + "/held-out.h5";
  TextShardResult result{static_cast<int64_t>(folder.files.size()), tokens_of(folder.files, false),
                         tokens_of(folder.files, true), false};
  if (is_shard_of(train_path, info.listing) && is_shard_of(held_out_path, info.listing)) return result;
  make_shard_folder(out_folder);
  const auto train = write_side(train_path, folder, false, info);
  const auto held_out = write_side(held_out_path, folder, true, info);
  held_out->finish();  // before train.h5, by which a folder of shards is known
  train->finish();
  result.built = true;
  return result;
}

}  // namespace braid
