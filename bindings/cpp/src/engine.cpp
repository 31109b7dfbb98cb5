#include "engine.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

namespace dkv {
namespace {

constexpr std::size_t batch_bytes_max = 64 * 1024, batch_requests_max = 1024;
constexpr std::size_t command_bytes_safe = (4 * 1024 - 64) * 1024;  // every node takes as many
constexpr std::int64_t session_window = 1024;
constexpr std::int64_t ttl_ms_max = 600'000;
constexpr Milliseconds tick_every{20}, idle_wait{1000};
constexpr Milliseconds silence{1500};  // after it, another node is asked
constexpr Milliseconds grace{250};     // a node answers at the deadline: wait for that
constexpr Milliseconds avoid_for{2000}, members_every{5000}, members_sooner{300};
constexpr Milliseconds present_timeout{5000}, members_timeout{2000}, closing_timeout{500};

std::int64_t rest_ms(TimePoint deadline, TimePoint now) {
  const auto rest = std::chrono::duration_cast<Milliseconds>(deadline - now).count();
  return std::clamp<std::int64_t>(rest, 1, ttl_ms_max);
}

Reply failed(Failure failure) { return {0, std::nullopt, nullptr, std::move(failure), 0, ""}; }

}  // namespace

Engine::Engine(const std::vector<std::string>& endpoints, std::optional<Credentials> credentials)
    : credentials_(std::move(credentials)),
      nodes_(endpoints, credentials_ ? &*credentials_ : nullptr),
      random_(std::random_device{}()) {
  int ends[2];
  if (pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  wake_read_ = ends[0];
  wake_write_ = ends[1];
  for (const int end : ends) {
    fcntl(end, F_SETFL, O_NONBLOCK);
    fcntl(end, F_SETFD, FD_CLOEXEC);
  }
  thread_ = std::thread([this] { run(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  (void)!write(wake_write_, "", 1);
  thread_.join();
  ::close(wake_read_);
  ::close(wake_write_);
}

void Engine::submit(CallRef call) {
  bool first = false, full = false;
  {
    const std::lock_guard lock(mutex_);
    full = outstanding_ >= outstanding_max;
    if (!full) {
      ++outstanding_;
      call->counted = true;
      first = submitted_.empty();
      submitted_.push_back(call);
    }
  }
  if (full)
    return call->done(failed({.code = "busy",
                              .retry = "later",
                              .words = "Too many calls are outstanding. Wait for some of them."}));
  if (first) (void)!write(wake_write_, "", 1);
}

void Engine::run() {
  while (!closing_ || closing_call_) {
    wait();
    now_ = Clock::now();
    hear();
    take();
    if (now_ >= next_tick_) tick();
    dispatch();
  }
}

void Engine::wait() {
  std::vector<zmq::pollitem_t> items{{nullptr, wake_read_, ZMQ_POLLIN, 0}};
  for (auto& it : nodes_.all()) it->poll_by(items);
  const auto most = active_.empty() ? idle_wait : tick_every;
  zmq_poll(items.data(), static_cast<int>(items.size()), most.count());  // a signal ends it: fine
  char bytes[64];
  while (read(wake_read_, bytes, sizeof bytes) > 0) {
  }
}

// Replies first, and only then what the monitor says: an answer that came before the connection
// ended is an answer.
void Engine::hear() {
  for (auto& it : nodes_.all()) {
    while (const auto frames = it->receive())
      read_message(*frames, [&](const Reply& reply) { answered(*it, reply); });
    const auto change = it->watch(now_, random_);
    if (change == Connection::Change::none) continue;
    lost(*it);
    if (change == Connection::Change::up && credentials_) present(*it);
  }
}

void Engine::take() {
  std::vector<CallRef> calls;
  bool stopping = false;
  {
    const std::lock_guard lock(mutex_);
    calls.swap(submitted_);
    stopping = stopping_;
  }
  for (auto& call : calls) {
    active_.emplace(call.get(), call);
    queue(call);
  }
  if (stopping && !closing_) begin_closing();
}

void Engine::tick() {
  next_tick_ = now_ + tick_every;
  if (members_) learn(members_->get());
  members_.reset();
  std::vector<CallRef> calls;
  calls.reserve(active_.size());
  for (auto& [_, call] : active_) calls.push_back(call);
  for (auto& call : calls) look_at(call);
  if (!nodes_.leader_found()) next_members_ = std::min(next_members_, now_ + members_sooner);
  if (!active_.empty() && now_ >= next_members_ && !closing_) ask_members();
}

void Engine::learn(const msgpack::object& members) {
  for (auto& gone : nodes_.learn(members)) lost(*gone);
  const auto* limits = find(members, "limits");
  const auto most = limits ? integer_of(*limits, "request_bytes_max").value_or(0) : 0;
  command_bytes_max_ = std::max(command_bytes_safe, static_cast<std::size_t>(most));
}

void Engine::look_at(const CallRef& call) {
  if (call->state == State::settled) return;
  if (now_ >= call->deadline + (call->live ? grace : Milliseconds(0))) return expire(call);
  if (call->state == State::paused && now_ >= call->again) return queue(call);
  if (!call->live || call->kind == Kind::single || now_ < call->sent + silence) return;
  in_flight_.connection_of(*call).avoid_until = now_ + avoid_for;
  next_members_ = std::min(next_members_, now_);
  unanswered(call, "timeout");
}

void Engine::dispatch() {
  nodes_.next_turn();
  std::map<Connection*, Batch> batches;
  std::deque<CallRef> held;
  for (auto calls = std::exchange(ready_, {}); auto& call : calls) {
    if (call->state != State::queued || now_ >= call->deadline) continue;
    if (command_bytes_max_ && call->command.size() > *command_bytes_max_) {
      call->last = {.code = "too_large", .words = "Too large to be sent. Store it in parts."};
      fail(call);
      continue;
    }
    auto* to = nodes_.choose(call->kind != Kind::read, call->node, now_);
    if (!to || !may_be_sent(call) || (call->kind == Kind::write && !number(call)))
      held.push_back(call);
    else
      add_to_batch(batches, *to, call);
  }
  for (auto& [to, batch] : batches) send(*to, batch);
  for (auto& call : held)
    if (call->state == State::queued) ready_.push_back(call);
}

// A node ends the connection on which too large a frame comes, and with it what others wait for.
// How large it may be, `members` says.
bool Engine::may_be_sent(const CallRef& call) const {
  return command_bytes_max_ || call->command.size() <= command_bytes_safe;
}

// Gives a write its place in the session; false if it must wait for that. A write keeps session and
// sequence for good: sent under a second session it could happen twice.
bool Engine::number(const CallRef& call) {
  if (call->sequence) return true;
  if (session_ && session_->unsettled.empty() && now_ > session_->used + session_->ttl / 2)
    session_.reset();  // idle for long: the cluster may have forgotten it
  if (!session_) {
    call->state = State::for_session;
    open_session(call->deadline);
    return false;
  }
  if (session_->next - session_->lowest() >= session_window) return false;
  call->session = session_;
  call->sequence = session_->next++;
  session_->unsettled.insert(call->sequence);
  return true;
}

// Once for all who wait; whoever may wait longer than the first asks again, if need be.
void Engine::open_session(TimePoint deadline) {
  if (opening_) return;
  opening_ = std::make_shared<Call>(Call{.kind = Kind::control,
                                         .command = Command("open_session").bytes(),
                                         .deadline = deadline,
                                         .done = [this](const Reply& reply) { opened(reply); }});
  active_.emplace(opening_.get(), opening_);
  queue(opening_);
}

void Engine::opened(const Reply& reply) {
  opening_.reset();
  const auto id = reply.result ? integer_of(*reply.result, "session").value_or(0) : 0;
  if (id > 0) {
    const auto ttl = integer_of(*reply.result, "ttl_ms").value_or(ttl_ms_max);
    session_ = std::make_shared<Session>(Session{id, Milliseconds(ttl), now_, 1, {}});
  }
  std::vector<CallRef> waiting;
  for (auto& [_, call] : active_)
    if (call->state == State::for_session) waiting.push_back(call);
  for (auto& call : waiting) {
    if (!reply.result) call->last = reply.failure;
    if (id > 0 || reply.failure.retry != "never")
      queue(call);
    else
      fail(call);
  }
}

void Engine::add_to_batch(std::map<Connection*, Batch>& batches, Connection& to,
                          const CallRef& call) {
  auto& batch = batches[&to];
  const bool too_long = batch.packed.size() + call->command.size() > batch_bytes_max;
  if (!batch.calls.empty() && (too_long || batch.calls.size() == batch_requests_max)) {
    send(to, batch);
    batch = Batch{};
  }
  Request request{.command = call->command,
                  .sequence = call->sequence,
                  .retry = call->unanswered > 0 && call->kind == Kind::write,
                  .ttl_ms = rest_ms(call->deadline, now_),
                  .level = call->level};
  if (call->session) {
    request.session = call->session->id;
    request.lowest = call->session->lowest();
  }
  pack(batch.packed, request);
  batch.calls.push_back(call);
}

void Engine::send(Connection& to, Batch& batch) {
  const auto id = in_flight_.new_id();
  const std::string_view packed(batch.packed.data(), batch.packed.size());
  if (to.send(frame(id, packed, batch.calls.size())))
    return in_flight_.add(id, to, now_, std::move(batch.calls));
  for (auto& call : batch.calls) {  // nothing has left: this was no attempt
    call->state = State::paused;
    call->again = now_ + tick_every;
  }
}

void Engine::present(Connection& to) {
  msgpack::sbuffer packed;
  const auto command = Command("present").bin("certificate", credentials_->certificate).bytes();
  pack(packed, {.command = command, .ttl_ms = present_timeout.count()});
  const auto id = in_flight_.new_id();
  if (!to.send(frame(id, {packed.data(), packed.size()}, 1))) return;
  to.presented = now_;
  in_flight_.add(id, to, now_, {});
}

void Engine::ask_members() {
  next_members_ = now_ + members_every;
  if (asking_members_) return;
  asking_members_ = true;
  auto call = std::make_shared<Call>(Call{.kind = Kind::read,
                                          .command = Command("members").bytes(),
                                          .deadline = now_ + members_timeout,
                                          .done = {}});
  call->done = [this](const Reply& reply) {
    asking_members_ = false;
    if (reply.result) members_ = msgpack::clone(*reply.result);
  };
  active_.emplace(call.get(), call);
  queue(call);
}

void Engine::begin_closing() {
  closing_ = true;
  std::vector<CallRef> calls;
  for (auto& [_, call] : active_) calls.push_back(call);
  for (auto& call : calls) {
    call->last = {.code = "lost", .words = "The client was closed before the answer came."};
    fail(call);
  }
  if (!session_) return;
  closing_call_ = std::make_shared<Call>(
      Call{.kind = Kind::control,
           .command = Command("close_session").bytes(),
           .deadline = now_ + closing_timeout,
           .done = [this](const Reply&) { closing_call_.reset(); },
           .session = session_});
  active_.emplace(closing_call_.get(), closing_call_);
  queue(closing_call_);
}

void Engine::answered(Connection& from, const Reply& reply) {
  const auto* message = in_flight_.find(from, reply.id);
  if (!message) return;
  if (!reply.node.empty()) from.name = reply.node;
  if (message->present()) {
    in_flight_.presented(reply.id);
    if (!reply.result && reply.failure.retry == "never") from.refusal = reply.failure;
    return;
  }
  const auto sent = message->sent;
  for (const auto& call : in_flight_.take(reply)) {
    if (reply.result)
      finish(call, reply);
    else
      refused(call, from, sent, reply.failure);
  }
}

void Engine::refused(const CallRef& call, Connection& from, TimePoint sent, Failure failure) {
  nodes_.hint(failure);
  if (failure.code == "certificate_needed") {
    if (from.refusal)
      failure = *from.refusal;  // it has seen the certificate, and will not have it
    else if (credentials_ && sent >= from.presented)
      present(from);
  }
  if (failure.retry == "other") from.avoid_until = now_ + avoid_for;
  if (failure.code == "session_lost" && call->session == session_) session_.reset();
  const auto verdict = call->refuse(failure);
  if (verdict == Call::Verdict::settled) return fail(call);
  // Whoever waits for a later attempt already, or for its turn, goes on waiting.
  if (verdict == Call::Verdict::wait || call->state != State::in_flight) return;
  const auto pause = call->pause(random_);
  if (pause.count() == 0) return queue(call);
  call->state = State::paused;
  call->again = now_ + pause;
}

void Engine::lost(Connection& connection) {
  for (const auto& call : in_flight_.lost(connection)) unanswered(call, "lost");
}

// The live attempt will not be answered, or not soon. It may have happened all the same.
void Engine::unanswered(const CallRef& call, const std::string& code) {
  call->live = 0;
  call->last = {.code = code,
                .retry = "same",
                .words = code == "lost" ? "The connection ended before the answer came."
                                        : "The node did not answer in time."};
  if (call->kind == Kind::single) return fail(call);
  queue(call);
}

void Engine::expire(const CallRef& call) {
  if (call->live || call->last.code.empty() || call->last.code == "lost")
    call->last = {.code = "timeout", .retry = "same", .words = nodes_.trouble()};
  if (call->state == State::for_session && opening_ && !opening_->last.code.empty())
    call->last = opening_->last;
  fail(call);
}

void Engine::queue(const CallRef& call) {
  call->state = State::queued;
  ready_.push_back(call);
}

void Engine::fail(const CallRef& call) { finish(call, failed(call->outcome())); }

void Engine::finish(const CallRef& call, const Reply& reply) {
  if (call->state == State::settled) return;
  call->state = State::settled;
  in_flight_.forget(*call);
  if (call->sequence) call->session->unsettled.erase(call->sequence);
  active_.erase(call.get());
  if (call->counted) {
    const std::lock_guard lock(mutex_);
    --outstanding_;
  }
  call->done(reply);
}

}  // namespace dkv
