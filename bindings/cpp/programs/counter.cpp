// Counts by compare-and-put while nodes die, and says whether every acknowledged step is there.
//
// Each of `--counters` keys is incremented by a thread of its own. A step that was acknowledged
// counts as 1; one whose outcome is unknown is looked up before the next, as an application must.
// At the end each counter must be exactly what its thread expects: prints `exact` and ends with 0.

#include <cstdio>
#include <thread>

#include "arguments.hpp"

namespace {

using Clock = std::chrono::steady_clock;

struct Count {
  long acknowledged = 0, uncertain = 0, refused = 0;
  std::int64_t expected = 0, final = -1;
};

std::int64_t number_of(const std::optional<dkv::Item>& item) {
  return item ? std::stoll(item->value) : 0;
}

// Reads until it can: the cluster may be without a leader for longer than a call's deadline.
std::optional<dkv::Item> read(dkv::Client& kv, const std::string& key) {
  for (int tries = 0;; ++tries) {
    try {
      return kv.get(key);
    } catch (const dkv::Error&) {
      if (tries == 20) throw;
    }
  }
}

void step(dkv::Client& kv, const std::string& key, std::int64_t& revision, Count& count) {
  try {
    revision = kv.put(key, std::to_string(count.expected + 1), {.expected = revision});
    ++count.acknowledged;
    ++count.expected;
  } catch (const dkv::ConditionFailed&) {
    throw;  // nobody else writes this key: a step has happened twice, or one was lost
  } catch (const dkv::Rejected&) {
    ++count.refused;
  } catch (const dkv::Uncertain&) {
    ++count.uncertain;
    const auto item = read(kv, key);
    const auto found = number_of(item);
    if (found != count.expected && found != count.expected + 1) throw;
    count.expected = found;
    revision = item ? item->key_revision : 0;
  }
}

}  // namespace

int main(int count, char** words) {
  const auto given = read_arguments(count, words, {{"counters", 4}, {"seconds", 20}});
  dkv::Client kv(given.client);
  const auto end = Clock::now() + std::chrono::seconds(given.numbers.at("seconds"));
  std::vector<Count> counts(static_cast<std::size_t>(given.numbers.at("counters")));
  std::vector<std::thread> threads;
  for (std::size_t at = 0; at < counts.size(); ++at)
    threads.emplace_back([&, at] {
      auto& mine = counts[at];
      const auto key = "counter/" + std::to_string(at);
      try {
        const auto item = read(kv, key);
        auto revision = item ? item->key_revision : 0;
        mine.expected = number_of(item);
        while (Clock::now() < end) step(kv, key, revision, mine);
        mine.final = number_of(read(kv, key));
      } catch (const dkv::Error& error) {
        std::fprintf(stderr, "%s: %s\n", key.c_str(), error.what());
      }
    });
  for (auto& thread : threads) thread.join();
  bool exact = true;
  Count sum;
  for (const auto& it : counts) {
    exact = exact && it.expected == it.final;
    sum.acknowledged += it.acknowledged;
    sum.uncertain += it.uncertain;
    sum.refused += it.refused;
  }
  std::printf("%s: %ld acknowledged, %ld uncertain, %ld refused\n", exact ? "exact" : "NOT EXACT",
              sum.acknowledged, sum.uncertain, sum.refused);
  return exact ? 0 : 1;
}
