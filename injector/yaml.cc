#include "injector/yaml.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <set>

#include "injector/environment.h"

namespace injector {

namespace {

/// Aliases are written out in full; these limits end documents that are made
/// to explode, or that contain themselves.
constexpr int kDeepest = 200;
constexpr int kMostNodes = 1'000'000;

class Reader {
 public:
  Yaml Read(const YAML::Node& node, int depth = 0) {
    if (depth > kDeepest || ++nodes_ > kMostNodes) {
      throw YAML::Exception(
          node.Mark(), "it is too deep or too large, maybe by its aliases");
    }
    const std::string& tag = node.Tag();
    if (tag == "!reset" || tag == "!override") {
      return Yaml{{tag, Untagged(node, depth)}};
    }
    return Untagged(node, depth);
  }

 private:
  Yaml Untagged(const YAML::Node& node, int depth) {
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        return Scalar(node);
      case YAML::NodeType::Sequence: {
        Yaml list = Yaml::array();
        for (const YAML::Node& item : node) {
          list.push_back(Read(item, depth + 1));
        }
        return list;
      }
      case YAML::NodeType::Map:
        return Map(node, depth);
      default:
        return nullptr;
    }
  }

  Yaml Map(const YAML::Node& node, int depth) {
    Yaml map = Yaml::object();
    Yaml merged = Yaml::object();
    for (const auto& entry : node) {
      const YAML::Node& key = entry.first;
      const YAML::Node& value = entry.second;
      if (!key.IsScalar()) {
        throw YAML::Exception(key.Mark(), "a key is not a plain word");
      }
      if (key.Scalar() == "<<" && key.Tag() != "!") {
        Merge(Read(value, depth + 1), merged, value.Mark());
      } else {
        map[key.Scalar()] = Read(value, depth + 1);
      }
    }
    for (auto& [key, value] : merged.items()) {
      if (!map.contains(key)) map[key] = std::move(value);
    }
    return map;
  }

  /// Of several maps to be merged the first that has a key counts.
  static void Merge(const Yaml& value, Yaml& merged, const YAML::Mark& where) {
    if (value.is_array()) {
      for (const Yaml& one : value) Merge(one, merged, where);
    } else if (value.is_object()) {
      for (const auto& [key, item] : value.items()) {
        if (!merged.contains(key)) merged[key] = item;
      }
    } else {
      throw YAML::Exception(where, "<< takes a map or a list of maps");
    }
  }

  static Yaml Scalar(const YAML::Node& node) {
    const std::string& text = node.Scalar();
    if (node.Tag() != "?") return text;  // Quoted, or tagged by hand.
    if (text.empty() || text == "null" || text == "~") return nullptr;
    if (text == "true") return true;
    if (text == "false") return false;
    size_t sign = text[0] == '-' ? 1 : 0;
    bool digits =
        text.size() > sign && text.size() < 19 &&
        std::all_of(text.begin() + static_cast<long>(sign), text.end(),
                    [](unsigned char c) { return std::isdigit(c) != 0; });
    bool octal = text.size() > sign + 1 && text[sign] == '0';
    if (digits && !octal) return std::stoll(text);
    return text;
  }

  int nodes_ = 0;
};

/// Whether the word needs no quotes anywhere in a block.
bool IsPlain(const std::string& text) {
  static const std::set<std::string> kOtherTypes = {
      "true", "false", "yes", "no", "on", "off", "y", "n", "null"};
  if (text.empty()) return false;
  unsigned char first = text[0];
  if (!std::isalpha(first) && first != '_' && first != '/') return false;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char c = text[i];
    if (std::isalnum(c) || (c != '\0' && std::strchr("_./-${}=,@+~()", c))) {
      continue;
    }
    // A colon ends a key where a space or nothing follows.
    if (c == ':' && i + 1 < text.size() && text[i + 1] != ' ') continue;
    return false;
  }
  std::string lower = text;
  for (char& c : lower) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return !kOtherTypes.contains(lower);
}

/// JSON's strings are YAML's double-quoted ones.
std::string Word(const std::string& text) {
  return IsPlain(text) ? text : Yaml(text).dump();
}

bool IsBlock(const Yaml& value) {
  return (value.is_object() || value.is_array()) && !value.empty();
}

/// Lines of `value`; `first` is what already stands before the first of them.
void Write(const Yaml& value, size_t indent, std::string first,
           std::string& text) {
  std::string margin(indent, ' ');
  if (!IsBlock(value)) {
    text += first + (value.is_string() ? Word(value) : value.dump()) + "\n";
    return;
  }
  if (value.is_array()) {
    for (const Yaml& item : value) {
      Write(item, indent + 2, first + "- ", text);
      first = margin;
    }
    return;
  }
  for (const auto& [key, item] : value.items()) {
    text += first + Word(key) + ":";
    if (IsBlock(item)) {
      text += "\n";
      Write(item, indent + 2, margin + "  ", text);
    } else {
      Write(item, 0, " ", text);
    }
    first = margin;
  }
}

}  // namespace

std::vector<Yaml> ReadYaml(const std::string& text, const std::string& name) {
  try {
    std::vector<Yaml> documents;
    Reader reader;
    for (const YAML::Node& node : YAML::LoadAll(text)) {
      Yaml document = reader.Read(node);
      if (!document.is_null()) documents.push_back(std::move(document));
    }
    return documents;
  } catch (const YAML::Exception& error) {
    std::string where;
    if (!error.mark.is_null()) {
      where = " line " + std::to_string(error.mark.line + 1);
    }
    throw Error(name + where + ": is not YAML that can be read: " + error.msg +
                "; mend the file");
  }
}

std::string WriteYaml(const Yaml& document) {
  std::string text;
  Write(document, 0, "", text);
  return text;
}

}  // namespace injector
