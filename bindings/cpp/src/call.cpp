#include "call.hpp"

#include <algorithm>

namespace dkv {
namespace {

constexpr int quick_retries = 3;
constexpr std::int64_t pause_ms_min = 20, pause_ms_max = 500;

}  // namespace

void Call::sent_as(std::uint64_t id, std::size_t position, TimePoint now) {
  state = State::in_flight;
  live = id;
  sent = now;
  ++unanswered;
  attempts.emplace_back(id, position);
  if (session) session->used = now;
}

Call::Verdict Call::refuse(const Failure& failure) {
  last = failure;
  if (failure.applied == "no") --unanswered;
  if (failure.code == "condition_failed" || failure.code == "invalid") {
    // The cluster has answered for this very sequence: earlier attempts did nothing either.
    unanswered = 0;
    return Verdict::settled;
  }
  if (failure.applied == "yes") return Verdict::settled;
  if (live != 0) return Verdict::wait;
  if (failure.applied == "unknown" && kind == Kind::single) return Verdict::settled;
  return failure.retry == "never" ? Verdict::settled : Verdict::again;
}

Milliseconds Call::pause(std::minstd_rand& random) {
  if (last.retry != "later" && ++quick <= quick_retries) return Milliseconds(0);
  const auto whole = std::min(pause_ms_max, pause_ms_min << std::min(slow++, 5));
  return Milliseconds(std::uniform_int_distribution<std::int64_t>(whole / 2, whole)(random));
}

Failure Call::outcome() const {
  Failure failure = last;
  const bool changes_nothing = kind == Kind::read || kind == Kind::control;
  if (changes_nothing || (unanswered == 0 && failure.applied != "yes")) {
    failure.applied = "no";
  } else if (failure.applied == "no") {
    failure.applied = "unknown";
    failure.words += " An earlier attempt may have been carried out: read before you repeat it.";
  }
  return failure;
}

}  // namespace dkv
