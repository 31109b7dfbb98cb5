// Certificates, the trust file and key files: what a client shows, and whom it believes.
//
// Owns the reading and checking of these files. It never opens a socket, and believes nothing that
// is not signed by the authority: the comments of a file are for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dkv {

struct Certificate {
  std::string name;
  std::string curve_key;  // 32 bytes
  std::string role;
  std::int64_t not_before = 0;  // Unix seconds
  std::int64_t not_after = 0;
  std::uint64_t serial = 0;
};

struct Credentials {
  std::vector<std::string> server_keys;  // valid now, newest first; 32 bytes each
  std::string public_key;                // 32 bytes
  std::string secret_key;                // 32 bytes
  std::string certificate;               // the file's text, as `present` wants it
};

// The one block of a certificate's text, checked against the authority's key. `now` in Unix
// seconds. Throws Rejected (code `credentials`) if it is damaged, signed by another, or not valid
// now.
Certificate read_certificate(std::string_view text, const std::string& authority, std::int64_t now);

// The three files of a client, all checked. Throws Rejected (code `credentials`).
Credentials read_credentials(const std::string& trust, const std::string& certificate,
                             const std::string& key, const std::string& passphrase,
                             std::int64_t now);

// The authority's public key and the Curve keys of its servers, from the trust file's text.
struct Trust {
  std::string authority;
  std::vector<std::string> server_keys;
};
Trust read_trust(std::string_view text, std::int64_t now);

}  // namespace dkv
