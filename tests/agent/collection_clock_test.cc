#include "inspector/agent/collection_clock.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>
#include <vector>

namespace inspector {
namespace {

/// A service whose collector is looked at whenever the clock wants to, with a
/// thread that comes a little late.
class Watched {
 public:
  /// Nothing happens until `until_us`, apart from turns that bring the next
  /// full collection nearer if `nears`.
  void Pass(int64_t until_us, bool nears = false) {
    Run(until_us, [&](CollectorMoment& moment, double share) {
      if (!nears) return;
      moment.nearness = share;
      moment.collections = collections_ + int64_t(100 * share);
    });
    if (nears) collections_ += 100;
  }
  void Collect(int64_t took_us, bool full = true) {
    Run(now_us_ + took_us,
        [](CollectorMoment& moment, double) { moment.collecting = true; });
    now_ = {false, ++collections_, now_.full_collections + (full ? 1 : 0), 0};
  }
  /// The thread is elsewhere.
  void Sleep(int64_t us) { look_us_ = now_us_ + us; }
  const PastCollections& past() {
    Look();
    return clock_.past();
  }
  int64_t now_us() const { return now_us_; }
  int64_t looks() const { return looks_; }

 private:
  template <typename Change>
  void Run(int64_t until_us, Change change) {
    int64_t from = now_us_;
    for (; std::max(look_us_, now_us_) < until_us; Look()) {
      now_us_ = std::max(look_us_, now_us_);
      change(now_, double(now_us_ - from) / double(until_us - from));
    }
    now_us_ = until_us;
    change(now_, 1);
  }
  void Look() {
    clock_.Look(now_us_, now_);
    look_us_ = clock_.next_us() + int64_t(random_() % 1000);
    ++looks_;
  }

  CollectionClock clock_;
  CollectorMoment now_;
  int64_t collections_ = 0;
  int64_t now_us_ = 5'000'000;
  int64_t look_us_ = 0;
  int64_t looks_ = 0;
  std::mt19937 random_{1};
};

TEST(CollectionClock, TimesWhatComesAfterItsNearness) {
  for (int64_t took_us : {200'000, 1'000'000, 30'000'000}) {
    SCOPED_TRACE(took_us);
    Watched watched;
    watched.Pass(watched.now_us() + 100'000'000, true);
    watched.Collect(took_us);
    const PastCollections& past = watched.past();
    EXPECT_EQ(past.measured, 1);
    EXPECT_EQ(past.missed, 0);
    EXPECT_LE(past.last_within_us, 60'000);
    EXPECT_NEAR(double(past.last_us), double(took_us),
                double(past.last_within_us));
    EXPECT_EQ(past.longest_us, past.last_us);
  }
}

TEST(CollectionClock, KnowsTheLongest) {
  Watched watched;
  for (int64_t took_us : {100'000, 400'000, 200'000}) {
    watched.Pass(watched.now_us() + 20'000'000, true);
    watched.Collect(took_us);
  }
  EXPECT_EQ(watched.past().measured, 3);
  EXPECT_NEAR(double(watched.past().longest_us), 400'000, 30'000);
  EXPECT_NEAR(double(watched.past().last_us), 200'000, 30'000);
}

TEST(CollectionClock, LooksSeldomWhileNothingHappens) {
  Watched watched;
  watched.Pass(watched.now_us() + 100'000'000);
  EXPECT_LE(watched.looks(), 1010);
}

TEST(CollectionClock, LooksSeldomOnALongWay) {
  Watched watched;
  watched.Pass(watched.now_us() + 3600'000'000, true);
  EXPECT_LE(watched.looks(), 36'200);
}

TEST(CollectionClock, IsNotFooledByYoungCollections) {
  Watched watched;
  for (int i = 0; i < 100; ++i) {
    watched.Pass(watched.now_us() + 20'000);
    watched.Collect(15'000, /*full=*/false);
  }
  EXPECT_EQ(watched.past().measured, 0);
  EXPECT_EQ(watched.past().missed, 0);
}

TEST(CollectionClock, CountsAsMissedWhatItDidNotSeeClosely) {
  Watched watched;
  watched.Pass(watched.now_us() + 1'000'000);
  watched.Sleep(5'000'000);
  watched.Collect(2'000'000);
  watched.Pass(watched.now_us() + 10'000'000);
  EXPECT_EQ(watched.past().measured, 0);
  EXPECT_EQ(watched.past().missed, 1);
}

// Whatever happens: every one is counted, and a measure is as right as it says.
TEST(CollectionClock, IsAsRightAsItSaysOnRandomLives) {
  int64_t measured = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Watched watched;
    int64_t full = 0;
    for (int i = 0; i < 30; ++i) {
      if (random() % 4 == 0) watched.Sleep(random() % 3'000'000);
      watched.Pass(watched.now_us() + 1 + random() % 60'000'000,
                   random() % 4 != 0);
      bool is_full = random() % 2 == 0;
      int64_t took = 1000 + random() % 500'000;
      if (random() % 2 == 0) took += random() % 5'000'000;
      int64_t before = watched.past().measured;
      watched.Collect(took, is_full);
      if (random() % 2 == 0) watched.Pass(watched.now_us() + 100'000);
      full += is_full;
      const PastCollections& past = watched.past();
      EXPECT_EQ(past.measured + past.missed, full);
      if (past.measured == before) continue;
      ASSERT_NEAR(double(past.last_us), double(took),
                  double(past.last_within_us) + 1);
    }
    measured += watched.past().measured;
  }
  EXPECT_GT(measured, 2000);
}

}  // namespace
}  // namespace inspector
