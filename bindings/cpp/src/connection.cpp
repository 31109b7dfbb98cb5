#include "connection.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace dkv {
namespace {

constexpr int heartbeat_ms = 1000, heartbeat_timeout_ms = 3000, handshake_ms = 2000;
constexpr int reconnect_ms = 50, reconnect_ms_max = 1000;
constexpr std::int64_t reply_bytes_max = 32 * 1024 * 1024;
constexpr std::int64_t reopen_ms_min = 50, reopen_ms_max = 1000;
constexpr int handshake_failed = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                                 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                 ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
constexpr int watched = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED |
                        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | handshake_failed;

}  // namespace

Connection::Connection(zmq::context_t& context, std::string address_,
                       const Credentials* credentials, bool configured_)
    : address(std::move(address_)),
      configured(configured_),
      context_(context),
      credentials_(credentials) {}

Connection::~Connection() { shut(); }

void Connection::open(TimePoint now) {
  try {
    connect();
    phase_ = Phase::connecting;
  } catch (const zmq::error_t&) {
    trouble_ = Trouble::unopened;
    shut();
    open_at_ = now + Milliseconds(reopen_ms_max);
  }
}

void Connection::connect() {
  static std::atomic<unsigned> opened = 0;
  const auto watcher = "inproc://dkv-monitor-" + std::to_string(++opened);
  socket_ = zmq::socket_t(context_, zmq::socket_type::dealer);
  socket_.set(zmq::sockopt::linger, 0);
  socket_.set(zmq::sockopt::immediate, true);
  socket_.set(zmq::sockopt::handshake_ivl, handshake_ms);
  socket_.set(zmq::sockopt::heartbeat_ivl, heartbeat_ms);
  socket_.set(zmq::sockopt::heartbeat_timeout, heartbeat_timeout_ms);
  socket_.set(zmq::sockopt::heartbeat_ttl, heartbeat_timeout_ms);
  socket_.set(zmq::sockopt::reconnect_ivl, reconnect_ms);
  socket_.set(zmq::sockopt::reconnect_ivl_max, reconnect_ms_max);
  socket_.set(zmq::sockopt::maxmsgsize, reply_bytes_max);
  if (credentials_) {
    const auto& keys = credentials_->server_keys;
    socket_.set(zmq::sockopt::curve_serverkey, keys[key_ % keys.size()]);
    socket_.set(zmq::sockopt::curve_publickey, credentials_->public_key);
    socket_.set(zmq::sockopt::curve_secretkey, credentials_->secret_key);
  }
  zmq_socket_monitor(socket_.handle(), watcher.c_str(), watched);
  monitor_ = zmq::socket_t(context_, zmq::socket_type::pair);
  monitor_.set(zmq::sockopt::linger, 0);
  monitor_.connect(watcher);
  socket_.connect("tcp://" + address);
}

// The monitor ends first: libzmq's thread waits for ever to tell an event to one that is gone.
void Connection::shut() {
  if (socket_.handle()) zmq_socket_monitor(socket_.handle(), nullptr, 0);
  monitor_.close();
  socket_.close();
}

void Connection::close(TimePoint now, std::minstd_rand& random) {
  shut();
  phase_ = Phase::closed;
  trouble_ = Trouble::stranger;
  ++key_;  // while the servers' pair is being replaced, the trust file names two
  const auto whole = std::min(reopen_ms_max, reopen_ms_min << std::min(failures_++, 5));
  open_at_ = now + Milliseconds(
                       std::uniform_int_distribution<std::int64_t>(whole / 2, whole)(random));
}

Connection::Change Connection::notice(int event) {
  if (event == ZMQ_EVENT_CONNECTED) {
    phase_ = Phase::shaking;
  } else if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
    phase_ = Phase::ready;
    failures_ = 0;
    refusal.reset();
    return Change::up;
  } else if (event == ZMQ_EVENT_CONNECT_RETRIED) {
    if (phase_ == Phase::connecting) trouble_ = Trouble::unanswered;
  } else if (phase_ == Phase::ready) {  // it was disconnected; libzmq connects again by itself
    phase_ = Phase::connecting;
    trouble_ = Trouble::unanswered;
    return Change::down;
  } else {  // disconnected before its hands were shaken, or told that they will not be
    phase_ = Phase::closed;
  }
  return Change::none;
}

Connection::Change Connection::watch(TimePoint now, std::minstd_rand& random) {
  Change change = Change::none;
  if (phase_ == Phase::closed) {
    if (now >= open_at_) open(now);
    return change;
  }
  zmq::message_t event, endpoint;
  while (phase_ != Phase::closed && monitor_.recv(event, zmq::recv_flags::dontwait)) {
    (void)monitor_.recv(endpoint, zmq::recv_flags::dontwait);
    std::uint16_t number = 0;
    if (event.size() >= sizeof number) std::memcpy(&number, event.data(), sizeof number);
    if (const auto next = notice(number); next != Change::none) change = next;
  }
  if (phase_ == Phase::closed) close(now, random);
  return change;
}

bool Connection::send(const std::string& frame) {
  if (!ready()) return false;
  return socket_.send(zmq::buffer(frame), zmq::send_flags::dontwait).has_value();
}

std::optional<std::vector<std::string>> Connection::receive() {
  if (phase_ == Phase::closed) return std::nullopt;
  std::vector<std::string> frames;
  zmq::message_t part;
  do {
    if (!socket_.recv(part, zmq::recv_flags::dontwait)) return std::nullopt;
    frames.push_back(part.to_string());
  } while (part.more());
  return frames;
}

void Connection::poll_by(std::vector<zmq::pollitem_t>& items) {
  if (phase_ == Phase::closed) return;
  items.push_back({socket_.handle(), 0, ZMQ_POLLIN, 0});
  items.push_back({monitor_.handle(), 0, ZMQ_POLLIN, 0});
}

std::string Connection::trouble() const {
  if (phase_ == Phase::ready) return address + " does not answer in time";
  if (trouble_ == Trouble::unopened)
    return "no socket can be opened to " + address + " (no address, or too many open files)";
  if (trouble_ == Trouble::unanswered) return "nothing answers at " + address;
  return "what listens at " + address +
         (credentials_ ? " does not prove the server key of the trust file"
                       : " is no node without encryption");
}

}  // namespace dkv
