// Puts, reads, and puts only if nobody was faster. Run it against `make run`:
//   build/greeting 127.0.0.1:3000 .local/certs

#include <iostream>

#include "dkv/client.hpp"

int main(int count, char** words) {
  const std::string endpoint = count > 1 ? words[1] : "127.0.0.1:3000";
  const std::string certs = count > 2 ? words[2] : ".local/certs";
  try {
    dkv::Client kv({.endpoints = {endpoint},
                    .trust = certs + "/trust",
                    .certificate = certs + "/admin.cert",
                    .key = certs + "/admin.key"});
    kv.put("greeting", "hello");
    const auto item = kv.get("greeting");
    kv.put("greeting", "hi", {.expected = item->key_revision});
    for (const auto& it : kv.list({.prefix = "greet"}).items)
      std::cout << it.key << " = " << it.value << " (revision " << it.key_revision << ")\n";
  } catch (const dkv::ConditionFailed& error) {
    std::cerr << "somebody was faster: it is at revision " << error.key_revision() << "\n";
    return 4;
  } catch (const dkv::Uncertain& error) {
    std::cerr << "it may have happened: " << error.what() << "\n";
    return 1;
  } catch (const dkv::Rejected& error) {
    std::cerr << "it did not happen: " << error.what() << "\n";
    return 1;
  }
}
