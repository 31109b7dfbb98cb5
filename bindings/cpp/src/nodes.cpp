#include "nodes.hpp"

#include <algorithm>

namespace dkv {
namespace {

constexpr std::size_t connections_max = 16;

}  // namespace

Nodes::Nodes(const std::vector<std::string>& endpoints, const Credentials* credentials)
    : context_(1), credentials_(credentials) {
  for (const auto& address : endpoints)
    if (!has_address(address))
      connections_.push_back(std::make_unique<Connection>(context_, address, credentials, true));
}

Connection* Nodes::choose(bool write, const std::string& preferred, TimePoint now) {
  const auto well = [&](const Connection& it) { return it.ready() && now >= it.avoid_until; };
  if (auto* it = by_name(preferred); it && it->ready()) return it;
  if (auto* it = write ? by_name(leader_) : nullptr; it && well(*it)) return it;
  Connection* last_resort = nullptr;
  for (std::size_t at = 0; at < connections_.size(); ++at) {
    auto& it = *connections_[(turn_ + at) % connections_.size()];
    if (well(it)) return &it;
    if (it.ready() && (!last_resort || it.avoid_until < last_resort->avoid_until))
      last_resort = &it;
  }
  return last_resort;
}

void Nodes::hint(const Failure& failure) {
  if (!failure.leader.empty() || failure.code == "not_leader" || failure.code == "no_leader")
    leader_ = failure.leader;
}

void Nodes::named(Connection& connection, const std::string& name) {
  if (!name.empty()) connection.name = name;
}

std::vector<std::unique_ptr<Connection>> Nodes::learn(const msgpack::object& result) {
  std::vector<std::unique_ptr<Connection>> gone;
  leader_ = text_of(result, "leader");
  const auto* members = find(result, "members");
  if (!members || members->type != msgpack::type::ARRAY) return gone;
  std::vector<std::string> addresses;
  for (std::uint32_t at = 0; at < members->via.array.size; ++at) {
    const auto& member = members->via.array.ptr[at];
    const auto address = text_of(member, "client_address");
    if (address.empty()) continue;
    addresses.push_back(address);
    // A node may be known under another address than the one that it advertises.
    if (has_address(address) || by_name(text_of(member, "name"))) continue;
    if (connections_.size() < connections_max)
      connections_.push_back(std::make_unique<Connection>(context_, address, credentials_, false));
  }
  const auto kept = [&](const std::unique_ptr<Connection>& it) {
    return it->configured || std::ranges::find(addresses, it->address) != addresses.end();
  };
  const auto rest = std::stable_partition(connections_.begin(), connections_.end(), kept);
  std::move(rest, connections_.end(), std::back_inserter(gone));
  connections_.erase(rest, connections_.end());
  return gone;
}

bool Nodes::leader_found() const {
  const auto* leader = by_name(leader_);
  return leader && leader->ready();
}

std::string Nodes::trouble() const {
  std::string words;
  for (const auto& it : connections_) words += (words.empty() ? "" : "; ") + it->trouble();
  return "No node has answered in time: " + words + ".";
}

Connection* Nodes::by_name(const std::string& name) const {
  if (name.empty()) return nullptr;
  const auto it = std::ranges::find_if(connections_, [&](auto& c) { return c->name == name; });
  return it == connections_.end() ? nullptr : it->get();
}

bool Nodes::has_address(const std::string& address) const {
  return std::ranges::any_of(connections_, [&](auto& c) { return c->address == address; });
}

}  // namespace dkv
