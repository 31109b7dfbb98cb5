# frozen_string_literal: true

require "msgpack"
require_relative "errors"
require_relative "sodium"

module Dkv
  # Certificates, the trust file and key files: what a client shows, and whom it believes.
  #
  # Owns the reading and checking of these files. It never opens a socket, and believes nothing that
  # is not signed by the authority: the comments of a file are for people. Every method raises
  # Rejected (code `credentials`); times are Unix seconds.
  class Credentials
    CERTIFICATE_TEXT_BYTES_MAX = 4096
    TRUST_TEXT_BYTES_MAX = 64 * 1024
    BLOCK = /-----BEGIN ([^-\n]+)-----(.*?)-----END \1-----/m

    Certificate = Struct.new(:name, :curve_key, :role, :not_before, :not_after, :serial) do
      def valid?(now) = not_before <= now && now <= not_after
    end

    # `server_keys`: valid now, newest first. `certificate`: the file's text, as `present` wants it.
    attr_reader :server_keys, :public_key, :secret_key, :certificate

    def initialize(trust:, certificate:, key:, passphrase: nil, now: Time.now.to_i)
      authority, @server_keys = Credentials.trust(read(trust, TRUST_TEXT_BYTES_MAX), now)
      @certificate = read(certificate, CERTIFICATE_TEXT_BYTES_MAX)
      own = Credentials.certificate(@certificate, authority, now)
      @public_key = own.curve_key
      @secret_key = Credentials.secret(key, read(key, TRUST_TEXT_BYTES_MAX), passphrase)
      if %w[node server].include?(own.role)
        Credentials.refuse("#{certificate} is of a #{own.role}. Use a client's certificate.")
      end
      return if Sodium.public_key(@secret_key) == @public_key

      Credentials.refuse("#{key} is not the key of #{certificate}.")
    end

    class << self
      def refuse(words) = raise(Rejected, Failure.of("credentials", words))

      # The authority's public key, and the Curve keys of its servers.
      def trust(text, now)
        sound("The trust file") do
          blocks = blocks(text)
          authorities = blocks.select { |label, _| label == "DKV AUTHORITY" }
          refuse("it must have exactly one block DKV AUTHORITY.") unless authorities.one?
          authority = authority(authorities[0][1], now)
          certificates = blocks.select { |label, _| label == "DKV CERTIFICATE" }
                               .map { |_, bytes| parse(bytes, authority) }
          servers = certificates.select { |it| it.role == "server" && it.valid?(now) }
          refuse("it has no server certificate that is valid now.") if servers.empty?
          [authority, servers.sort_by { |it| -it.serial }.map(&:curve_key)]
        end
      end

      # The one certificate of a text, checked.
      def certificate(text, authority, now)
        sound("The certificate") do
          blocks = blocks(text)
          unless blocks.one? && blocks[0][0] == "DKV CERTIFICATE"
            refuse("it must have exactly one block DKV CERTIFICATE.")
          end
          certificate = parse(blocks[0][1], authority)
          refuse("it is not valid yet. Check this machine's clock.") if now < certificate.not_before
          refuse("it has expired. Ask for a new one.") if now > certificate.not_after
          certificate
        end
      end

      # The secret key in a key file's text.
      def secret(path, text, passphrase)
        unless (File.stat(path).mode & 0o077).zero?
          refuse("others can read #{path}. Run: chmod 600 #{path}")
        end
        sound(path) do
          blocks = blocks(text)
          unless blocks.one? && blocks[0][0] == "DKV SECRET KEY"
            refuse("it is not a key file: it must have one block DKV SECRET KEY.")
          end
          kind, ops, memory, salt, key = fields(blocks[0][1], 6)
          refuse("it is not a client's key.") unless kind == "curve"
          key = unlock(ops, memory, salt, key, passphrase) unless ops.zero?
          need(key.bytesize == Sodium::KEY_BYTES)
          key
        end
      end

      private

      def blocks(text)
        text.b.scan(BLOCK).map { |label, base64| [label, base64.gsub(/\s/, "").unpack1("m0")] }
      end

      # Runs a reader of untrusted bytes: what it stumbles over is a refusal with the file's name.
      def sound(what)
        yield
      rescue Rejected => e
        refuse("#{what}: #{e.failure.words}")
      rescue StandardError
        refuse("#{what} is damaged. Copy it again from where it was made.")
      end

      def need(holds) = holds || raise(ArgumentError)

      # What follows the version in an array of `size`.
      def fields(body, size)
        array = MessagePack.unpack(body)
        need(array.is_a?(Array) && array.size == size && array[0] == 1)
        array.drop(1)
      end

      def body(bytes, purpose, key)
        need(bytes.bytesize > Sodium::SIGNATURE_BYTES)
        body = bytes.byteslice(Sodium::SIGNATURE_BYTES..)
        signed = Sodium.signed?(bytes.byteslice(0, Sodium::SIGNATURE_BYTES), purpose.b + body, key)
        refuse("a signature does not fit: it is another authority's, or damaged.") unless signed
        body
      end

      # The authority proves its own block: the key is in the body that it signs.
      def authority(bytes, now)
        key, from, to = fields(bytes.byteslice(Sodium::SIGNATURE_BYTES..), 4)
        need(key.bytesize == Sodium::KEY_BYTES)
        body(bytes, "dkv authority 1\0", key)
        return key if (from..to).cover?(now)

        refuse("its authority is not valid now. Check this machine's clock.")
      end

      def parse(bytes, authority)
        certificate = Certificate.new(*fields(body(bytes, "dkv certificate 1\0", authority), 7))
        need(certificate.curve_key.bytesize == Sodium::KEY_BYTES)
        certificate
      end

      def unlock(ops, memory, salt, sealed, passphrase)
        refuse("it is locked. Give its passphrase.") if passphrase.nil? || passphrase.empty?
        need(salt.bytesize == Sodium::SALT_BYTES)
        need(sealed.bytesize == Sodium::NONCE_BYTES + Sodium::MAC_BYTES + Sodium::KEY_BYTES)
        key = Sodium.derive(passphrase.b, salt, ops, memory)
        refuse("not enough memory to unlock it.") unless key
        Sodium.open(sealed, key) || refuse("the passphrase does not open it.")
      end
    end

    private

    def read(path, bytes_max)
      text = File.binread(path)
      return text if text.bytesize <= bytes_max

      Credentials.refuse("#{path} is too long to be what it should be.")
    rescue SystemCallError => e
      Credentials.refuse("Cannot read #{path}: #{e.message}.")
    end
  end
end
