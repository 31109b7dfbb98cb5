// Against a living cluster, named by the environment as ../with_cluster.sh does.

#include <cstdlib>
#include <sstream>

#include "check.hpp"
#include "dkv/client.hpp"

namespace {

dkv::Options options() {
  dkv::Options it{.endpoints = {"127.0.0.1:1"},  // nobody listens there, which does no harm
                  .trust = std::getenv("DKV_TRUST"),
                  .certificate = std::getenv("DKV_CERTIFICATE"),
                  .key = std::getenv("DKV_KEY")};
  std::istringstream endpoints(std::getenv("DKV_ENDPOINTS"));
  for (std::string one; std::getline(endpoints, one, ',');) it.endpoints.push_back(one);
  return it;
}

void keys(dkv::Client& kv) {
  const std::string binary("\0\xff key", 6);
  const auto revision = kv.put(binary, "one");
  const auto item = kv.get(binary);
  check(item && item->value == "one" && item->key_revision == revision && item->author == "admin",
        "what was put is read");
  check(kv.put(binary, "two", {.expected = revision}) > revision, "put at the expected revision");
  check(code_of<dkv::ConditionFailed>([&] { kv.put(binary, "x", {.expected = revision}); }) ==
            "condition_failed",
        "a condition that fails is an error of its own");
  check(kv.put("single", "1", {.session = false}) > 0, "a write without a session");
  check(kv.erase(binary).deleted == 1 && kv.erase(binary).deleted == 0, "deleted once");
  check(!kv.get(binary), "what was deleted is gone");
  check(code_of<dkv::Rejected>([&] { kv.put("", "x"); }) != "no error", "no empty key");
  check(!kv.status().node.empty(), "a node tells its status");
}

void many(dkv::Client& kv) {
  std::vector<std::future<std::int64_t>> puts;
  for (int n = 0; n < 1500; ++n)
    puts.push_back(kv.put_async("many/" + std::to_string(n), std::to_string(n)));
  for (auto& put : puts) check(put.get() > 0, "one of many");
  const auto listing = kv.list({.prefix = "many/"}, {.page = 400});
  bool sorted = listing.items.size() == 1500;
  for (std::size_t at = 1; at < listing.items.size(); ++at)
    sorted = sorted && listing.items[at - 1].key < listing.items[at].key;
  check(sorted, "four pages, each key once and in order");
  const auto names = kv.list({.start = "many/1", .end = "many/2"},
                             {.level = dkv::Level::serializable, .keys_only = true});
  check(!names.items.empty() && names.items[0].value.empty(), "keys only");
}

void nobody_there() {
  auto nowhere = options();
  nowhere.endpoints = {"127.0.0.1:1"};
  dkv::Client kv(nowhere);
  std::string words;
  try {
    kv.put("k", "v", {.timeout = dkv::Milliseconds(200)});
  } catch (const dkv::Rejected& error) {
    words = error.what();
  }
  check(words.find("nothing answers at 127.0.0.1:1") != std::string::npos, "and it says why");
}

}  // namespace

int main() {
  dkv::Client kv(options());
  keys(kv);
  many(kv);
  nobody_there();
  return verdict();
}
