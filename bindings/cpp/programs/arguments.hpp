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

// `--endpoints H:P,H:P --trust F --certificate F --key F`, and `--NAME N` for each of `numbers`,
// which holds their defaults. Ends the program if it does not understand.
inline Arguments read_arguments(int count, char** words, std::map<std::string, int> numbers) {
  Arguments read{{}, std::move(numbers)};
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
      std::istringstream addresses(value);
      for (std::string it; std::getline(addresses, it, ',');) read.client.endpoints.push_back(it);
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
