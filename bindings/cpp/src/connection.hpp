// One node's socket, and the monitor that tells how it fares.
//
// Owns the life of a DEALER: opened, shaken hands, lost, and replaced by a new one after a
// handshake that failed, for libzmq gives some of these up for good and never changes the key of a
// socket. It knows bytes, not requests.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "call.hpp"
#include "credentials.hpp"

namespace dkv {

class Connection {
 public:
  enum class Change { none, up, down };

  // `credentials`: null for a cluster without encryption.
  Connection(zmq::context_t& context, std::string address, const Credentials* credentials,
             bool configured);
  ~Connection();

  // Opens the socket where that is due, and reads what the monitor has noticed.
  Change watch(TimePoint now, std::minstd_rand& random);
  bool send(const std::string& frame);
  std::optional<std::vector<std::string>> receive();
  void poll_by(std::vector<zmq::pollitem_t>& items);
  bool ready() const { return phase_ == Phase::ready; }
  // Why it is not ready, for a person.
  std::string trouble() const;

  const std::string address;
  const bool configured;            // named by the application, not learned
  std::string name = {};            // the node's, once it has answered
  std::optional<Failure> refusal;   // it will not have our certificate
  TimePoint presented = {};
  TimePoint avoid_until = {};

 private:
  enum class Phase { closed, connecting, shaking, ready };
  enum class Trouble { unanswered, stranger, unopened };

  void open(TimePoint now);
  void connect();
  void shut();
  void close(TimePoint now, std::minstd_rand& random);
  Change notice(int event);

  zmq::context_t& context_;
  const Credentials* credentials_;
  zmq::socket_t socket_, monitor_;
  Phase phase_ = Phase::closed;
  Trouble trouble_ = Trouble::unanswered;
  TimePoint open_at_ = {};
  std::size_t key_ = 0;
  int failures_ = 0;
};

}  // namespace dkv
