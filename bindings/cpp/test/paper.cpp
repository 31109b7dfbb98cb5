// What needs no cluster: bytes on the wire, outcomes over attempts, and files that must be refused.

#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "call.hpp"
#include "check.hpp"
#include "credentials.hpp"

using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

constexpr std::int64_t now = 1'800'000'000;

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t at = 0; at < hex.size();) {
    if (hex[at] == ' ') {
      ++at;
      continue;
    }
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(at, 2)), nullptr, 16));
    at += 2;
  }
  return bytes;
}

std::vector<dkv::Reply> replies(const std::vector<std::string>& frames) {
  std::vector<dkv::Reply> all;
  dkv::read_message(frames, [&](const dkv::Reply& reply) {
    all.push_back(reply);
    all.back().result = nullptr;  // it points into what is gone by now
  });
  return all;
}

void bytes_are_those_of_the_protocol() {
  const auto command = dkv::Command("put").bin("key", "greeting").bin("value", "hello").bytes();
  check(command == from_hex("83a26f70a3707574a36b6579c4086772656574696e67a576616c7565c405"
                            "68656c6c6f"),
        "a put is packed as in the protocol's example");
  msgpack::sbuffer packed;
  dkv::pack(packed, {.command = command, .session = 1, .sequence = 1, .lowest = 1, .ttl_ms = 5000});
  const auto frame = dkv::frame(2, {packed.data(), packed.size()}, 1);
  check(frame.starts_with(from_hex("444b5631 08 0000000000000002 86 a7636f6d6d616e64 c423")),
        "a joined frame is the protocol, the id with its length, and the body");
}

void replies_are_taken_from_every_form() {
  const auto id = from_hex("0000000000000002");
  const auto body = from_hex("83a6726573756c7481ac6b65795f7265766973696f6e01a87265766973696f6e01"
                             "a46e6f6465a26e33");
  const auto apart = replies({"DKV1", id, body});
  check(apart.size() == 1 && apart[0].id == 2 && apart[0].node == "n3", "a reply in three frames");
  const auto joined = replies({"DKV1"s + '\x08' + id + body});
  check(joined.size() == 1 && joined[0].id == 2 && joined[0].revision == 1, "a joined reply");
  msgpack::sbuffer burst;
  msgpack::packer<msgpack::sbuffer> out(burst);
  out.pack_array(2);
  for (const auto position : {1, 0}) {
    out.pack_map(4);
    out.pack("id");
    out.pack_bin(8);
    out.pack_bin_body(id.data(), 8);
    out.pack("position");
    out.pack(position);
    out.pack("result");
    out.pack_map(0);
    out.pack("nobody knows");
    out.pack(true);
  }
  const auto two = replies({"DKV1"s + '\0' + std::string(burst.data(), burst.size())});
  check(two.size() == 2 && two[0].position == 1U && two[1].position == 0U && two[1].id == 2,
        "a burst, whose replies name their ids");
  for (const auto& garbage : {""s, "DKV1"s, "DKV1\xff"s, "DKV2\x01z\x80"s, "DKV1\x01z\xc1"s})
    check(replies({garbage}).empty(), "garbage is no reply");
}

dkv::Failure failure(const char* code, const char* applied, const char* retry) {
  return {code, applied, retry, "", "Words.", std::nullopt};
}

void outcomes_are_merged_over_attempts() {
  using Verdict = dkv::Call::Verdict;
  const auto call = [](dkv::Kind kind, int unanswered) {
    dkv::Call it{.kind = kind, .command = {}, .deadline = {}, .done = {}};
    it.unanswered = unanswered;
    return it;
  };
  auto write = call(dkv::Kind::write, 1);
  check(write.refuse(failure("busy", "no", "later")) == Verdict::again && write.unanswered == 0,
        "a write refused for now is sent again");
  write = call(dkv::Kind::write, 1);
  check(write.refuse(failure("too_large", "no", "never")) == Verdict::settled &&
            write.outcome().applied == "no",
        "a write refused in its only attempt did not happen");
  write = call(dkv::Kind::write, 2);
  check(write.refuse(failure("too_large", "no", "never")) == Verdict::settled &&
            write.outcome().applied == "unknown",
        "one silent attempt makes the outcome unknown, whatever a later one says");
  write = call(dkv::Kind::write, 2);
  check(write.refuse(failure("condition_failed", "no", "never")) == Verdict::settled &&
            write.outcome().applied == "no",
        "a failed condition settles the earlier attempts too");
  write = call(dkv::Kind::write, 1);
  check(write.refuse(failure("timeout", "unknown", "same")) == Verdict::again &&
            write.unanswered == 1,
        "a write in a session is sent again after an unknown outcome");
  write = call(dkv::Kind::write, 1);
  check(write.refuse(failure("answer_dropped", "yes", "never")) == Verdict::settled &&
            write.outcome().applied == "yes",
        "what was done stays done");
  auto single = call(dkv::Kind::single, 1);
  check(single.refuse(failure("timeout", "unknown", "same")) == Verdict::settled &&
            single.outcome().applied == "unknown",
        "a write without a session is not sent again after an unknown outcome");
  auto read = call(dkv::Kind::read, 3);
  check(read.refuse(failure("compacted", "no", "never")) == Verdict::settled &&
            read.outcome().applied == "no",
        "a read changes nothing");
}

