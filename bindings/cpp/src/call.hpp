// One call of the application, over all its attempts.
//
// Owns the arithmetic of outcomes: what a refusal of one attempt says of the call as a whole. An
// attempt that was sent and not answered `applied: no` may have happened, whatever later ones say.
// It knows nothing of sockets and nodes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "wire.hpp"

namespace dkv {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

// A session at the cluster. Its writes are numbered from 1; answers below `lowest` are forgotten.
struct Session {
  std::int64_t id = 0;
  Milliseconds ttl{0};
  TimePoint used;
  std::int64_t next = 1;
  std::set<std::int64_t> unsettled;

  std::int64_t lowest() const { return unsettled.empty() ? next : *unsettled.begin(); }
};

enum class Kind {
  read,     // changes nothing: may be sent at will
  write,    // in a session: may be sent at will, executed once
  control,  // opens or closes a session: may be sent at will
  single,   // a write without a session: sent again only after `applied: no`
};

enum class State { queued, for_session, paused, in_flight, settled };

struct Call {
  // Called once, from the engine's thread. A failure is Uncertain unless `applied` is "no".
  using Done = std::function<void(const Reply&)>;

  Kind kind = Kind::read;
  std::string command;
  TimePoint deadline;
  Done done;
  Level level = Level::linearizable;
  std::string node = {};  // whom to ask, if it can be: the one that gave the page before

  State state = State::queued;
  std::shared_ptr<Session> session = {};
  std::int64_t sequence = 0;
  std::vector<std::pair<std::uint64_t, std::size_t>> attempts = {};  // message id, position
  std::uint64_t live = 0;  // the attempt whose answer is awaited; older ones are silent or lost
  int unanswered = 0;      // attempts that may have happened
  TimePoint sent = {};
  TimePoint again = {};  // when paused: until when
  int quick = 0, slow = 0;
  Failure last = {};     // the latest refusal; no code: none
  bool counted = false;  // among the calls that the application has outstanding

  // An attempt has left.
  void sent_as(std::uint64_t id, std::size_t position, TimePoint now);

  enum class Verdict { settled, again, wait };
  // Takes a node's refusal of one attempt, which is no longer live.
  Verdict refuse(const Failure& failure);
  // How long to wait before the next attempt, after `last`.
  Milliseconds pause(std::minstd_rand& random);
  // What the whole call comes to if it ends with `last`.
  Failure outcome() const;
};

}  // namespace dkv
