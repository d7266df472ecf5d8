#include "injector/yaml.h"

#include <gmock/gmock.h>

#include <random>

#include "injector/environment.h"

namespace injector {
namespace {

using testing::HasSubstr;

Yaml Read(const std::string& text) {
  std::vector<Yaml> documents = ReadYaml(text, "a.yml");
  EXPECT_EQ(documents.size(), 1u);
  return documents.at(0);
}

std::string Refusal(const std::string& text) {
  try {
    ReadYaml(text, "a.yml");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ReadYaml, PlainScalarsHaveTypesAndQuotedOnesDoNot) {
  EXPECT_EQ(Read("{a: true, b: 'true', c: 12, d: \"12\", e: ~, f: '', g: yes}"),
            (Yaml{{"a", true},
                  {"b", "true"},
                  {"c", 12},
                  {"d", "12"},
                  {"e", nullptr},
                  {"f", ""},
                  {"g", "yes"}}));
}

TEST(ReadYaml, WhatLooksLikeANumberOnlyAlmostStaysText) {
  EXPECT_EQ(
      Read("[007, 1.50, 1e3, 0x1F, 99999999999999999999, -, -4, 0]"),
      Yaml({"007", "1.50", "1e3", "0x1F", "99999999999999999999", "-", -4, 0}));
}

TEST(ReadYaml, MergeKeysGiveWhatTheMapDoesNotHave) {
  Yaml document = Read(
      "x: &x {a: 1, b: 1}\n"
      "y: &y {b: 2, c: 2}\n"
      "one:\n  b: 0\n  <<: *x\n"
      "both:\n  <<: [*x, *y]\n"
      "deep:\n  <<: &z {<<: *y, d: 4}\n");
  EXPECT_EQ(document["one"], (Yaml{{"b", 0}, {"a", 1}}));
  EXPECT_EQ(document["both"], (Yaml{{"a", 1}, {"b", 1}, {"c", 2}}));
  EXPECT_EQ(document["deep"], (Yaml{{"d", 4}, {"b", 2}, {"c", 2}}));
}

TEST(ReadYaml, WindowsLineEndsAndAByteOrderMarkAreNotPartOfTheText) {
  EXPECT_EQ(Read("\xEF\xBB\xBF"
                 "a: b\r\nc:\r\n  - d\r\n  - 'e'\r\n"),
            (Yaml{{"a", "b"}, {"c", {"d", "e"}}}));
}

TEST(ReadYaml, EmptyDocumentsAreLeftOut) {
  EXPECT_EQ(ReadYaml("---\na: 1\n---\n# nothing\n---\nb: 2\n", "x").size(), 2u);
  EXPECT_TRUE(ReadYaml("", "x").empty());
}

TEST(ReadYaml, TagsOfComposeAreKept) {
  Yaml document = Read("a: !reset null\nb: !override [x]\n");
  EXPECT_TRUE(document["a"].contains("!reset"));
  EXPECT_EQ(document["b"]["!override"], Yaml({"x"}));
}

TEST(ReadYaml, RefusesWithFileAndLine) {
  EXPECT_THAT(Refusal("a: 1\nb: [1, 2\nc: 3\n"), HasSubstr("a.yml line 3"));
  EXPECT_THAT(Refusal("a: 1\n<<: 3\n"), HasSubstr("a.yml line 2"));
}

TEST(ReadYaml, RefusesAliasesThatExplodeOrContainThemselves) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) bomb += (k ? ", " : "") + before;
    bomb += "]\n";
  }
  EXPECT_THAT(Refusal(bomb), HasSubstr("aliases"));
  EXPECT_THAT(Refusal("a: &a\n  b: *a\n"), HasSubstr("aliases"));
}

TEST(WriteYaml, IsReadable) {
  EXPECT_EQ(WriteYaml({{"services",
                        {{"app",
                          {{"volumes", {"/a:/b:ro,z"}},
                           {"list", Yaml::array({{{"a", 1}, {"b", "2"}}})},
                           {"none", nullptr},
                           {"empty", Yaml::object()}}}}}}),
            "services:\n"
            "  app:\n"
            "    volumes:\n"
            "      - /a:/b:ro,z\n"
            "    list:\n"
            "      - a: 1\n"
            "        b: \"2\"\n"
            "    none: null\n"
            "    empty: {}\n");
}

std::string RandomText(std::mt19937& random) {
  static const std::vector<std::string> kParts = {
      "a",  "yes",  "no", "null", "~", ":", ": ", " #", "#",   "'",  "\"",
      "\\", "\n",   "\t", " ",    "{", "}", "[",  "]",  "*",   "&",  "!",
      "|",  ">",    "%",  "@",    "`", "-", "- ", "?",  "0",   "12", "1e3",
      "$",  "${X}", "é",  "→",    ",", "=", "<<", ".5", "0x1", "\r", "/"};
  std::string text;
  for (size_t n = random() % 5; n > 0; --n) {
    text += kParts[random() % kParts.size()];
  }
  return text;
}

Yaml RandomTree(std::mt19937& random, int depth) {
  switch (random() % (depth > 3 ? 4 : 7)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<int>(random() % 2000) - 1000;
    case 3:
      return RandomText(random);
    case 4: {
      Yaml list = Yaml::array();
      for (size_t n = random() % 4; n > 0; --n) {
        list.push_back(RandomTree(random, depth + 1));
      }
      return list;
    }
    default: {
      Yaml map = Yaml::object();
      for (size_t n = random() % 4; n > 0; --n) {
        map[RandomText(random) + "k"] = RandomTree(random, depth + 1);
      }
      return map;
    }
  }
}

// Oracle: the reader, which is yaml-cpp's.
TEST(WriteYaml, IsReadAsWhatWasWrittenOnRandomTrees) {
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Yaml tree = {{"root", RandomTree(random, 0)}};
    SCOPED_TRACE(WriteYaml(tree));
    ASSERT_EQ(Read(WriteYaml(tree)), tree);
  }
}

}  // namespace
}  // namespace injector
