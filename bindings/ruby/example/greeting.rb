#!/usr/bin/env ruby
# frozen_string_literal: true

# Puts, reads, and puts only if nobody was faster. Run it against `make run`:
#   ruby example/greeting.rb 127.0.0.1:3000 ../../.local/certs

require_relative "../lib/dkv"

endpoint = ARGV.fetch(0, "127.0.0.1:3000")
certs = ARGV.fetch(1, ".local/certs")
begin
  Dkv::Client.open(endpoint, trust: "#{certs}/trust", certificate: "#{certs}/admin.cert",
                             key: "#{certs}/admin.key") do |kv|
    kv.put("greeting", "hello")
    item = kv.get("greeting")
    kv.put("greeting", "hi", expected: item.key_revision)
    kv.list(prefix: "greet").items.each do |it|
      puts "#{it.key} = #{it.value} (revision #{it.key_revision})"
    end
  end
rescue Dkv::ConditionFailed => e
  warn "somebody was faster: it is at revision #{e.key_revision}"
  exit 4
rescue Dkv::Uncertain => e
  abort "it may have happened: #{e.message}"
rescue Dkv::Rejected => e
  abort "it did not happen: #{e.message}"
end
