#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

/// What the relay and the collector say to each other over the relay's stdin
/// and stdout. The relay greets with one line; after it all is frames, both
/// ways: a kind (one byte), the payload's length (four bytes, little-endian)
/// and the payload. One request at a time; the relay ends when its stdin does.
///
/// The greeting is a line so that whatever else a command prints (a banner, an
/// engine's error) can be told from it and shown.
namespace relay {

inline constexpr char kGreeting[] = "cyclescope-relay 1 ";  // And the version.

enum class Kind : char {
  // From the collector.
  kList = 'l',     // Which agents are there? Answered by kAgents.
  kRequest = 'q',  // "PID PIPE\n", then the agent's request line. PID: as the
                   // relay sees it, 0 for the only one; PIPE: 1 if the agent is
                   // to get a descriptor along with it, whose bytes are kData.
  // From the relay.
  kAgents = 'L',  // A line "PID NAME" for each.
  kData = 'D',    // Bytes that the agent wrote to its descriptor.
  kAnswer = 'A',  // A part of the agent's answer.
  kEnd = 'E',     // The answer is complete.
  kError = 'X',   // A sentence instead.
};

inline constexpr size_t kHeaderSize = 5;
/// The relay's frames are at most this long, requests at most 1 MiB.
inline constexpr size_t kLargestPart = 64 << 10;
inline constexpr size_t kLargestRequest = 1 << 20;

inline void AppendHeader(std::string& to, Kind kind, size_t length) {
  char header[kHeaderSize] = {static_cast<char>(kind)};
  for (size_t i = 0; i < 4; ++i)
    header[i + 1] = static_cast<char>(length >> (8 * i));
  to.append(header, sizeof header);
}

/// Of a whole header.
inline size_t Length(const char* header) {
  size_t length = 0;
  for (size_t i = 0; i < 4; ++i)
    length |= static_cast<size_t>(static_cast<unsigned char>(header[i + 1]))
              << (8 * i);
  return length;
}

}  // namespace relay
