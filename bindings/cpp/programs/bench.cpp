// How many puts a second, with so many outstanding: `dkv-bench --outstanding 64 --seconds 3 ...`.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>

#include "arguments.hpp"

using Clock = std::chrono::steady_clock;

int main(int count, char** words) {
  const auto given =
      read_arguments(count, words, {{"outstanding", 64}, {"seconds", 3}, {"bytes", 64}});
  const std::string value(static_cast<std::size_t>(given.numbers.at("bytes")), 'v');
  const auto outstanding_max = static_cast<std::size_t>(given.numbers.at("outstanding"));
  try {
    dkv::Client kv(given.client);
    kv.put("bench/warm", value);
    struct Put {
      std::future<std::int64_t> revision;
      Clock::time_point begun;
    };
    std::deque<Put> outstanding;
    std::vector<double> latencies_ms;
    int errors = 0;
    const auto begun = Clock::now();
    const auto end = begun + std::chrono::seconds(given.numbers.at("seconds"));
    for (long n = 0; Clock::now() < end || !outstanding.empty();) {
      while (outstanding.size() < outstanding_max && Clock::now() < end)
        outstanding.push_back({kv.put_async("bench/" + std::to_string(n++ % 10000), value),
                               Clock::now()});
      if (outstanding.empty()) break;
      auto& oldest = outstanding.front();
      try {
        oldest.revision.get();
        const std::chrono::duration<double, std::milli> took = Clock::now() - oldest.begun;
        latencies_ms.push_back(took.count());
      } catch (const dkv::Error&) {
        ++errors;
      }
      outstanding.pop_front();
    }
    const std::chrono::duration<double> took = Clock::now() - begun;
    std::ranges::sort(latencies_ms);
    const auto done = static_cast<double>(latencies_ms.size());
    const auto at = [&](double share) {
      return done == 0 ? 0.0 : latencies_ms[static_cast<std::size_t>(share * (done - 1))];
    };
    std::printf("%.0f puts/s, %.0f done, %d errors, p50 %.1f ms, p99 %.1f ms\n",
                done / took.count(), done, errors, at(0.5), at(0.99));
    return errors > 0;
  } catch (const dkv::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
