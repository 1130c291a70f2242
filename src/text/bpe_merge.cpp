// SPDX-License-Identifier: Apache-2.0
#include "text/bpe_merge.h"

#include <algorithm>
#include <utility>

namespace braid {

namespace {

constexpr size_t short_word = 48;  // symbols up to which a scan for the lowest rank beats a heap

void merge_short(const MergeTable& table, MergeScratch& scratch) {
  std::vector<TokenId>& ids = scratch.ids;
  std::vector<Merge>& merges = scratch.merges;
  merges.clear();
  for (size_t i = 0; i + 1 < ids.size(); ++i) merges.push_back(table.find(ids[i], ids[i + 1]));
  const auto lower = [](const Merge& a, const Merge& b) { return a.rank < b.rank; };
  while (!merges.empty()) {
    const auto lowest = std::min_element(merges.begin(), merges.end(), lower);  // the leftmost of equals
    if (!lowest->joins()) return;
    const auto at = static_cast<size_t>(lowest - merges.begin());
    ids[at] = lowest->result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    merges.erase(lowest);
    if (at > 0) merges[at - 1] = table.find(ids[at - 1], ids[at]);
    if (at < merges.size()) merges[at] = table.find(ids[at], ids[at + 1]);
  }
}

// A word of many symbols: a linked list, and a heap of merges that may have become impossible since they were offered.
class LongWord {
 public:
  LongWord(const MergeTable& table, MergeScratch& scratch)
      : table_(table), symbols_(scratch.symbols), heap_(scratch.heap) {
    symbols_.clear();
    heap_.clear();
    const auto count = static_cast<int32_t>(scratch.ids.size());
    for (int32_t i = 0; i < count; ++i) symbols_.push_back({scratch.ids[i], i - 1, i + 1 < count ? i + 1 : -1});
    for (int32_t i = 0; i < count; ++i) offer(i);
  }

  void merge() {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      const MergeScratch::Candidate best = heap_.back();
      heap_.pop_back();
      if (symbols_[best.at].id == no_token || symbols_[best.at].next < 0) continue;
      const Merge now = merge_at(best.at);
      if (now.joins() && now.result == best.result) join(best.at, best.result);
    }
  }

 private:
  static bool later(const MergeScratch::Candidate& a, const MergeScratch::Candidate& b) {
    return std::pair(a.rank, a.at) > std::pair(b.rank, b.at);
  }
  Merge merge_at(int32_t at) const { return table_.find(symbols_[at].id, symbols_[symbols_[at].next].id); }

  void offer(int32_t at) {
    if (at < 0 || symbols_[at].next < 0) return;
    const Merge merge = merge_at(at);
    if (!merge.joins()) return;
    heap_.push_back({merge.rank, at, merge.result});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  void join(int32_t at, TokenId result) {
    MergeScratch::Symbol &left = symbols_[at], &right = symbols_[left.next];
    left.id = result;
    left.next = right.next;
    right.id = no_token;
    if (left.next >= 0) symbols_[left.next].previous = at;
    offer(left.previous);
    offer(at);
  }

  const MergeTable& table_;
  std::vector<MergeScratch::Symbol>& symbols_;
  std::vector<MergeScratch::Candidate>& heap_;
};

void merge_long(const MergeTable& table, MergeScratch& scratch) {
  LongWord(table, scratch).merge();
  scratch.ids.clear();
  for (const MergeScratch::Symbol& symbol : scratch.symbols) {
    if (symbol.id != no_token) scratch.ids.push_back(symbol.id);
  }
}

}  // namespace

void merge_word(const MergeTable& table, MergeScratch& scratch) {
  scratch.ids.size() <= short_word ? merge_short(table, scratch) : merge_long(table, scratch);
}

}  // namespace braid
