// Bytes: commands and requests as the protocol wants them, and what a node's frames say.
//
// Owns the shapes on the wire. It never sends, and it trusts nothing it reads: whatever does not
// have the shape of a reply is nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <msgpack.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dkv/client.hpp"

namespace dkv {

// Packs {"op": name, ...}: once, for the bytes of a command are the same in every attempt.
class Command {
 public:
  explicit Command(std::string_view op) { text("op", op); }
  Command& text(std::string_view name, std::string_view value);
  Command& bin(std::string_view name, std::string_view value);
  Command& integer(std::string_view name, std::int64_t value);
  Command& boolean(std::string_view name, bool value);
  std::string bytes() const;

 private:
  msgpack::packer<msgpack::sbuffer> name(std::string_view name);
  msgpack::sbuffer fields_;
  std::uint32_t count_ = 0;
};

// One attempt of a command.
struct Request {
  std::string_view command;
  std::int64_t session = 0;
  std::int64_t sequence = 0;
  std::int64_t lowest = 0;
  bool retry = false;
  std::int64_t ttl_ms = 0;
  Level level = Level::linearizable;
};
void pack(msgpack::sbuffer& out, const Request& request);

// A joined frame: `DKV1`, the id, and one packed request or an array of them.
std::string frame(std::uint64_t id, std::string_view packed, std::size_t requests);

// One reply. `result` points into the message that is being read: use it before that ends.
struct Reply {
  std::uint64_t id = 0;
  std::optional<std::size_t> position;
  const msgpack::object* result = nullptr;  // or else:
  Failure failure;
  std::int64_t revision = 0;
  std::string node;
};

// Calls `each` for every reply of a message, joined or in three frames, burst or not.
void read_message(const std::vector<std::string>& frames,
                  const std::function<void(const Reply&)>& each);

// A field of a map; nil, absent and of another type all give nothing.
const msgpack::object* find(const msgpack::object& map, std::string_view name);
std::string text_of(const msgpack::object& map, std::string_view name);
std::optional<std::int64_t> integer_of(const msgpack::object& map, std::string_view name);
// As above, but the result is worthless without it: throws std::runtime_error.
std::int64_t need_integer(const msgpack::object& map, std::string_view name);

}  // namespace dkv
