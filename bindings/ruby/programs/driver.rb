#!/usr/bin/env ruby
# frozen_string_literal: true

# The conformance kit's hand inside this binding: does what a line of stdin says with the ordinary
# calls of the library, a thread a line, and writes what came of it to stdout. It adds nothing.

require "json"
require_relative "../lib/dkv"

OUTSTANDING_MAX = 64

# One line of the kit, carried out.
class Line
  def initialize(fields)
    @fields = fields
  end

  def answer(client)
    { "n" => @fields["n"], "ok" => carry_out(client.call) }
  rescue Dkv::Rejected => e
    { "n" => @fields["n"], "error" => told(e, "rejected") }
  rescue Dkv::Uncertain => e
    { "n" => @fields["n"], "error" => told(e, "uncertain") }
  end

  private

  def carry_out(client)
    case @fields["op"]
    when "put" then { "key_revision" => client.put(bytes("key"), bytes("value"), **writing) }
    when "delete" then client.delete(bytes("key"), **writing).to_h
    when "get" then item(client.get(bytes("key"), **reading))
    when "list" then list(client)
    when "status" then { "node" => client.status(**reading).node }
    else raise Dkv::Rejected, Dkv::Failure.of("unsupported", "The driver has no such op.")
    end
  end

  def list(client)
    range = %w[prefix start end].to_h { |name| [name.to_sym, @fields[name] && bytes(name)] }
    listing = client.list(**range, page: @fields["limit"] || 1000, **reading)
    items = listing.items.map do |it|
      [hex(it.key), hex(it.value), it.key_revision, it.created, it.version]
    end
    { "revision" => listing.revision, "items" => items }
  end

  def item(item)
    return { "found" => false } unless item

    { "found" => true, "value" => hex(item.value), "key_revision" => item.key_revision,
      "created" => item.created, "version" => item.version, "author" => item.author }
  end

  def writing
    { expected: @fields["expected"], session: @fields["session"] != false, timeout: seconds }
  end

  def reading
    { level: (@fields["level"] || "linearizable").to_sym, timeout: seconds }
  end

  def seconds = @fields["timeout_ms"] && @fields["timeout_ms"] / 1000.0
  def bytes(name) = [@fields[name].to_s].pack("H*")
  def hex(bytes) = bytes&.unpack1("H*")

  def told(error, kind)
    error.failure.to_h.compact.merge(class: kind)
  end
end

# The client of the environment, or what raises why there is none.
def client_of(environment)
  files = { trust: "DKV_TRUST", certificate: "DKV_CERTIFICATE", key: "DKV_KEY" }
  files = environment["DKV_INSECURE"] == "1" ? {} : files.transform_values { |it| environment[it] }
  timeout = (environment["DKV_TIMEOUT_MS"] || 5000).to_i / 1000.0
  client = Dkv::Client.new(environment.fetch("DKV_ENDPOINTS").split(","), **files, timeout: timeout)
  -> { client }
rescue Dkv::Rejected => e
  -> { raise e }
end

client = client_of(ENV)
$stdout.sync = true
puts JSON.generate("ready" => "dkv-ruby #{Dkv::VERSION}", "outstanding" => OUTSTANDING_MAX)
lines = Thread::SizedQueue.new(1)
said = Mutex.new
threads = Array.new(OUTSTANDING_MAX) do
  Thread.new do
    while (text = lines.pop)
      answer = JSON.generate(Line.new(JSON.parse(text)).answer(client))
      said.synchronize { $stdout.write("#{answer}\n") }
    end
  end
end
$stdin.each_line { |text| lines << text }
lines.close
threads.each(&:join)
begin
  client.call.close
rescue Dkv::Rejected
  nil # there was none
end
