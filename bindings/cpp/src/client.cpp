#include "dkv/client.hpp"

#include <algorithm>
#include <type_traits>

#include "engine.hpp"

namespace dkv {
namespace {

[[noreturn]] void refuse(const std::string& words) {
  throw Rejected({.code = "bad_request", .words = words});
}

void check(const Options& options) {
  if (options.endpoints.empty()) refuse("Name at least one node, as host:port.");
  for (const auto& address : options.endpoints) {
    const auto colon = address.rfind(':');
    const auto port = colon == std::string::npos ? "" : address.substr(colon + 1);
    const bool digits = !port.empty() && std::ranges::all_of(port, [](char c) {
      return c >= '0' && c <= '9';
    });
    if (colon == 0 || !digits) refuse("'" + address + "' is no address. Write host:port.");
  }
}

std::optional<Credentials> credentials_of(const Options& options) {
  const int given = !options.trust.empty() + !options.certificate.empty() + !options.key.empty();
  if (given == 0) return std::nullopt;
  if (given < 3) refuse("Give all of trust, certificate and key, or none of them.");
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return read_credentials(options.trust, options.certificate, options.key, options.passphrase,
                          std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

std::exception_ptr error_of(const Failure& failure) {
  if (failure.code == "condition_failed" && failure.applied == "no")
    return std::make_exception_ptr(ConditionFailed(failure));
  if (failure.applied == "no") return std::make_exception_ptr(Rejected(failure));
  return std::make_exception_ptr(Uncertain(failure));
}

// Hands a call to the engine; `convert` makes the value of its result. A result that lacks what it
// must have was done nevertheless: for a write that is Uncertain, not Rejected.
template <typename Convert>
auto start(Engine& engine, Call call, Convert convert) {
  using Value = std::invoke_result_t<Convert, const Reply&>;
  auto promise = std::make_shared<std::promise<Value>>();
  auto future = promise->get_future();
  const bool read = call.kind == Kind::read;
  call.done = [promise, convert, read](const Reply& reply) {
    if (!reply.result) return promise->set_exception(error_of(reply.failure));
    std::optional<Value> value;
    try {
      value = convert(reply);
    } catch (const std::exception& error) {
      return promise->set_exception(error_of({.code = "bad_reply",
                                              .applied = read ? "no" : "yes",
                                              .words = error.what()}));
    }
    promise->set_value(std::move(*value));
  };
  engine.submit(std::make_shared<Call>(std::move(call)));
  return future;
}

std::string bytes_of(const msgpack::object* object) {
  return object && object->type == msgpack::type::BIN ? object->as<std::string>() : std::string();
}

std::optional<Item> read_item(std::string key, const msgpack::object& result) {
  const auto* found = find(result, "found");
  if (!found) throw std::runtime_error("The answer lacks found.");
  if (!found->as<bool>()) return std::nullopt;
  return Item{std::move(key),
              bytes_of(find(result, "value")),
              need_integer(result, "key_revision"),
              need_integer(result, "created"),
              need_integer(result, "version"),
              text_of(result, "author")};
}

struct Page {
  std::vector<Item> items;
  std::string token;
  std::int64_t revision;
  std::string node;
};

Page read_page(const Reply& reply) {
  Page page{{}, bytes_of(find(*reply.result, "token")), reply.revision, reply.node};
  const auto* items = find(*reply.result, "items");
  if (!items || items->type != msgpack::type::ARRAY)
    throw std::runtime_error("The answer lacks items.");
  for (std::uint32_t at = 0; at < items->via.array.size; ++at) {
    const auto& fields = items->via.array.ptr[at];
    if (fields.type != msgpack::type::ARRAY || fields.via.array.size < 5)
      throw std::runtime_error("An item of the answer has too few fields.");
    const auto* field = fields.via.array.ptr;
    page.items.push_back({bytes_of(&field[0]), bytes_of(&field[1]), field[2].as<std::int64_t>(),
                          field[3].as<std::int64_t>(), field[4].as<std::int64_t>()});
  }
  return page;
}

Call list_call(const Range& range, const ListOptions& options, const Page& before) {
  Command command("list");
  if (!range.prefix.empty()) command.bin("prefix", range.prefix);
  if (!range.start.empty()) command.bin("start", range.start);
  if (!range.end.empty()) command.bin("end", range.end);
  command.integer("limit", options.page);
  if (options.keys_only) command.boolean("keys_only", true);
  if (!before.token.empty()) command.bin("token", before.token);
  return {.kind = Kind::read,
          .command = command.bytes(),
          .deadline = {},
          .done = {},
          .level = options.level,
          .node = before.node};
}

Call write_call(Command command, std::string_view key, const WriteOptions& options,
                Milliseconds timeout) {
  command.bin("key", key);
  if (options.expected) command.integer("expected", *options.expected);
  return {.kind = options.session ? Kind::write : Kind::single,
          .command = command.bytes(),
          .deadline = Clock::now() + options.timeout.value_or(timeout),
          .done = {}};
}

Call read_call(const Command& command, const ReadOptions& options, Milliseconds timeout) {
  return {.kind = Kind::read,
          .command = command.bytes(),
          .deadline = Clock::now() + options.timeout.value_or(timeout),
          .done = {},
          .level = options.level};
}

}  // namespace

Client::Client(Options options) : timeout_(options.timeout) {
  check(options);
  engine_ = std::make_unique<Engine>(options.endpoints, credentials_of(options));
}

Client::~Client() = default;

std::future<std::int64_t> Client::put_async(std::string_view key, std::string_view value,
                                            WriteOptions options) {
  Command command("put");
  command.bin("value", value);
  return start(*engine_, write_call(std::move(command), key, options, timeout_),
               [](const Reply& reply) { return need_integer(*reply.result, "key_revision"); });
}

std::future<std::optional<Item>> Client::get_async(std::string_view key, ReadOptions options) {
  Command command("get");
  command.bin("key", key);
  return start(*engine_, read_call(command, options, timeout_),
               [key = std::string(key)](const Reply& reply) {
                 return read_item(key, *reply.result);
               });
}

std::future<Erased> Client::erase_async(std::string_view key, WriteOptions options) {
  return start(*engine_, write_call(Command("delete"), key, options, timeout_),
               [](const Reply& reply) {
                 return Erased{need_integer(*reply.result, "deleted"),
                               need_integer(*reply.result, "key_revision")};
               });
}

std::int64_t Client::put(std::string_view key, std::string_view value, WriteOptions options) {
  return put_async(key, value, options).get();
}

std::optional<Item> Client::get(std::string_view key, ReadOptions options) {
  return get_async(key, options).get();
}

Erased Client::erase(std::string_view key, WriteOptions options) {
  return erase_async(key, options).get();
}

Listing Client::list(const Range& range, ListOptions options) {
  const auto deadline = Clock::now() + options.timeout.value_or(timeout_);
  Listing listing;
  Page page{};
  do {
    auto call = list_call(range, options, page);
    call.deadline = deadline;
    page = start(*engine_, std::move(call), read_page).get();
    std::ranges::move(page.items, std::back_inserter(listing.items));
    listing.revision = page.revision;
  } while (!page.token.empty());
  return listing;
}

Status Client::status(ReadOptions options) {
  const auto read = [](const Reply& reply) {
    msgpack::sbuffer fields;
    msgpack::pack(fields, *reply.result);
    return Status{reply.node, {fields.data(), fields.size()}};
  };
  return start(*engine_, read_call(Command("status"), options, timeout_), read).get();
}

}  // namespace dkv
