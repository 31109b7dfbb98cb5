# frozen_string_literal: true

# What needs no cluster: bytes on the wire, outcomes over attempts, and files that must be refused.

require "minitest/autorun"
require "minitest/mock"
require "openssl"
require "tmpdir"
require_relative "../lib/dkv"

class WireTest < Minitest::Test
  ID = ["0000000000000002"].pack("H*")
  BODY = ["83a6726573756c7481ac6b65795f7265766973696f6e01a87265766973696f6e01" \
          "a46e6f6465a26e33"].pack("H*")

  def test_a_put_is_packed_as_in_the_example_of_the_protocol
    command = Dkv::Wire.command("put", key: "greeting".b, value: "hello".b, expected: nil)
    assert_equal "83a26f70a3707574a36b6579c4086772656574696e67a576616c7565c40568656c6c6f",
                 command.unpack1("H*")
  end

  def test_a_joined_frame_is_the_protocol_the_id_with_its_length_and_the_body
    one = Dkv::Wire.frame(2, [{ "a" => 1 }])
    two = Dkv::Wire.frame(2, [{ "a" => 1 }, { "a" => 2 }])
    assert_equal "444b5631" "08" "0000000000000002" "81a16101", one.unpack1("H*")
    assert_equal "9281a1610181a16102", two[13..].unpack1("H*")
  end

  def test_a_reply_is_taken_from_three_frames_and_from_one
    [["DKV1", ID, BODY], ["DKV1\x08".b + ID + BODY]].each do |frames|
      reply, *rest = Dkv::Wire.replies(frames)
      assert_equal [2, { "key_revision" => 1 }, []], [reply.id, reply.result, rest]
      assert_equal [1, "n3"], [reply.revision, reply.node]
    end
  end

  def test_the_replies_of_a_burst_name_their_ids
    replies = [1, 0].map do |at|
      { "id" => ID, "position" => at, "result" => {}, "nobody knows" => true }
    end
    taken = Dkv::Wire.replies(["DKV1\0".b + MessagePack.pack(replies)])
    assert_equal [[2, 1], [2, 0]], taken.map { |it| [it.id, it.position] }
  end

  def test_garbage_and_parts_are_no_reply
    partial = MessagePack.pack("result" => {}, "partial" => true)
    garbage = ["", "DKV1", "DKV1\xff", "DKV2\x01z\x80", "DKV1\x01z\xc1"]
    (garbage + ["DKV1\x08".b + ID + partial]).each do |frame|
      assert_empty Dkv::Wire.replies([frame.b])
    end
  end
end

class CallTest < Minitest::Test
  def refused(kind, unanswered, code, applied, again)
    call = Dkv::Call.new(kind, "", 0) { |_| nil }
    call.unanswered = unanswered
    failure = Dkv::Failure.of(code, "Words.")
    failure.applied = applied
    failure.retry = again
    verdict = call.refuse(failure)
    [verdict, call.outcome.applied]
  end

  def test_outcomes_are_merged_over_attempts
    assert_equal :again, refused(:write, 1, "busy", "no", "later")[0]
    assert_equal %i[settled] + ["no"], refused(:write, 1, "too_large", "no", "never")
    assert_equal %i[settled] + ["unknown"], refused(:write, 2, "too_large", "no", "never")
    assert_equal %i[settled] + ["no"], refused(:write, 2, "condition_failed", "no", "never")
    assert_equal %i[again] + ["unknown"], refused(:write, 1, "timeout", "unknown", "same")
    assert_equal %i[settled] + ["yes"], refused(:write, 1, "answer_dropped", "yes", "never")
    assert_equal %i[settled] + ["unknown"], refused(:single, 1, "timeout", "unknown", "same")
    assert_equal %i[settled] + ["no"], refused(:read, 3, "compacted", "no", "never")
  end

  def test_pauses_grow_and_are_drawn
    call = Dkv::Call.new(:read, "", 0) { |_| nil }
    call.last = Dkv::Failure.of("not_leader", "").tap { |it| it.retry = "same" }
    assert_equal [0, 0, 0], Array.new(3) { call.pause }
    call.last.retry = "later"
    [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5].each do |whole|
      assert_includes (whole / 2)..whole, call.pause
    end
  end

  def test_lowest_follows_the_answers
    session = Dkv::Session.new(7, 600.0, 0)
    assert_equal [1, 2, 3, 1], [session.number, session.number, session.number, session.lowest]
    session.settle(1)
    session.settle(3)
    assert_equal 2, session.lowest
    session.settle(2)
    assert_equal 4, session.lowest
  end
end

# An authority made for the test, which can sign what it likes.
class Authority
  NOW = 1_800_000_000

  def initialize
    @pair = OpenSSL::PKey.generate_key("ED25519")
  end

  def block(from: NOW - 10, to: NOW + 10)
    signed("DKV AUTHORITY", "dkv authority 1\0", [1, @pair.public_to_der[-32..], from, to])
  end

  def certificate(role, curve_key, serial: 1, from: NOW - 10, to: NOW + 10)
    signed("DKV CERTIFICATE", "dkv certificate 1\0", [1, "app", curve_key, role, from, to, serial])
  end

  def self.text(label, bytes)
    "# for people\n-----BEGIN #{label}-----\n#{[bytes].pack('m48')}-----END #{label}-----\n"
  end

  private

  def signed(label, purpose, body)
    body = MessagePack.pack(body)
    Authority.text(label, @pair.sign(nil, purpose.b + body) + body)
  end
