#!/usr/bin/env ruby
# frozen_string_literal: true

# How many puts a second, with so many outstanding: `bench.rb --outstanding 64 --seconds 3 ...`.

require_relative "arguments"

kv, given = Arguments.read(outstanding: 64, seconds: 3, bytes: 64)
value = "v" * given[:bytes]
kv.put("bench/warm", value)
outstanding = Thread::Queue.new
latencies_ms = []
errors = n = 0
begun = Dkv::Engine.now
stop_at = begun + given[:seconds]
until Dkv::Engine.now >= stop_at && outstanding.empty?
  while outstanding.size < given[:outstanding] && Dkv::Engine.now < stop_at
    outstanding << [kv.put_async("bench/#{(n += 1) % 10_000}", value), Dkv::Engine.now]
  end
  next if outstanding.empty?

  put, at = outstanding.pop
  begin
    put.value
    latencies_ms << (Dkv::Engine.now - at) * 1000
  rescue Dkv::Error
    errors += 1
  end
end
took = Dkv::Engine.now - begun
latencies_ms.sort!
share = ->(part) { latencies_ms.empty? ? 0 : latencies_ms[(part * (latencies_ms.size - 1)).to_i] }
puts format("%.0f puts/s, %d done, %d errors, p50 %.1f ms, p99 %.1f ms",
            latencies_ms.size / took, latencies_ms.size, errors, share.call(0.5), share.call(0.99))
kv.close
exit(1) if errors.positive?
