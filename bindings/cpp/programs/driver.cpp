// The conformance kit's hand inside this binding: does what a line of stdin says with the ordinary
// calls of the library, a thread a line, and writes what came of it to stdout. It adds nothing.

#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <sstream>
#include <thread>

#include "dkv/client.hpp"
#include "json.hpp"

namespace {

constexpr int outstanding_max = 64;

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16));
  return bytes;
}

std::string to_hex(const std::string& bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string hex = "\"";
  for (const unsigned char byte : bytes) {
    hex += digits[byte >> 4];
    hex += digits[byte & 15];
  }
  return hex + '"';
}

class Line {
 public:
  explicit Line(const std::string& text) : fields_(json::Reader(text).object()) {}

  std::string text(const std::string& name, std::string otherwise = "") const {
    return get<std::string>(name).value_or(otherwise);
  }
  std::string bytes(const std::string& name) const { return from_hex(text(name)); }
  std::optional<std::int64_t> integer(const std::string& name) const {
    return get<std::int64_t>(name);
  }
  std::optional<bool> boolean(const std::string& name) const { return get<bool>(name); }
  std::optional<dkv::Milliseconds> timeout() const {
    const auto ms = integer("timeout_ms");
    return ms ? std::optional(dkv::Milliseconds(*ms)) : std::nullopt;
  }
  dkv::Level level() const {
    return text("level") == "serializable" ? dkv::Level::serializable : dkv::Level::linearizable;
  }
  dkv::WriteOptions write_options() const {
    return {integer("expected"), boolean("session").value_or(true), timeout()};
  }

 private:
  template <typename T>
  std::optional<T> get(const std::string& name) const {
    const auto found = fields_.find(name);
    if (found == fields_.end()) return std::nullopt;
    const auto* value = std::get_if<T>(&found->second);
    return value ? std::optional(*value) : std::nullopt;
  }
  json::Object fields_;
};

std::string told(const dkv::Listing& listing) {
  std::ostringstream out;
  const char* comma = "";
  out << R"({"revision":)" << listing.revision << R"(,"items":[)";
  for (const auto& it : listing.items) {
    out << comma << '[' << to_hex(it.key) << ',' << to_hex(it.value) << ',' << it.key_revision
        << ',' << it.created << ',' << it.version << ']';
    comma = ",";
  }
  return out.str() + "]}";
}

std::string told(const std::optional<dkv::Item>& item) {
  if (!item) return R"({"found":false})";
  std::ostringstream out;
  out << R"({"found":true,"value":)" << to_hex(item->value) << R"(,"key_revision":)"
      << item->key_revision << R"(,"created":)" << item->created << R"(,"version":)"
      << item->version << R"(,"author":)" << json::quoted(item->author) << '}';
  return out.str();
}

std::string told(const dkv::Error& error, const char* kind) {
  const auto& it = error.failure();
  std::ostringstream out;
  out << R"({"class":")" << kind << R"(","code":)" << json::quoted(it.code) << R"(,"applied":)"
      << json::quoted(it.applied) << R"(,"retry":)" << json::quoted(it.retry) << R"(,"leader":)"
      << json::quoted(it.leader) << R"(,"words":)" << json::quoted(it.words);
  if (it.key_revision) out << R"(,"key_revision":)" << *it.key_revision;
  return out.str() + "}";
}

std::string carry_out(dkv::Client& kv, const Line& line) {
  const auto op = line.text("op");
  const auto key = line.bytes("key");
  if (op == "put") {
    const auto revision = kv.put(key, line.bytes("value"), line.write_options());
    return R"({"key_revision":)" + std::to_string(revision) + "}";
  }
  if (op == "get") return told(kv.get(key, {line.level(), line.timeout()}));
  if (op == "delete") {
    const auto it = kv.erase(key, line.write_options());
    return R"({"deleted":)" + std::to_string(it.deleted) + R"(,"key_revision":)" +
           std::to_string(it.key_revision) + "}";
  }
  if (op == "list")
    return told(kv.list({line.bytes("prefix"), line.bytes("start"), line.bytes("end")},
                        {line.level(), static_cast<int>(line.integer("limit").value_or(1000)),
                         false, line.timeout()}));
  if (op == "status")
    return R"({"node":)" + json::quoted(kv.status({line.level(), line.timeout()}).node) + "}";
  throw dkv::Rejected({.code = "unsupported", .words = "The driver has no op " + op + "."});
}

std::string answer(dkv::Client* kv, const dkv::Rejected& unusable, const Line& line) {
  std::string rest;
  try {
    if (!kv) throw unusable;
    rest = R"("ok":)" + carry_out(*kv, line);
  } catch (const dkv::Rejected& error) {
    rest = R"("error":)" + told(error, "rejected");
  } catch (const dkv::Uncertain& error) {
    rest = R"("error":)" + told(error, "uncertain");
  }
  return R"({"n":)" + std::to_string(line.integer("n").value_or(0)) + "," + rest + "}";
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

dkv::Options options_of_environment() {
  dkv::Options options;
  std::istringstream endpoints(variable("DKV_ENDPOINTS"));
  for (std::string it; std::getline(endpoints, it, ',');) options.endpoints.push_back(it);
  if (variable("DKV_INSECURE") != "1") {
    options.trust = variable("DKV_TRUST");
    options.certificate = variable("DKV_CERTIFICATE");
    options.key = variable("DKV_KEY");
  }
  if (const auto ms = variable("DKV_TIMEOUT_MS"); !ms.empty())
    options.timeout = dkv::Milliseconds(std::stoll(ms));
  return options;
}

}  // namespace

int main() {
  std::mutex mutex;
  std::condition_variable fewer;
  int outstanding = 0;
  std::unique_ptr<dkv::Client> kv;
  dkv::Rejected unusable({.code = "credentials"});
  try {
    kv = std::make_unique<dkv::Client>(options_of_environment());
  } catch (const dkv::Rejected& error) {
    unusable = error;
  }
  std::cout << R"({"ready":"dkv-cpp 0.1.0","outstanding":)" << outstanding_max << "}" << std::endl;
  for (std::string text; std::getline(std::cin, text);) {
    std::unique_lock lock(mutex);
    fewer.wait(lock, [&] { return outstanding < outstanding_max; });
    ++outstanding;
    std::thread([&, line = Line(text)] {
      const auto said = answer(kv.get(), unusable, line);
      const std::lock_guard guard(mutex);
      std::cout << said << std::endl;
      --outstanding;
      fewer.notify_all();
    }).detach();
  }
  std::unique_lock lock(mutex);
  fewer.wait(lock, [&] { return outstanding == 0; });
  lock.unlock();
  kv.reset();
}
