#include "inspector/graph/strings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace heap {
namespace {

using namespace std::literals;

// The vectors of the authors' test_fnv.c.
TEST(Fnv32, MatchesTheAuthorsVectors) {
  EXPECT_EQ(Fnv32(""), 0x811c9dc5u);
  EXPECT_EQ(Fnv32("a"), 0xe40c292cu);
  EXPECT_EQ(Fnv32("foobar"), 0xbf9cf968u);
  EXPECT_EQ(Fnv32("\xff\x00\x00\x01"sv), 0xc48fb86du);
}

TEST(Fnv64, MatchesTheAuthorsVectors) {
  EXPECT_EQ(Fnv64(""), 0xcbf29ce484222325u);
  EXPECT_EQ(Fnv64("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(Fnv64("foobar"), 0x85944171f73967e8u);
  EXPECT_EQ(Fnv64("\xff\x00\x00\x01"sv), 0x6961196491cc682du);
}

TEST(Fnv64, GoesOnFromTheHashOfTheBeginning) {
  EXPECT_EQ(Fnv64("bar", Fnv64("foo")), Fnv64("foobar"));
}

TEST(TextBuffer, PutsPartsTogether) {
  TextBuffer<64> text;
  EXPECT_EQ(text.text(), "");
  text.Append("line ").Append(42).Append(" of ").Append(-7);
  text.Append(" at ").Append(0xbeef, 16);
  EXPECT_EQ(text.text(), "line 42 of -7 at beef");
}

TEST(TextBuffer, LeavesOutTheEndOfATextThatDoesNotFit) {
  TextBuffer<8> text;
  text.Append("abcde").Append("fghij");
  EXPECT_EQ(text.text(), "abcdefgh");
  text.Append("k");
  EXPECT_EQ(text.text(), "abcdefgh");
}

TEST(TextBuffer, IsFilledByATextThatJustFits) {
  TextBuffer<8> text;
  text.Append("abcd").Append("efgh");
  EXPECT_EQ(text.text(), "abcdefgh");
}

TEST(TextBuffer, TakesAnEmptyTextWithoutAnAddress) {
  TextBuffer<8> text;
  text.Append(std::string_view()).Append("a").Append(std::string_view());
  EXPECT_EQ(text.text(), "a");
}

TEST(TextBuffer, LeavesOutANumberThatDoesNotFit) {
  TextBuffer<8> text;
  text.Append("abcde").Append(1234);
  EXPECT_EQ(text.text(), "abcde");
  text.Append(123);
  EXPECT_EQ(text.text(), "abcde123");
  text.Append(0);
  EXPECT_EQ(text.text(), "abcde123");
}

TEST(TextBuffer, WritesTheLeastAndTheGreatestNumber) {
  TextBuffer<64> text;
  text.Append(INT64_MIN).Append(" ").Append(INT64_MAX);
  EXPECT_EQ(text.text(), "-9223372036854775808 9223372036854775807");
}

TEST(TextBuffer, LetsOthersWriteIntoIt) {
  TextBuffer<8> text;
  text.Append("ab");
  EXPECT_EQ(text.limit() - text.end(), 6);
  std::memcpy(text.end(), "cd", 2);
  text.set_end(text.end() + 2);
  EXPECT_EQ(text.Append("e").text(), "abcde");
}

TEST(AppendHex, KeepsLeadingZeroes) {
  TextBuffer<64> text;
  AppendHex(text, 0x2a, 8);
  text.Append(" ");
  AppendHex(text, 0xfedcba9876543210, 16);
  EXPECT_EQ(text.text(), "0000002a fedcba9876543210");
}

TEST(AppendHex, WritesTheLowDigits) {
  TextBuffer<64> text;
  AppendHex(text, 0x12345678, 4);
  EXPECT_EQ(text.text(), "5678");
}

TEST(StringTable, GivesTheEmptyTextNumberZero) {
  std::pmr::monotonic_buffer_resource memory;
  StringTable table(&memory);
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.Intern(""), 0u);
  EXPECT_EQ(table.Intern(std::string_view()), 0u);
  EXPECT_EQ(table.text(0), "");
  EXPECT_EQ(table.size(), 1u);
}

TEST(StringTable, KeepsEachTextOnce) {
  std::pmr::monotonic_buffer_resource memory;
  StringTable table(&memory);
  EXPECT_EQ(table.Intern("a"), 1u);
  EXPECT_EQ(table.Intern("b"), 2u);
  EXPECT_EQ(table.Intern("a"), 1u);
  EXPECT_EQ(table.size(), 3u);
  EXPECT_EQ(table.text(2), "b");
}

TEST(StringTable, KeepsACopy) {
  std::pmr::monotonic_buffer_resource memory;
  StringTable table(&memory);
  std::string text = "Parent";
  StringId id = table.Intern(text);
  text = "Parrot";
  EXPECT_EQ(table.text(id), "Parent");
  EXPECT_NE(table.Intern(text), id);
}

TEST(StringTable, HeedsZeroBytes) {
  std::pmr::monotonic_buffer_resource memory;
  StringTable table(&memory);
  StringId id = table.Intern("a\0b"sv);
  EXPECT_NE(table.Intern("a\0c"sv), id);
  EXPECT_NE(table.Intern("a"), id);
  EXPECT_NE(table.Intern("\0"sv), 0u);
  EXPECT_EQ(table.text(id), "a\0b"sv);
}

/// Short texts over three letters, so that many come again; now and then one
/// of some length.
std::string RandomText(std::mt19937& random) {
  std::string text(random() % (random() % 50 == 0 ? 300 : 9), '\0');
  for (char& letter : text) letter = "a\0\xff"[random() % 3];
  return text;
}

// Ten thousand texts take five doublings of the table, and every text is asked
// for again after them.
TEST(StringTable, MatchesAMapOnRandomTexts) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::pmr::monotonic_buffer_resource memory;
    StringTable table(&memory);
    std::map<std::string, StringId> expected = {{"", 0}};
    for (int i = 0; i < 30'000; ++i) {
      std::string text = RandomText(random);
      auto next = static_cast<StringId>(expected.size());
      StringId id = expected.emplace(text, next).first->second;
      ASSERT_EQ(table.Intern(text), id);
      ASSERT_EQ(table.size(), expected.size());
    }
    EXPECT_GT(expected.size(), 5000u);
    for (const auto& [text, id] : expected) {
      ASSERT_EQ(table.text(id), text);
      ASSERT_EQ(table.Intern(text), id);
    }
  }
}

TEST(StringTable, LeavesTextsInPlaceWhenItGrows) {
  std::pmr::monotonic_buffer_resource memory;
  StringTable table(&memory);
  std::string_view first = table.text(table.Intern("first"));
  for (int i = 0; i < 100'000; ++i) table.Intern(std::to_string(i));
  EXPECT_EQ(table.size(), 100'002u);
  EXPECT_EQ(table.text(table.Intern("first")).data(), first.data());
}

}  // namespace
}  // namespace heap
