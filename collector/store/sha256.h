#pragma once

#include <string>
#include <string_view>

namespace collector {

/// SHA-256 of `bytes` as 64 lower-case hexadecimal digits. FIPS 180-4.
std::string Sha256(std::string_view bytes);

}  // namespace collector
