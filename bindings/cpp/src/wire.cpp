#include "wire.hpp"

#include <stdexcept>

namespace dkv {
namespace {

constexpr std::string_view protocol = "DKV1";
constexpr std::size_t id_bytes = 8;

using Packer = msgpack::packer<msgpack::sbuffer>;

void pack_text(Packer& out, std::string_view text) {
  out.pack_str(static_cast<std::uint32_t>(text.size()));
  out.pack_str_body(text.data(), static_cast<std::uint32_t>(text.size()));
}

void pack_bin(Packer& out, std::string_view bytes) {
  out.pack_bin(static_cast<std::uint32_t>(bytes.size()));
  out.pack_bin_body(bytes.data(), static_cast<std::uint32_t>(bytes.size()));
}

std::optional<std::uint64_t> read_id(std::string_view bytes) {
  if (bytes.size() != id_bytes) return std::nullopt;
  std::uint64_t id = 0;
  for (const char byte : bytes) id = id << 8 | static_cast<unsigned char>(byte);
  return id;
}

std::string_view bytes_of(const msgpack::object& object) {
  if (object.type == msgpack::type::BIN) return {object.via.bin.ptr, object.via.bin.size};
  if (object.type == msgpack::type::STR) return {object.via.str.ptr, object.via.str.size};
  return {};
}

Failure read_failure(const msgpack::object& error) {
  Failure failure{text_of(error, "code"), text_of(error, "applied"), text_of(error, "retry"),
                  text_of(error, "leader"), text_of(error, "words"),
                  integer_of(error, "key_revision")};
  // What says neither of the two definite words claims nothing.
  if (failure.applied != "no" && failure.applied != "yes") failure.applied = "unknown";
  if (failure.retry != "same" && failure.retry != "later" && failure.retry != "other")
    failure.retry = "never";
  return failure;
}

void read_reply(const msgpack::object& map, std::optional<std::uint64_t> id,
                const std::function<void(const Reply&)>& each) {
  if (map.type != msgpack::type::MAP) return;
  const auto* partial = find(map, "partial");
  if (partial && partial->type == msgpack::type::BOOLEAN && partial->via.boolean) return;
  if (const auto* own = find(map, "id"); own && !id) id = read_id(bytes_of(*own));
  const auto* result = find(map, "result");
  const auto* error = find(map, "error");
  if (!id || (!result && !error)) return;
  Reply reply{*id, std::nullopt, result, {}, integer_of(map, "revision").value_or(0),
              text_of(map, "node")};
  if (const auto position = integer_of(map, "position"); position && *position >= 0)
    reply.position = static_cast<std::size_t>(*position);
  if (!result) reply.failure = read_failure(*error);
  each(reply);
}

// Splits a joined frame, or takes three, into id and body. False if it is neither.
bool split(const std::vector<std::string>& frames, std::string_view& id, std::string_view& body) {
  if (frames.size() == 3 && frames[0] == protocol) {
    id = frames[1];
    body = frames[2];
    return true;
  }
  if (frames.size() != 1) return false;
  const std::string_view all = frames[0];
  if (all.size() <= protocol.size() || !all.starts_with(protocol)) return false;
  const auto length = static_cast<unsigned char>(all[protocol.size()]);
  if (all.size() < protocol.size() + 1 + length) return false;
  id = all.substr(protocol.size() + 1, length);
  body = all.substr(protocol.size() + 1 + length);
  return true;
}

}  // namespace

Packer Command::name(std::string_view name) {
  ++count_;
  Packer out(fields_);
  pack_text(out, name);
  return Packer(fields_);
}

Command& Command::text(std::string_view name, std::string_view value) {
  auto out = this->name(name);
  pack_text(out, value);
  return *this;
}

Command& Command::bin(std::string_view name, std::string_view value) {
  auto out = this->name(name);
  pack_bin(out, value);
  return *this;
}

Command& Command::integer(std::string_view name, std::int64_t value) {
  this->name(name).pack(value);
  return *this;
}

Command& Command::boolean(std::string_view name, bool value) {
  this->name(name).pack(value);
  return *this;
}

std::string Command::bytes() const {
  msgpack::sbuffer out;
  Packer(out).pack_map(count_);
  out.write(fields_.data(), fields_.size());
  return {out.data(), out.size()};
}

void pack(msgpack::sbuffer& buffer, const Request& request) {
  Packer out(buffer);
  const bool session = request.session != 0, numbered = request.sequence != 0;
  const bool serializable = request.level == Level::serializable;
  out.pack_map(3 + session + 2 * numbered + request.retry + serializable);
  pack_text(out, "command");
  pack_bin(out, request.command);
  const auto integer = [&](std::string_view name, std::int64_t value) {
    pack_text(out, name);
    out.pack(value);
  };
  if (session) integer("session", request.session);
  if (numbered) {
    integer("sequence", request.sequence);
    integer("lowest", request.lowest);
  }
  if (request.retry) {
    pack_text(out, "retry");
    out.pack(true);
  }
  integer("ttl_ms", request.ttl_ms);
  if (serializable) {
    pack_text(out, "level");
    pack_text(out, "serializable");
  }
  pack_text(out, "burst");
  out.pack(true);
}

std::string frame(std::uint64_t id, std::string_view packed, std::size_t requests) {
  msgpack::sbuffer array;
  if (requests > 1) Packer(array).pack_array(static_cast<std::uint32_t>(requests));
  std::string out(protocol);
  out.reserve(out.size() + 1 + id_bytes + array.size() + packed.size());
  out += static_cast<char>(id_bytes);
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(id >> shift);
  out.append(array.data(), array.size());
  out += packed;
  return out;
}

void read_message(const std::vector<std::string>& frames,
                  const std::function<void(const Reply&)>& each) {
  std::string_view id, body;
  if (!split(frames, id, body)) return;
  msgpack::object_handle handle;
  try {
    handle = msgpack::unpack(body.data(), body.size(), nullptr, nullptr,
                             msgpack::unpack_limit(1 << 17, 1 << 16, 1 << 26, 1 << 26, 0, 16));
  } catch (const std::exception&) {
    return;  // no msgpack: nothing that a node of dkv has said
  }
  const auto& object = handle.get();
  if (object.type != msgpack::type::ARRAY) return read_reply(object, read_id(id), each);
  for (std::uint32_t at = 0; at < object.via.array.size; ++at)
    read_reply(object.via.array.ptr[at], std::nullopt, each);
}

const msgpack::object* find(const msgpack::object& map, std::string_view name) {
  if (map.type != msgpack::type::MAP) return nullptr;
  for (std::uint32_t at = 0; at < map.via.map.size; ++at) {
    const auto& pair = map.via.map.ptr[at];
    if (pair.key.type == msgpack::type::STR && bytes_of(pair.key) == name)
      return pair.val.type == msgpack::type::NIL ? nullptr : &pair.val;
  }
  return nullptr;
}

std::string text_of(const msgpack::object& map, std::string_view name) {
  const auto* value = find(map, name);
  return value ? std::string(bytes_of(*value)) : std::string();
}

std::optional<std::int64_t> integer_of(const msgpack::object& map, std::string_view name) {
  const auto* value = find(map, name);
  if (!value) return std::nullopt;
  constexpr auto most = static_cast<std::uint64_t>(INT64_MAX);
  if (value->type == msgpack::type::POSITIVE_INTEGER && value->via.u64 <= most)
    return static_cast<std::int64_t>(value->via.u64);
  if (value->type == msgpack::type::NEGATIVE_INTEGER) return value->via.i64;
  return std::nullopt;
}

std::int64_t need_integer(const msgpack::object& map, std::string_view name) {
  const auto value = integer_of(map, name);
  if (!value) throw std::runtime_error("The answer lacks " + std::string(name) + ".");
  return *value;
}

}  // namespace dkv
