# frozen_string_literal: true

require "ffi"

module Dkv
  # The few functions of libsodium that certificates and key files need.
  #
  # Owns the foreign calls and their sizes. It knows nothing of files.
  module Sodium
    extend FFI::Library
    ffi_lib ["libsodium.so.23", "sodium"]

    attach_function :sodium_init, [], :int
    attach_function :crypto_sign_verify_detached, %i[buffer_in buffer_in ulong_long buffer_in], :int
    attach_function :crypto_scalarmult_base, %i[buffer_out buffer_in], :int
    attach_function :crypto_pwhash,
                    %i[buffer_out ulong_long buffer_in ulong_long buffer_in ulong_long size_t int],
                    :int
    attach_function :crypto_secretbox_open_easy,
                    %i[buffer_out buffer_in ulong_long buffer_in buffer_in], :int

    KEY_BYTES = 32
    SIGNATURE_BYTES = 64
    SALT_BYTES = 16
    NONCE_BYTES = 24
    MAC_BYTES = 16
    ARGON2ID13 = 2

    raise LoadError, "libsodium cannot be used on this machine" if sodium_init.negative?

    module_function

    def signed?(signature, message, key)
      crypto_sign_verify_detached(signature, message, message.bytesize, key).zero?
    end

    def public_key(secret)
      out = FFI::MemoryPointer.new(KEY_BYTES)
      crypto_scalarmult_base(out, secret)
      out.read_bytes(KEY_BYTES)
    end

    # The key that a passphrase stands for; nil if there is not enough memory.
    def derive(passphrase, salt, ops, memory)
      out = FFI::MemoryPointer.new(KEY_BYTES)
      failed = crypto_pwhash(out, KEY_BYTES, passphrase, passphrase.bytesize, salt, ops, memory,
                             ARGON2ID13)
      failed.zero? ? out.read_bytes(KEY_BYTES) : nil
    end

    # What is in a secretbox, nonce and box together; nil if the key does not open it.
    def open(sealed, key)
      nonce, box = sealed.unpack("a#{NONCE_BYTES}a*")
      out = FFI::MemoryPointer.new(box.bytesize - MAC_BYTES)
      failed = crypto_secretbox_open_easy(out, box, box.bytesize, nonce, key)
      failed.zero? ? out.read_bytes(out.size) : nil
    end
  end
end
