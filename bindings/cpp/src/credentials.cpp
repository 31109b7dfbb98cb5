#include "credentials.hpp"

#include <sodium.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <msgpack.hpp>
#include <optional>
#include <sstream>

#include "dkv/errors.hpp"

namespace dkv {
namespace {

constexpr std::size_t signature_bytes = 64;
constexpr std::size_t curve_key_bytes = 32;
constexpr std::size_t certificate_text_bytes_max = 4096;
constexpr std::size_t trust_text_bytes_max = 64 * 1024;

[[noreturn]] void refuse(const std::string& words) {
  throw Rejected({.code = "credentials", .words = words});
}

struct Block {
  std::string label;
  std::string bytes;
};

std::string decode_base64(std::string_view text) {
  std::string bytes(text.size(), '\0');
  std::size_t length = 0;
  const char* end = nullptr;
  const int failed = sodium_base642bin(
      reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), text.data(), text.size(),
      " \t\r\n", &length, &end, sodium_base64_VARIANT_ORIGINAL);
  if (failed != 0 || end != text.data() + text.size()) refuse("The base64 of a block is damaged.");
  bytes.resize(length);
  return bytes;
}

std::vector<Block> read_blocks(std::string_view text) {
  constexpr std::string_view begin = "-----BEGIN ", dashes = "-----";
  std::vector<Block> blocks;
  for (std::size_t at = 0; (at = text.find(begin, at)) != std::string_view::npos;) {
    const auto label_at = at + begin.size();
    const auto label_end = text.find(dashes, label_at);
    if (label_end == std::string_view::npos) refuse("A BEGIN line is cut off.");
    const std::string label(text.substr(label_at, label_end - label_at));
    const auto body_at = label_end + dashes.size();
    const auto body_end = text.find("-----END " + label + "-----", body_at);
    if (body_end == std::string_view::npos) refuse("The block " + label + " has no END line.");
    blocks.push_back({label, decode_base64(text.substr(body_at, body_end - body_at))});
    at = body_end + 1;
  }
  return blocks;
}

// The body behind a signature, which must be `key`'s over `purpose` and the body.
std::string_view signed_body(const std::string& bytes, std::string_view purpose,
                             const std::string& key) {
  const std::string_view body = std::string_view(bytes).substr(signature_bytes);
  std::string message(purpose);
  message += body;
  const auto raw = [](const std::string& s) {
    return reinterpret_cast<const unsigned char*>(s.data());
  };
  if (crypto_sign_verify_detached(raw(bytes), raw(message), message.size(), raw(key)) != 0)
    refuse("A signature does not fit: it is another authority's, or damaged.");
  return body;
}

// A msgpack array of `size` whose first element is version 1. What is not so throws.
msgpack::object_handle unpack_array(std::string_view body, std::size_t size) {
  auto handle = msgpack::unpack(body.data(), body.size());
  const auto& object = handle.get();
  if (object.type != msgpack::type::ARRAY || object.via.array.size != size ||
      object.via.array.ptr[0].as<int>() != 1)
    throw msgpack::type_error();
  return handle;
}

void check_size(const Block& block, std::size_t at_least) {
  if (block.bytes.size() <= at_least) refuse("The block " + block.label + " is too short.");
}

void check_time(const std::string& what, std::int64_t from, std::int64_t to, std::int64_t now) {
  if (now < from) refuse(what + " is not valid yet. Check this machine's clock.");
  if (now > to) refuse(what + " has expired. Ask for a new one.");
}

Certificate parse_certificate(const Block& block, const std::string& authority) {
  using namespace std::string_view_literals;
  check_size(block, signature_bytes);
  const auto body = signed_body(block.bytes, "dkv certificate 1\0"sv, authority);
  const auto handle = unpack_array(body, 7);
  const auto* field = handle.get().via.array.ptr;
  Certificate it{field[1].as<std::string>(),  field[2].as<std::string>(),
                 field[3].as<std::string>(),  field[4].as<std::int64_t>(),
                 field[5].as<std::int64_t>(), field[6].as<std::uint64_t>()};
  if (it.curve_key.size() != curve_key_bytes) throw msgpack::type_error();
  return it;
}

// The authority proves its own block: the key is in the body that it signs.
std::string parse_authority(const Block& block, std::int64_t now) {
  using namespace std::string_view_literals;
  check_size(block, signature_bytes);
  const auto handle = unpack_array(std::string_view(block.bytes).substr(signature_bytes), 4);
  const auto* field = handle.get().via.array.ptr;
  const auto key = field[1].as<std::string>();
  if (key.size() != crypto_sign_PUBLICKEYBYTES) throw msgpack::type_error();
  signed_body(block.bytes, "dkv authority 1\0"sv, key);
  check_time("The authority of the trust file", field[2].as<std::int64_t>(),
             field[3].as<std::int64_t>(), now);
  return key;
}

// Runs a reader of untrusted bytes: whatever msgpack throws is a refusal, with the file's name.
template <typename Read>
auto sound(const std::string& what, Read read) {
  try {
    return read();
  } catch (const Rejected& error) {
    refuse(what + ": " + error.failure().words);
  } catch (const std::exception&) {
    refuse(what + " is damaged. Copy it again from where it was made.");
  }
}

std::string read_file(const std::string& path, std::size_t bytes_max) {
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse("Cannot read " + path + ". Check the path and its permissions.");
  std::ostringstream text;
  text << file.rdbuf();
  if (text.str().size() > bytes_max) refuse(path + " is too long to be what it should be.");
  return text.str();
}

std::string unlock(const msgpack::object* field, const std::string& passphrase) {
  const auto ops = field[2].as<std::uint64_t>();
  const auto memory = field[3].as<std::uint64_t>();
  const auto salt = field[4].as<std::string>(), sealed = field[5].as<std::string>();
  constexpr std::size_t overhead = crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES;
  if (passphrase.empty()) refuse("it is locked. Give its passphrase.");
  if (salt.size() != crypto_pwhash_SALTBYTES || sealed.size() != overhead + curve_key_bytes)
    throw msgpack::type_error();
  const auto raw = [](const std::string& s) {
    return reinterpret_cast<const unsigned char*>(s.data());
  };
  unsigned char derived[crypto_secretbox_KEYBYTES];
  if (crypto_pwhash(derived, sizeof derived, passphrase.data(), passphrase.size(), raw(salt), ops,
                    memory, crypto_pwhash_ALG_ARGON2ID13) != 0)
    refuse("not enough memory to unlock it.");
  std::string key(curve_key_bytes, '\0');
  const int failed = crypto_secretbox_open_easy(
      reinterpret_cast<unsigned char*>(key.data()), raw(sealed) + crypto_secretbox_NONCEBYTES,
      sealed.size() - crypto_secretbox_NONCEBYTES, raw(sealed), derived);
  sodium_memzero(derived, sizeof derived);
  if (failed != 0) refuse("the passphrase does not open it.");
  return key;
}

std::string read_key(const std::string& path, const std::string& passphrase) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) == 0 && (facts.st_mode & 077) != 0)
    refuse("others can read " + path + ". Run: chmod 600 " + path);
  return sound(path, [&] {
    const auto blocks = read_blocks(read_file(path, trust_text_bytes_max));
    if (blocks.size() != 1 || blocks[0].label != "DKV SECRET KEY")
      refuse("it is not a key file: it must have one block DKV SECRET KEY.");
    const auto handle = unpack_array(blocks[0].bytes, 6);
    const auto* field = handle.get().via.array.ptr;
    if (field[1].as<std::string>() != "curve") refuse("it is not a client's key.");
    const auto key = field[2].as<std::uint64_t>() == 0 ? field[5].as<std::string>()
                                                       : unlock(field, passphrase);
    if (key.size() != curve_key_bytes) throw msgpack::type_error();
    return key;
  });
}

}  // namespace

