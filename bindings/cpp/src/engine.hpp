// The client's thread: takes calls, sends attempts, hears replies, and ends every call.
//
// Owns the sockets (through Nodes), the session, and every call from its submission to its outcome.
// One turn: wait, read replies, note lost connections, look at the clock, send what is ready in one
// message a node. It knows nothing of what a command means.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "in_flight.hpp"
#include "nodes.hpp"

namespace dkv {

class Engine {
 public:
  static constexpr std::size_t outstanding_max = 16384;

  Engine(const std::vector<std::string>& endpoints, std::optional<Credentials> credentials);
  ~Engine();

  // From any thread. `call->done` is called once, from the engine's thread.
  void submit(CallRef call);

 private:
  struct Batch {
    msgpack::sbuffer packed;
    std::vector<CallRef> calls;
  };

  void run();
  void wait();
  void hear();
  void take();
  void tick();
  void learn(const msgpack::object& members);
  void look_at(const CallRef& call);
  void dispatch();

  bool may_be_sent(const CallRef& call) const;

  // session.
  bool number(const CallRef& call);
  void open_session(TimePoint deadline);
  void opened(const Reply& reply);

  // sending.
  void add_to_batch(std::map<Connection*, Batch>& batches, Connection& to, const CallRef& call);
  void send(Connection& to, Batch& batch);
  void present(Connection& to);
  void ask_members();
  void begin_closing();

  // outcomes.
  void answered(Connection& from, const Reply& reply);
  void refused(const CallRef& call, Connection& from, TimePoint sent, Failure failure);
  void lost(Connection& connection);
  void unanswered(const CallRef& call, const std::string& code);
  void expire(const CallRef& call);
  void queue(const CallRef& call);
  void finish(const CallRef& call, const Reply& reply);
  void fail(const CallRef& call);

  const std::optional<Credentials> credentials_;
  Nodes nodes_;
  std::minstd_rand random_;

  std::mutex mutex_;                 // guards the next three
  std::vector<CallRef> submitted_;
  std::size_t outstanding_ = 0;
  bool stopping_ = false;
  int wake_read_ = -1, wake_write_ = -1;

  TimePoint now_;
  TimePoint next_tick_ = {}, next_members_ = {};
  std::optional<std::size_t> command_bytes_max_;  // unknown until `members` has been answered
  bool asking_members_ = false, closing_ = false;
  CallRef opening_, closing_call_;
  std::optional<msgpack::object_handle> members_;  // learned, and not taken in yet
  std::shared_ptr<Session> session_;
  std::unordered_map<Call*, CallRef> active_;
  std::deque<CallRef> ready_;
  InFlight in_flight_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace dkv