void pauses_grow_and_are_drawn() {
  std::minstd_rand random(1);
  dkv::Call call{.kind = dkv::Kind::read, .command = {}, .deadline = {}, .done = {}};
  call.last = failure("not_leader", "no", "same");
  for (int at = 0; at < 3; ++at) check(call.pause(random).count() == 0, "at once, the first times");
  call.last = failure("busy", "no", "later");
  for (const auto whole : {20, 40, 80, 160, 320, 500, 500}) {
    const auto pause = call.pause(random).count();
    check(whole / 2 <= pause && pause <= whole, "between half and the whole of " +
                                                    std::to_string(whole) + " ms");
  }
}

// An authority made for the test, which can sign what it likes.
class Authority {
 public:
  Authority() { crypto_sign_keypair(public_, secret_); }

  std::string key() const { return {reinterpret_cast<const char*>(public_), sizeof public_}; }

  std::string block(std::int64_t from = now - 10, std::int64_t to = now + 10) const {
    msgpack::sbuffer body;
    msgpack::packer<msgpack::sbuffer> out(body);
    out.pack_array(4);
    out.pack(1);
    bin(out, key());
    out.pack(from);
    out.pack(to);
    return signed_block("DKV AUTHORITY", "dkv authority 1\0"sv, {body.data(), body.size()});
  }

  std::string certificate(const std::string& role, const std::string& curve_key, int serial = 1,
                          std::int64_t from = now - 10, std::int64_t to = now + 10) const {
    msgpack::sbuffer body;
    msgpack::packer<msgpack::sbuffer> out(body);
    out.pack_array(7);
    out.pack(1);
    out.pack("app");
    bin(out, curve_key);
    out.pack(role);
    out.pack(from);
    out.pack(to);
    out.pack(serial);
    return signed_block("DKV CERTIFICATE", "dkv certificate 1\0"sv, {body.data(), body.size()});
  }

  static void bin(msgpack::packer<msgpack::sbuffer>& out, const std::string& bytes) {
    out.pack_bin(static_cast<std::uint32_t>(bytes.size()));
    out.pack_bin_body(bytes.data(), static_cast<std::uint32_t>(bytes.size()));
  }

