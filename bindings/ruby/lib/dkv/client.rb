# frozen_string_literal: true

require_relative "credentials"
require_relative "engine"
require_relative "future"

module Dkv
  Item = Struct.new(:key, :value, :key_revision, :created, :version, :author)
  Deleted = Struct.new(:deleted, :key_revision)
  Listing = Struct.new(:items, :revision)
  Status = Struct.new(:node, :fields)

  # The client: what a program calls.
  #
  # It owns one thread, which owns every socket. All methods may be called from any thread. What is
  # started at the same time travels in one message. Sessions, retries, certificates and finding the
  # leader are the thread's affair; an application sees results, or one of two kinds of error:
  # Rejected (it did not happen) and Uncertain (it may have).
  #
  # `timeout` is in seconds, retries included. `level` is :linearizable (sees every write that was
  # acknowledged before) or :serializable (what the asked node has). Keys and values are bytes.
  class Client
    ADDRESS = /\A.+:\d+\z/

    # Makes a client, yields it, and closes it.
    def self.open(...)
      client = new(...)
      yield client
    ensure
      client&.close
    end

    # `endpoints`: an Array of "host:port", of one node at least; the others are learned. `trust`,
    # `certificate` and `key`: paths; all nil for a cluster without encryption. `passphrase`: of a
    # locked key file. Raises Rejected (code `credentials` or `bad_request`); waits for nothing.
    def initialize(endpoints, trust: nil, certificate: nil, key: nil, passphrase: nil, timeout: 5.0)
      endpoints = Array(endpoints)
      bad = endpoints.find { |it| !ADDRESS.match?(it) }
      refuse("Name at least one node, as host:port.") if endpoints.empty?
      refuse("'#{bad}' is no address. Write host:port.") if bad
      @timeout = timeout
      @engine = Engine.new(endpoints, credentials(trust, certificate, key, passphrase))
    end

    # Ends every call that is under way, and closes the session (half a second at most).
    def close = @engine.stop

    # The key's new revision. `expected`: only if the key is at this revision; 0: only if it is
    # absent; else ConditionFailed. `session: false`: outside the client's session, so that it is
    # sent again only where a node says that it did nothing.
    def put(key, value, **options) = put_async(key, value, **options).value

    # An Item, or nil if the key is absent.
    def get(key, **options) = get_async(key, **options).value

    # How many were deleted (1 or 0), and at which revision the key was. Options as of #put.
    def delete(key, **options) = delete_async(key, **options).value

    # The same, without waiting: each gives a Future. At most 4,096 may be outstanding; beyond it is
    # Rejected with code `busy`. What is started together is executed in any order.
    def put_async(key, value, expected: nil, session: true, timeout: nil)
      command = Wire.command("put", key: key.b, value: value.b, expected: expected)
      write(command, session, timeout) { |reply| reply.result.fetch("key_revision") }
    end

    def delete_async(key, expected: nil, session: true, timeout: nil)
      command = Wire.command("delete", key: key.b, expected: expected)
      write(command, session, timeout) do |reply|
        Deleted.new(*reply.result.fetch_values("deleted", "key_revision"))
      end
    end

    def get_async(key, level: :linearizable, timeout: nil)
      read(Wire.command("get", key: key.b), deadline(timeout), level: level) do |reply|
        fields = reply.result
        if fields.fetch("found")
          known = fields.fetch_values("value", "key_revision", "created", "version", "author")
          Item.new(key.b, *known)
        end
      end
    end

    # Every item of a range in the order of its keys, all of one revision, held in memory. The
    # range is `prefix:`, or `start:` (which is in it) and `end:` (which is not), or every key.
    # `page`: keys asked for at a time, 1 to 10,000. `timeout`: for all pages together.
    def list(level: :linearizable, page: 1000, keys_only: nil, timeout: nil, **range)
      unknown = range.keys - %i[prefix start end]
      raise ArgumentError, "unknown: #{unknown.join(', ')}" unless unknown.empty?

      fields = range.compact.transform_values(&:b).merge(limit: page, keys_only: keys_only)
      deadline = deadline(timeout)
      items = []
      reply = nil
      loop do
        token = reply&.result&.fetch("token", nil)
        command = Wire.command("list", **fields, token: token)
        reply = read(command, deadline, level: level, node: reply&.node) { |it| it }.value
        items.concat(reply.result.fetch("items").map { |it| Item.new(*it) })
        return Listing.new(items, reply.revision) unless reply.result["token"]
      end
    end

    # Who answered, and its maps `node`, `gateway`, `consensus`, `log`, `machine`.
    def status(level: :linearizable, timeout: nil)
      read(Wire.command("status"), deadline(timeout), level: level) do |reply|
        Status.new(reply.node, reply.result)
      end.value
    end

    private

    def refuse(words) = raise(Rejected, Failure.of("bad_request", words))

    def credentials(trust, certificate, key, passphrase)
      files = [trust, certificate, key]
      return if files.none?

      refuse("Give all of trust, certificate and key, or none of them.") unless files.all?
      Credentials.new(trust: trust, certificate: certificate, key: key, passphrase: passphrase)
    end

    def deadline(timeout) = Engine.now + (timeout || @timeout)

    def write(command, session, timeout, &convert)
      future = Future.new(true, &convert)
      kind = session ? :write : :single
      @engine.submit(Call.new(kind, command, deadline(timeout), &future.method(:settle)))
      future
    end

    def read(command, deadline, level:, node: nil, &convert)
      future = Future.new(false, &convert)
      done = future.method(:settle)
      @engine.submit(Call.new(:read, command, deadline, level: level, node: node, &done))
      future
    end
  end
end
