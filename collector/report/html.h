#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace collector {

/// Text as the content of an element or the value of a quoted attribute.
/// Control characters, which HTML forbids, become U+FFFD.
std::string Escape(std::string_view text);

/// A table of cells that are HTML already. The first row is its head; columns
/// named in `numbers` are aligned to the right.
class HtmlTable {
 public:
  HtmlTable(std::string caption, std::vector<std::string> head,
            size_t first_number, size_t last_number);
  void Add(std::vector<std::string> cells) {
    rows_.push_back(std::move(cells));
  }
  bool empty() const { return rows_.empty(); }
  size_t size() const { return rows_.size(); }
  /// In a box that scrolls sideways on a narrow screen.
  std::string Html() const;

 private:
  std::string caption_;
  std::vector<std::string> head_;
  size_t first_number_, last_number_;
  std::vector<std::vector<std::string>> rows_;
};

/// A part that is folded away until somebody opens it.
std::string Details(std::string_view summary, std::string_view html);

}  // namespace collector
