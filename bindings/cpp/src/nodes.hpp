// The cluster's nodes as this client knows them: where they are, and who leads.
//
// Owns the connections and the choice among them. None of it is needed for correctness: every node
// takes everything. It knows nothing of calls.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "connection.hpp"

namespace dkv {

class Nodes {
 public:
  Nodes(const std::vector<std::string>& endpoints, const Credentials* credentials);

  // The best node to ask now, or null if none is connected. Writes go to the leader, if it is known
  // and well; reads to one after the other, a node a turn.
  Connection* choose(bool write, const std::string& preferred, TimePoint now);
  void next_turn() { ++turn_; }
  // What a refusal said of the leader.
  void hint(const Failure& failure);
  void named(Connection& connection, const std::string& name);
  // Takes the result of `members`. Returns the connections that are no longer needed.
  std::vector<std::unique_ptr<Connection>> learn(const msgpack::object& members);
  // Whether the leader is known and connected.
  bool leader_found() const;
  // Why none of them answers, for a person.
  std::string trouble() const;

  std::vector<std::unique_ptr<Connection>>& all() { return connections_; }

 private:
  Connection* by_name(const std::string& name) const;
  bool has_address(const std::string& address) const;

  zmq::context_t context_;
  const Credentials* credentials_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::string leader_;
  std::size_t turn_ = 0;
};

}  // namespace dkv