Certificate read_certificate(std::string_view text, const std::string& authority,
                             std::int64_t now) {
  return sound("The certificate", [&] {
    if (text.size() > certificate_text_bytes_max) refuse("it is longer than 4,096 bytes.");
    const auto blocks = read_blocks(text);
    if (blocks.size() != 1 || blocks[0].label != "DKV CERTIFICATE")
      refuse("it must have exactly one block DKV CERTIFICATE.");
    const auto certificate = parse_certificate(blocks[0], authority);
    check_time("it", certificate.not_before, certificate.not_after, now);
    return certificate;
  });
}

Trust read_trust(std::string_view text, std::int64_t now) {
  return sound("The trust file", [&] {
    if (text.size() > trust_text_bytes_max) refuse("it is longer than 64 KiB.");
    const auto blocks = read_blocks(text);
    std::optional<std::string> authority;
    for (const auto& block : blocks) {
      if (block.label != "DKV AUTHORITY") continue;
      if (authority) refuse("it has more than one authority.");
      authority = parse_authority(block, now);
    }
    if (!authority) refuse("it has no block DKV AUTHORITY.");
    std::vector<Certificate> servers;
    for (const auto& block : blocks) {
      if (block.label != "DKV CERTIFICATE") continue;
      const auto certificate = parse_certificate(block, *authority);
      const bool valid = certificate.not_before <= now && now <= certificate.not_after;
      if (certificate.role == "server" && valid) servers.push_back(certificate);
    }
    if (servers.empty()) refuse("it has no server certificate that is valid now.");
    std::sort(servers.begin(), servers.end(),
              [](const auto& a, const auto& b) { return a.serial > b.serial; });
    Trust trust{*authority, {}};
    for (const auto& server : servers) trust.server_keys.push_back(server.curve_key);
    return trust;
  });
}

Credentials read_credentials(const std::string& trust_path, const std::string& certificate_path,
                             const std::string& key_path, const std::string& passphrase,
                             std::int64_t now) {
  if (sodium_init() < 0) refuse("libsodium cannot be used on this machine.");
  const auto trust = read_trust(read_file(trust_path, trust_text_bytes_max), now);
  auto text = read_file(certificate_path, certificate_text_bytes_max);
  const auto certificate = read_certificate(text, trust.authority, now);
  if (certificate.role == "node" || certificate.role == "server")
    refuse(certificate_path + " is of a " + certificate.role + ". Use a client's certificate.");
  auto secret = read_key(key_path, passphrase);
  std::string derived(curve_key_bytes, '\0');
  crypto_scalarmult_base(reinterpret_cast<unsigned char*>(derived.data()),
                         reinterpret_cast<const unsigned char*>(secret.data()));
  if (derived != certificate.curve_key)
    refuse(key_path + " is not the key of " + certificate_path + ".");
  return {trust.server_keys, certificate.curve_key, std::move(secret), std::move(text)};
}

}  // namespace dkv
