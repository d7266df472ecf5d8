#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace injector {

/// A YAML document; keys keep their order.
using Yaml = nlohmann::ordered_json;

/// The documents of `text`, empty ones left out, with aliases and merge keys
/// (`<<`) resolved; of a key given twice the last counts. A plain scalar that
/// is `true`, `false`, empty, `null`, `~` or a decimal integer has that type,
/// any other is a string as written. A value with the tag `!reset` or
/// `!override` (compose's) becomes an object with the tag as its only key.
/// Throws Error naming `name` and the line if it is not YAML, or grows beyond a
/// million nodes.
std::vector<Yaml> ReadYaml(const std::string& text, const std::string& name);

/// `document` in block style, strings quoted where they would be read as
/// something else (in YAML 1.1 or 1.2).
std::string WriteYaml(const Yaml& document);

}  // namespace injector
