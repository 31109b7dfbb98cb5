// What can go wrong, as two kinds that an application must tell apart.
//
//     Error
//     ├── Rejected            it did not happen, and will not
//     │   └── ConditionFailed   the key is not at the expected revision
//     └── Uncertain           it may have happened, or may yet
//
// This file owns the kinds. It knows nothing of sockets and attempts.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace dkv {

// What a node, or this library, says of a request that has no result. The strings are those of the
// protocol: `applied` is "no", "yes" or "unknown"; `retry` is "never", "same", "later" or "other".
struct Failure {
  std::string code;
  std::string applied = "no";
  std::string retry = "never";
  std::string leader = {};                           // the leader's name, or empty
  std::string words = {};                            // for a person; do not parse it
  std::optional<std::int64_t> key_revision = {};     // with condition_failed
};

class Error : public std::runtime_error {
 public:
  explicit Error(Failure failure)
      : std::runtime_error(failure.code + ": " + failure.words), failure_(std::move(failure)) {}

  const Failure& failure() const noexcept { return failure_; }
  const std::string& code() const noexcept { return failure_.code; }

 private:
  Failure failure_;
};

// It did not happen and will not. Doing it again is safe, if the code makes sense of that.
class Rejected : public Error {
 public:
  using Error::Error;
};

// Somebody was faster: the key is at `key_revision()` (0: absent). Read it and decide anew.
class ConditionFailed : public Rejected {
 public:
  using Rejected::Rejected;
  std::int64_t key_revision() const { return failure().key_revision.value_or(0); }
};

// It may have happened, or may yet. Read before you do it again; what a read does not show may still
// come.
class Uncertain : public Error {
 public:
  using Error::Error;
};

}  // namespace dkv
