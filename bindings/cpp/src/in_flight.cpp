#include "in_flight.hpp"

namespace dkv {

void InFlight::add(std::uint64_t id, Connection& to, TimePoint now, std::vector<CallRef> calls) {
  for (std::size_t at = 0; at < calls.size(); ++at) calls[at]->sent_as(id, at, now);
  const auto left = calls.size();
  messages_.emplace(id, Message{&to, now, std::move(calls), left});
}

const InFlight::Message* InFlight::find(const Connection& from, std::uint64_t id) const {
  const auto found = messages_.find(id);
  return found != messages_.end() && found->second.connection == &from ? &found->second : nullptr;
}

std::vector<CallRef> InFlight::take(const Reply& reply) {
  const auto size = messages_.at(reply.id).calls.size();
  std::size_t first = reply.position.value_or(0), end = first + 1;
  if (!reply.position && size > 1) end = reply.result ? first : size;
  std::vector<CallRef> calls;
  for (auto at = first; at < end; ++at)
    if (auto call = take_one(reply.id, at)) calls.push_back(std::move(call));
  return calls;
}

CallRef InFlight::take_one(std::uint64_t id, std::size_t position) {
  const auto found = messages_.find(id);
  if (found == messages_.end() || position >= found->second.calls.size()) return nullptr;
  auto call = std::move(found->second.calls[position]);
  if (!call) return nullptr;
  if (--found->second.left == 0) messages_.erase(found);
  if (call->live == id) call->live = 0;
  return call;
}

std::vector<CallRef> InFlight::lost(const Connection& connection) {
  std::vector<CallRef> waiting;
  for (auto& [id, message] : messages_)
    if (message.connection == &connection)
      for (auto& call : message.calls)
        if (call && call->live == id) waiting.push_back(call);
  std::erase_if(messages_, [&](auto& pair) { return pair.second.connection == &connection; });
  return waiting;
}

void InFlight::forget(const Call& call) {
  for (const auto& [id, position] : call.attempts) take_one(id, position);
}

}  // namespace dkv
