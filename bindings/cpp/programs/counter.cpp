// Counts by compare-and-put while nodes die, and says whether every acknowledged step is there.
//
// Each of `--counters` keys is incremented by a thread of its own. A step that was acknowledged
// counts as 1; one whose outcome is unknown is looked up before the next, as an application must.
// Where the look-up does not show it, it is in doubt: it may yet be carried out, until the key has
// moved on. At the end each counter must be exactly what its thread expects: prints `exact` and
// ends with 0.

#include <cstdio>
#include <stdexcept>
#include <thread>

#include "arguments.hpp"

namespace {

using Clock = std::chrono::steady_clock;

// The cluster may be without a leader for longer than a call's deadline.
constexpr auto reading = std::chrono::seconds(30);

struct Tally {
  long acknowledged = 0, uncertain = 0, late = 0, refused = 0;
};

// One key, and what its thread believes of it.
class Counter {
 public:
  Counter(dkv::Client& kv, std::string key) : kv_(kv), key_(std::move(key)) {}

  Tally tally;
  bool exact = false;

  void run(Clock::time_point end) {
    try {
      is_at(read());
      while (Clock::now() < end) step();
      look();
      exact = true;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", key_.c_str(), error.what());
    }
  }

 private:
  struct Place {
    std::int64_t count = 0, revision = 0;
    bool operator==(const Place&) const = default;
  };

  void step() {
    try {
      const auto next = std::to_string(place_.count + 1);
      is_at({place_.count + 1, kv_.put(key_, next, {.expected = place_.revision})});
      ++tally.acknowledged;
    } catch (const dkv::ConditionFailed& error) {
      look();
      if (error.key_revision() != place_.revision) throw;
      ++tally.late;
    } catch (const dkv::Rejected&) {
      ++tally.refused;
    } catch (const dkv::Uncertain&) {
      ++tally.uncertain;
      in_doubt_ = true;
      look();
    }
  }

  // Where the key is. Nobody else writes it, and steps in doubt are all from one revision, so it
  // is where it was, or one step further.
  void look() {
    const auto found = read();
    if (found == place_) return;
    if (!in_doubt_ || found.count != place_.count + 1)
      throw std::runtime_error("it is " + told(found) + ", and should be " + told(place_) +
                               (in_doubt_ ? " or one step further" : ""));
    is_at(found);
  }

  // The key has moved on: what was in doubt is done, or never will be.
  void is_at(Place place) {
    place_ = place;
    in_doubt_ = false;
  }

  Place read() {
    for (const auto give_up = Clock::now() + reading;;) {
      try {
        const auto item = kv_.get(key_);
        return item ? Place{std::stoll(item->value), item->key_revision} : Place{};
      } catch (const dkv::Error&) {
        if (Clock::now() >= give_up) throw;
      }
    }
  }

  static std::string told(Place place) {
    return std::to_string(place.count) + " at " + std::to_string(place.revision);
  }

  dkv::Client& kv_;
  const std::string key_;
  Place place_;
  // Steps from this revision have an unknown outcome, and were not there when looked for.
  bool in_doubt_ = false;
};

}  // namespace

int main(int count, char** words) {
  const auto given = read_arguments(count, words, {{"counters", 4}, {"seconds", 20}});
  dkv::Client kv(given.client);
  const auto end = Clock::now() + std::chrono::seconds(given.numbers.at("seconds"));
  std::vector<Counter> counters;
  for (int at = 0; at < given.numbers.at("counters"); ++at)
    counters.emplace_back(kv, "counter/" + std::to_string(at));
  std::vector<std::thread> threads;
  for (auto& counter : counters) threads.emplace_back([&counter, end] { counter.run(end); });
  for (auto& thread : threads) thread.join();
  bool exact = true;
  Tally sum;
  for (const auto& it : counters) {
    exact = exact && it.exact;
    sum.acknowledged += it.tally.acknowledged;
    sum.uncertain += it.tally.uncertain;
    sum.late += it.tally.late;
    sum.refused += it.tally.refused;
  }
  std::printf("%s: %ld acknowledged, %ld uncertain (%ld of them done late), %ld refused\n",
              exact ? "exact" : "NOT EXACT", sum.acknowledged, sum.uncertain, sum.late,
              sum.refused);
  return exact ? 0 : 1;
}