end

class TrustTest < Minitest::Test
  NOW = Authority::NOW
  OLDER, NEWER, PAST = %w[o n p].map { |it| (it * 32).b }

  def setup
    @ours = Authority.new
    @theirs = Authority.new
  end

  def refused(text, why)
    error = assert_raises(Dkv::Rejected) { Dkv::Credentials.trust(text, NOW) }
    assert_equal "credentials", error.code
    assert_match why, error.message
  end

  def test_servers_that_are_valid_now_count_newest_first
    text = @ours.block + @ours.certificate("server", OLDER) +
           @ours.certificate("node", PAST, serial: 4) +
           @ours.certificate("server", PAST, serial: 3, to: NOW - 1) +
           @ours.certificate("server", NEWER, serial: 2)
    assert_equal [NEWER, OLDER], Dkv::Credentials.trust(text, NOW)[1]
  end

  def test_what_is_not_signed_or_not_valid_is_refused
    server = @ours.certificate("server", NEWER)
    refused(@ours.block + @theirs.certificate("server", NEWER), /another authority's/)
    refused(@ours.block + @ours.certificate("server", PAST, to: NOW - 1), /no server certificate/)
    refused(@ours.block(to: NOW - 1) + server, /authority is not valid now/)
    refused(@ours.block + @theirs.block + server, /exactly one/)
    refused(server, /exactly one/)
    damaged = @ours.block + server
    at = damaged.index("CERTIFICATE-----\n") + 60
    damaged[at] = damaged[at] == "A" ? "B" : "A"
    refused(damaged, /signature/)
    0.step(damaged.size - 40, 7) { |length| refused(damaged[0, length], /trust file/i) }
  end
end

class KeyTest < Minitest::Test
  NOW = Authority::NOW
  SECRET = ("s" * 32).b
  PUBLIC = Dkv::Sodium.public_key(SECRET)

  module Seal
    extend FFI::Library
    ffi_lib ["libsodium.so.23", "sodium"]
    attach_function :crypto_secretbox_easy,
                    %i[buffer_out buffer_in ulong_long buffer_in buffer_in], :int
  end

  def setup
    @ours = Authority.new
    @dir = Dir.mktmpdir
    @trust = file("trust", @ours.block + @ours.certificate("server", "x" * 32))
    @app = file("app.cert", @ours.certificate("writer", PUBLIC))
  end

  def teardown = FileUtils.rm_rf(@dir)

  def file(name, text, mode = 0o600)
    File.join(@dir, name).tap do |path|
      File.binwrite(path, text)
      File.chmod(mode, path)
    end
  end

  def key(ops: 0, memory: 0, salt: "".b, bytes: SECRET)
    Authority.text("DKV SECRET KEY", MessagePack.pack([1, "curve", ops, memory, salt, bytes]))
  end

  def locked(passphrase)
    salt = ("s" * 16).b
    nonce = ("n" * 24).b
    box = FFI::MemoryPointer.new(48)
    derived = Dkv::Sodium.derive(passphrase, salt, 1, 8 << 20)
    Seal.crypto_secretbox_easy(box, SECRET, 32, nonce, derived)
    key(ops: 1, memory: 8 << 20, salt: salt, bytes: nonce + box.read_bytes(48))
  end

  def read(certificate, key, passphrase = nil)
    Dkv::Credentials.new(trust: @trust, certificate: certificate, key: key,
                         passphrase: passphrase, now: NOW)
  end

  def refused(why, ...)
    assert_match why, assert_raises(Dkv::Rejected) { read(...) }.message
  end

  def test_three_files_that_fit
    files = read(@app, file("app.key", key))
    assert_equal [PUBLIC, SECRET], [files.public_key, files.secret_key]
  end

  def test_files_that_do_not_fit_are_refused
    good = file("app.key", key)
    refused(/chmod 600/, @app, file("open.key", key, 0o644))
    refused(/not the key of/, @app, file("other.key", key(bytes: ("o" * 32).b)))
    refused(/is of a node/, file("n1.cert", @ours.certificate("node", PUBLIC)), good)
    refused(/expired/, file("old.cert", @ours.certificate("writer", PUBLIC, to: NOW - 1)), good)
    refused(/Cannot read/, @app, "/nowhere")
    refused(/not a key file/, @app, file("cert.key", @ours.certificate("writer", PUBLIC)))
  end

  def test_a_locked_key_needs_its_passphrase
    path = file("locked.key", locked("open sesame"))
    assert_equal SECRET, read(@app, path, "open sesame").secret_key
    refused(/does not open/, @app, path, "open")
    refused(/Give its passphrase/, @app, path)
  end
end

class ConnectionTest < Minitest::Test
  Handle = Struct.new(:socket, :closed) do
    def close = closed.call
  end

  # libzmq's thread waits for ever to tell an event to a monitor that is gone: every connection of the
  # context stands still, one time in some thousand failed handshakes.
  def test_the_monitor_ends_before_its_socket_does
    order = []
    poller = Struct.new(:any) { def delete(_socket) = nil }.new
    connection = Dkv::Connection.new(nil, poller, "127.0.0.1:1", nil, true)
    %w[monitor socket].each do |name|
      connection.instance_variable_set("@#{name}", Handle.new(nil, -> { order << "#{name} closed" }))
    end
    LibZMQ.stub(:zmq_socket_monitor, ->(*) { order << "monitor ended" }) { connection.close }
    assert_equal ["monitor ended", "monitor closed", "socket closed"], order
  end
end