  static std::string block_of(const std::string& label, const std::string& bytes) {
    std::string text(sodium_base64_ENCODED_LEN(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
    sodium_bin2base64(text.data(), text.size(), raw(bytes), bytes.size(),
                      sodium_base64_VARIANT_ORIGINAL);
    text.pop_back();
    return "# for people\n-----BEGIN " + label + "-----\n" + text.substr(0, 20) + "\n" +
           text.substr(20) + "\n-----END " + label + "-----\n";
  }

  static const unsigned char* raw(const std::string& bytes) {
    return reinterpret_cast<const unsigned char*>(bytes.data());
  }

 private:
  std::string signed_block(const std::string& label, std::string_view purpose,
                           const std::string& body) const {
    const std::string message = std::string(purpose) + body;
    std::string bytes(crypto_sign_BYTES, '\0');
    crypto_sign_detached(reinterpret_cast<unsigned char*>(bytes.data()), nullptr, raw(message),
                         message.size(), secret_);
    return block_of(label, bytes + body);
  }

  unsigned char public_[crypto_sign_PUBLICKEYBYTES], secret_[crypto_sign_SECRETKEYBYTES];
};

void only_what_is_signed_and_valid_is_trusted() {
  const Authority ours, theirs;
  const std::string older(32, 'o'), newer(32, 'n'), past(32, 'p');
  const auto refused = [](const std::string& text) {
    return code_of<dkv::Rejected>([&] { dkv::read_trust(text, now); }) == "credentials";
  };
  const auto trust = dkv::read_trust(ours.block() + ours.certificate("server", older, 1) +
                                         ours.certificate("server", past, 3, now - 9, now - 1) +
                                         ours.certificate("node", past, 4) +
                                         ours.certificate("server", newer, 2),
                                     now);
  check(trust.server_keys == std::vector{newer, older}, "servers that are valid now, newest first");
  check(refused(ours.block() + theirs.certificate("server", newer)), "another authority's server");
  check(refused(ours.block() + ours.certificate("server", past, 1, now - 9, now - 1)),
        "no server that is valid now");
  check(refused(ours.block(now - 9, now - 1) + ours.certificate("server", newer)),
        "an authority whose time is over");
  check(refused(ours.block() + theirs.block() + ours.certificate("server", newer)),
        "two authorities");
  check(refused(ours.certificate("server", newer)), "no authority");
  auto damaged = ours.block() + ours.certificate("server", newer);
  damaged[damaged.find("CERTIFICATE-----\n") + 60] ^= 1;
  check(refused(damaged), "a damaged certificate");
  for (std::size_t length = 0; length < damaged.size() - 40; length += 7)
    check(refused(damaged.substr(0, length)), "a trust file that is cut off");
}

class Folder {
 public:
  Folder() {
    std::string pattern = std::filesystem::temp_directory_path() / "dkv-test-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }

  std::string file(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    const auto path = path_ + "/" + name;
    std::ofstream(path) << text;
    chmod(path.c_str(), mode);
    return path;
  }

 private:
  std::string path_;
};

std::string key_text(const std::string& key, std::uint64_t ops = 0, std::uint64_t memory = 0,
                     const std::string& salt = "") {
  msgpack::sbuffer body;
  msgpack::packer<msgpack::sbuffer> out(body);
  out.pack_array(6);
  out.pack(1);
  out.pack("curve");
  out.pack(ops);
  out.pack(memory);
  Authority::bin(out, salt);
  Authority::bin(out, key);
  return Authority::block_of("DKV SECRET KEY", {body.data(), body.size()});
}

std::string locked_key_text(const std::string& key, const std::string& passphrase) {
  const std::string salt(crypto_pwhash_SALTBYTES, 's'), nonce(crypto_secretbox_NONCEBYTES, 'n');
  constexpr std::uint64_t ops = 1, memory = 8192 * 1024;
  unsigned char derived[crypto_secretbox_KEYBYTES];
  if (crypto_pwhash(derived, sizeof derived, passphrase.data(), passphrase.size(),
                    Authority::raw(salt), ops, memory, crypto_pwhash_ALG_ARGON2ID13) != 0)
    std::abort();
  std::string box(key.size() + crypto_secretbox_MACBYTES, '\0');
  crypto_secretbox_easy(reinterpret_cast<unsigned char*>(box.data()), Authority::raw(key),
                        key.size(), Authority::raw(nonce), derived);
  return key_text(nonce + box, ops, memory, salt);
}

void keys_are_read_only_where_they_are_secret_and_fit() {
  const Authority ours;
  const Folder folder;
  std::string secret(32, '\0'), fitting(32, '\0');
  crypto_box_keypair(reinterpret_cast<unsigned char*>(fitting.data()),
                     reinterpret_cast<unsigned char*>(secret.data()));
  const auto trust =
      folder.file("trust", ours.block() + ours.certificate("server", std::string(32, 's')));
  const auto app = folder.file("app.cert", ours.certificate("writer", fitting));
  const auto read = [&](const std::string& certificate, const std::string& key,
                        const std::string& passphrase = "") {
    return code_of<dkv::Rejected>(
        [&] { dkv::read_credentials(trust, certificate, key, passphrase, now); });
  };
  const auto key = folder.file("app.key", key_text(secret));
  check(read(app, key) == "no error", "three files that fit");
  check(read(app, folder.file("open.key", key_text(secret), 0644)) == "credentials",
        "a key that others can read");
  check(read(app, folder.file("other.key", key_text(std::string(32, 'x')))) == "credentials",
        "a key of another certificate");
  check(read(folder.file("n1.cert", ours.certificate("node", fitting)), key) == "credentials",
        "a node's certificate");
  check(read(folder.file("old.cert", ours.certificate("writer", fitting, 1, now - 9, now - 1)),
             key) == "credentials",
        "a certificate whose time is over");
  check(read(app, "/nowhere") == "credentials", "a key that is not there");
  const auto locked = folder.file("locked.key", locked_key_text(secret, "open sesame"));
  check(read(app, locked, "open sesame") == "no error", "a locked key, and its passphrase");
  check(read(app, locked, "open") == "credentials", "a locked key, and another passphrase");
  check(read(app, locked) == "credentials", "a locked key without a passphrase");
}

}  // namespace

int main() {
  if (sodium_init() < 0) return 1;
  bytes_are_those_of_the_protocol();
  replies_are_taken_from_every_form();
  outcomes_are_merged_over_attempts();
  pauses_grow_and_are_drawn();
  only_what_is_signed_and_valid_is_trusted();
  keys_are_read_only_where_they_are_secret_and_fit();
  return verdict();
}
