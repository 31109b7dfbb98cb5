// The client: what a program calls.
//
// It owns one thread, which owns every socket. All calls may be made from any thread, and none of
// them touches a socket: a call hands its command to that thread and gets a future. What is handed
// over at the same time travels in one message. Sessions, retries, certificates and finding the
// leader are the thread's affair; an application sees results, or one of two kinds of error.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dkv/errors.hpp"

namespace dkv {

using Milliseconds = std::chrono::milliseconds;

struct Options {
  // host:port of at least one node; the others are learned from it.
  std::vector<std::string> endpoints;
  // Paths of the client's three files. All empty: a cluster without encryption (`--insecure`).
  std::string trust = {};
  std::string certificate = {};
  std::string key = {};
  std::string passphrase = {};  // of a key file that is locked
  // How long a call may take, retries included, where it does not say. 1 ms to 10 minutes.
  Milliseconds timeout{5000};
};

enum class Level {
  linearizable,  // sees every write acknowledged before the read was sent
  serializable,  // what the asked node has: quicker, perhaps a little old
};

struct ReadOptions {
  Level level = Level::linearizable;
  std::optional<Milliseconds> timeout = {};
};

struct WriteOptions {
  // Only if the key's revision is this; 0: only if the key is absent.
  std::optional<std::int64_t> expected = {};
  // In the client's session: retried until the deadline, and executed once. Without: sent again
  // only where a node says that it did nothing.
  bool session = true;
  std::optional<Milliseconds> timeout = {};
};

struct Item {
  std::string key;
  std::string value;
  std::int64_t key_revision = 0;
  std::int64_t created = 0;  // the revision at which the key came to be
  std::int64_t version = 0;  // how many times it was put since then, from 1
  std::string author = {};   // the certificate name that put it; empty in lists
};

struct Erased {
  std::int64_t deleted = 0;       // 1, or 0 if there was nothing
  std::int64_t key_revision = 0;  // where the key was; 0 if absent
};

// Either a prefix, or [start, end); empty `end`: to the last key. All empty: every key.
struct Range {
  std::string prefix = {};
  std::string start = {};
  std::string end = {};
};

struct ListOptions {
  Level level = Level::linearizable;
  int page = 1000;         // keys asked for at a time, 1 to 10,000
  bool keys_only = false;  // values stay empty
  std::optional<Milliseconds> timeout = {};  // for all pages together
};

struct Listing {
  std::vector<Item> items;
  std::int64_t revision = 0;  // all of it is the store as of this revision
};

struct Status {
  std::string node;    // who answered
  std::string fields;  // msgpack: the maps `node`, `gateway`, `consensus`, `log`, `machine`
};

class Engine;

class Client {
 public:
  // Throws Rejected (code `credentials` or `bad_request`) if the files or options cannot be used.
  // Does not wait for a connection.
  explicit Client(Options options);
  // Ends every call that is under way, closes the session (at most half a second), and returns.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The key's new revision.
  std::int64_t put(std::string_view key, std::string_view value, WriteOptions options = {});
  // Nothing if the key is absent.
  std::optional<Item> get(std::string_view key, ReadOptions options = {});
  Erased erase(std::string_view key, WriteOptions options = {});
  // Every item of a range in the order of its keys, all of one revision. It is held in memory.
  Listing list(const Range& range = {}, ListOptions options = {});
  Status status(ReadOptions options = {});

  // The same, without waiting. At most 16,384 may be outstanding: beyond, the future holds a
  // Rejected with code `busy`. What is started together is executed in any order.
  std::future<std::int64_t> put_async(std::string_view key, std::string_view value,
                                      WriteOptions options = {});
  std::future<std::optional<Item>> get_async(std::string_view key, ReadOptions options = {});
  std::future<Erased> erase_async(std::string_view key, WriteOptions options = {});

 private:
  Milliseconds timeout_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace dkv
