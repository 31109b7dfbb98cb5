// The options that the programs share: where the cluster is, and as whom.
#pragma once

#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "dkv/client.hpp"

struct Arguments {
  dkv::Options client;
  std::map<std::string, int> numbers;
};

inline std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

inline std::vector<std::string> read_endpoints(const std::string& text) {
  std::vector<std::string> endpoints;
  std::istringstream addresses(text);
  for (std::string it; std::getline(addresses, it, ',');) endpoints.push_back(it);
  return endpoints;
}

// `--endpoints H:P,H:P --trust F --certificate F --key F`, or the environment's DKV_ENDPOINTS and
// so on; and `--NAME N` for each of `numbers`, which holds their defaults. Ends the program if it
// does not understand.
inline Arguments read_arguments(int count, char** words, std::map<std::string, int> numbers) {
  Arguments read{{.endpoints = read_endpoints(environment("DKV_ENDPOINTS")),
                  .trust = environment("DKV_TRUST"),
                  .certificate = environment("DKV_CERTIFICATE"),
                  .key = environment("DKV_KEY")},
                 std::move(numbers)};
  for (int at = 1; at < count; at += 2) {
    const std::string name = words[at];
    const std::string value = at + 1 < count ? words[at + 1] : "";
    auto number = name.starts_with("--") ? read.numbers.find(name.substr(2)) : read.numbers.end();
    if (name == "--trust") {
      read.client.trust = value;
    } else if (name == "--certificate") {
      read.client.certificate = value;
    } else if (name == "--key") {
      read.client.key = value;
    } else if (name == "--endpoints") {
      read.client.endpoints = read_endpoints(value);
    } else if (number != read.numbers.end() && std::atoi(value.c_str()) > 0) {
      number->second = std::atoi(value.c_str());
    } else {
      std::cerr << "usage: --endpoints H:P,... --trust F --certificate F --key F";
      for (const auto& [it, otherwise] : read.numbers) std::cerr << " --" << it << ' ' << otherwise;
      std::cerr << "\n";
      std::exit(2);
    }
  }
  return read;
}
