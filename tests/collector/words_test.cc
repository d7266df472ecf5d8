#include "collector/verdict/words.h"

#include <gtest/gtest.h>

#include "collector/verdict/json_access.h"

namespace collector {
namespace {

TEST(Words, PutCommasBetweenThousands) {
  EXPECT_EQ(Count(0), "0");
  EXPECT_EQ(Count(999), "999");
  EXPECT_EQ(Count(1000), "1,000");
  EXPECT_EQ(Count(-1234567.4), "-1,234,567");
  EXPECT_EQ(Count(-0.2), "0");
}

TEST(Words, GiveFiguresThreeDigits) {
  EXPECT_EQ(Figure(0.02), "0.02");
  EXPECT_EQ(Figure(1.23456), "1.23");
  EXPECT_EQ(Figure(7), "7");
  EXPECT_EQ(Figure(1234.5), "1,234");
}

TEST(Words, GiveBytesTheirUnit) {
  EXPECT_EQ(Bytes(0), "0 B");
  EXPECT_EQ(Bytes(-0.1), "0 B");
  EXPECT_EQ(Bytes(1023), "1023 B");
  EXPECT_EQ(Bytes(1024), "1 KiB");
  EXPECT_EQ(Bytes(2.204 * 1024), "2.2 KiB");
  EXPECT_EQ(Bytes(2.216 * 1024), "2.22 KiB");
  EXPECT_EQ(Bytes(100 * 1024), "100 KiB");
  EXPECT_EQ(Bytes(1048575), "1 MiB");
  EXPECT_EQ(Bytes(-5.5 * 1024 * 1024), "-5.5 MiB");
  EXPECT_EQ(Bytes(300.0 * 1024 * 1024), "300 MiB");
}

TEST(Words, GiveDurationsInTwoParts) {
  EXPECT_EQ(Duration(0), "0 s");
  EXPECT_EQ(Duration(45.0 / 3600), "45 s");
  EXPECT_EQ(Duration(0.2), "12 min");
  EXPECT_EQ(Duration(1 + 40.0 / 60), "1 h 40 min");
  EXPECT_EQ(Duration(2), "2 h");
  EXPECT_EQ(Duration(74), "3 days 2 h");
}

TEST(Words, PutUnitsInTheirNumber) {
  EXPECT_EQ(Units(1, "archive"), "1 archive");
  EXPECT_EQ(Units(2500, "archive"), "2,500 archives");
  EXPECT_EQ(Spoken("not_enough_data"), "not enough data");
}

TEST(Words, ShortenFilesToWhatAReaderKnows) {
  EXPECT_EQ(ShortFile("/v/lib/python3.11/site-packages/insights/core/dr.py"),
            "insights/core/dr.py");
  EXPECT_EQ(ShortFile("/tmp/x/overlay/insights/core/dr.py"),
            "insights/core/dr.py");
  EXPECT_EQ(ShortFile("insights/core/dr.py"), "insights/core/dr.py");
  EXPECT_EQ(ShortFile("/a/b.py"), "/a/b.py");
  EXPECT_EQ(ShortFile("b.py"), "b.py");
  EXPECT_EQ(ShortFile(""), "");
}

TEST(JsonAccess, FindsNullWhereThereIsNothing) {
  nlohmann::json value = {{"a", {1, {{"b", "text"}}}}, {"c", nullptr}};
  EXPECT_EQ(TextAt(value, "a/1/b"), "text");
  EXPECT_EQ(NumberAt(value, "a/0"), 1);
  for (const char* path : {"a/2", "a/-1", "a/x", "a/1/c", "c/d", "d", "a/0/b"})
    EXPECT_TRUE(At(value, path).is_null()) << path;
  EXPECT_EQ(NumberAt(value, "a/1/b"), std::nullopt);
}

}  // namespace
}  // namespace collector
