#include "collector/report/html.h"

#include <fmt/format.h>

#include <utility>

namespace collector {

std::string Escape(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default: {
        auto code = static_cast<unsigned char>(c);
        if ((code < 0x20 && c != '\n' && c != '\t') || code == 0x7f)
          escaped += "\uFFFD";
        else
          escaped += c;
      }
    }
  }
  return escaped;
}

HtmlTable::HtmlTable(std::string caption, std::vector<std::string> head,
                     size_t first_number, size_t last_number)
    : caption_(std::move(caption)),
      head_(std::move(head)),
      first_number_(first_number),
      last_number_(last_number) {}

std::string HtmlTable::Html() const {
  auto align = [this](size_t column) {
    return column >= first_number_ && column <= last_number_ ? " class=\"n\""
                                                             : "";
  };
  std::string html = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"{0}\"><table><caption>{0}</caption>"
      "<thead><tr>",
      Escape(caption_));
  for (size_t i = 0; i < head_.size(); ++i)
    html +=
        fmt::format("<th scope=\"col\"{}>{}</th>", align(i), Escape(head_[i]));
  html += "</tr></thead><tbody>\n";
  for (const auto& row : rows_) {
    html += "<tr>";
    for (size_t i = 0; i < row.size(); ++i)
      html += fmt::format("<td{}>{}</td>", align(i), row[i]);
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string Details(std::string_view summary, std::string_view html) {
  return fmt::format("<details><summary>{}</summary>\n{}</details>\n",
                     Escape(summary), html);
}

}  // namespace collector
