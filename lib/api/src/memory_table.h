// Records of the store, kept parsed in memory. Every read first takes up what was written since the last one
// (the store's watch, without waiting), so it never answers less than the store would.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bootseal/store/store.h"

namespace bootseal::api {

template <typename Record>
class MemoryTable {
 public:
  using Pointer = std::shared_ptr<const Record>;
  using Parse = std::function<Result<Record>(const store::Entry&)>;
  // Words a record is found by, beside its key: see labelled().
  using Labels = std::function<std::vector<std::string>(const Record&)>;

  // The entries whose key begins with `prefix`; keys of the table are what follows.
  MemoryTable(store::Store& store, std::string prefix, Parse parse, Labels labels = {})
      : store_(store), prefix_(std::move(prefix)), parse_(std::move(parse)), labels_(std::move(labels)) {}

  // nullptr when there is none. Errors of the store; corrupt for a record that cannot be read.
  Result<Pointer> get(const std::string& key) {
    const std::lock_guard lock(mutex_);
    BOOTSEAL_TRY_STATUS(refresh());
    const auto found = rows_.find(key);
    if (found == rows_.end()) return Pointer();
    return found->second;
  }

  // The records whose key begins with `begin`, in the order of their keys. A record that cannot be read fails
  // it.
  Result<std::vector<Pointer>> list(std::string_view begin = {}) {
    const std::lock_guard lock(mutex_);
    BOOTSEAL_TRY_STATUS(refresh());
    std::vector<Pointer> found;
    for (auto row = rows_.lower_bound(std::string(begin));
         row != rows_.end() && row->first.starts_with(begin); ++row) {
      BOOTSEAL_TRY(Pointer record, row->second);
      found.push_back(std::move(record));
    }
    return found;
  }

  // The records with this label, and of those the ones whose key begins with `begin`; in the order of their
  // keys.
  Result<std::vector<Pointer>> labelled(const std::string& label, std::string_view begin = {}) {
    const std::lock_guard lock(mutex_);
    BOOTSEAL_TRY_STATUS(refresh());
    std::vector<Pointer> found;
    const auto keys = by_label_.find(label);
    if (keys == by_label_.end()) return found;
    for (auto key = keys->second.lower_bound(std::string(begin));
         key != keys->second.end() && key->starts_with(begin); ++key) {
      BOOTSEAL_TRY(Pointer record, rows_.at(*key));
      found.push_back(std::move(record));
    }
    return found;
  }

 private:
  static constexpr std::size_t kPage = 1000;

  // Guarded by mutex_, as everything below.
  Status refresh() {
    if (!loaded_) return load();
    const auto changes = store_.watch(prefix_, revision_, std::chrono::milliseconds(0));
    if (!changes) {
      if (changes.error().code == ErrorCode::conflict) return load();
      return tl::unexpected(changes.error());
    }
    for (const store::Change& change : changes->changes) {
      const std::string key = change.key.substr(prefix_.size());
      remove(key);
      if (change.value) add(key, store::Entry{change.key, *change.value, 0, change.revision, {}});
    }
    revision_ = changes->revision;
    return {};
  }

  Status load() {
    rows_.clear();
    by_label_.clear();
    loaded_ = false;
    std::string after;
    for (bool first = true;; first = false) {
      BOOTSEAL_TRY(const store::Page page, store_.list(prefix_, kPage, after));
      if (first) revision_ = page.revision;  // what changes between the pages comes with the next refresh()
      for (const store::Entry& entry : page.entries) add(entry.key.substr(prefix_.size()), entry);
      if (!page.more) break;
      after = page.entries.back().key;
    }
    loaded_ = true;
    return {};
  }

  void add(const std::string& key, const store::Entry& entry) {
    auto parsed = parse_(entry);
    if (!parsed) {
      rows_.insert_or_assign(key, tl::unexpected(parsed.error()));
      return;
    }
    auto record = std::make_shared<const Record>(*std::move(parsed));
    if (labels_) {
      for (const std::string& label : labels_(*record)) by_label_[label].insert(key);
    }
    rows_.insert_or_assign(key, std::move(record));
  }

  void remove(const std::string& key) {
    const auto row = rows_.find(key);
    if (row == rows_.end()) return;
    if (labels_ && row->second) {
      for (const std::string& label : labels_(**row->second)) {
        const auto keys = by_label_.find(label);
        if (keys == by_label_.end()) continue;
        keys->second.erase(key);
        if (keys->second.empty()) by_label_.erase(keys);
      }
    }
    rows_.erase(row);
  }

  store::Store& store_;
  const std::string prefix_;
  const Parse parse_;
  const Labels labels_;
  std::mutex mutex_;
  bool loaded_ = false;
  store::Revision revision_ = 0;
  std::map<std::string, Result<Pointer>> rows_;
  std::unordered_map<std::string, std::set<std::string>> by_label_;
};

}  // namespace bootseal::api
