// As much of a test framework as these tests need: a named claim, and a count of the broken ones.
#pragma once

#include <cstdio>
#include <string>

inline int broken = 0;

inline void check(bool holds, const std::string& claim) {
  if (holds) return;
  ++broken;
  std::printf("BROKEN: %s\n", claim.c_str());
}

inline int verdict() {
  if (broken == 0) std::puts("all claims hold");
  return broken != 0;
}

// The code of the E that `act` throws, or why there is none.
template <typename E, typename Act>
std::string code_of(Act act) {
  try {
    act();
  } catch (const E& error) {
    return error.code();
  } catch (const std::exception& error) {
    return std::string("another error: ") + error.what();
  }
  return "no error";
}
