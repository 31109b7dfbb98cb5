// What was sent and is not answered: under which id, to which node, for which calls.
//
// Owns the ids, each of which is used for one message only, so that a late reply is known for what it
// is. It never sends, and decides nothing of a call.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "connection.hpp"

namespace dkv {

using CallRef = std::shared_ptr<Call>;

class InFlight {
 public:
  struct Message {
    Connection* connection = nullptr;
    TimePoint sent = {};
    std::vector<CallRef> calls = {};  // by position; null: answered, or settled otherwise
    std::size_t left = 0;

    bool present() const { return calls.empty(); }
  };

  std::uint64_t new_id() { return ++last_id_; }
  // No calls: a `present`.
  void add(std::uint64_t id, Connection& to, TimePoint now, std::vector<CallRef> calls);
  // The message that a reply from this connection is of, or null.
  const Message* find(const Connection& from, std::uint64_t id) const;
  // A `present` is answered.
  void presented(std::uint64_t id) { messages_.erase(id); }
  // Takes the calls that a reply is of out of their message. An error without a position is that of
  // every request of an array. The message may be gone afterwards.
  std::vector<CallRef> take(const Reply& reply);
  // Forgets what was sent there. Returns the calls that wait for exactly that.
  std::vector<CallRef> lost(const Connection& connection);
  // The connection that a call's latest attempt went to.
  Connection& connection_of(const Call& call) { return *messages_.at(call.live).connection; }
  // A call that is settled waits for nothing more.
  void forget(const Call& call);

 private:
  CallRef take_one(std::uint64_t id, std::size_t position);

  std::unordered_map<std::uint64_t, Message> messages_;
  std::uint64_t last_id_ = 0;
};

}  // namespace dkv
