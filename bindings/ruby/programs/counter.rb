#!/usr/bin/env ruby
# frozen_string_literal: true

# Counts by compare-and-put while nodes die, and says whether every acknowledged step is there.
#
# Each of `--counters` keys is incremented by a thread of its own. A step that was acknowledged
# counts as 1; one whose outcome is unknown is looked up before the next, as an application must.
# Where the look-up does not show it, it is in doubt: it may yet be carried out, until the key has
# moved on. At the end each counter must be exactly what its thread expects: prints `exact` and ends
# with 0.

require_relative "arguments"

# One key, and what its thread believes of it.
class Counter
  # The cluster may be without a leader for longer than a call's deadline.
  READING_S = 30

  attr_reader :acknowledged, :uncertain, :late, :refused, :exact

  def initialize(client, key)
    @client = client
    @key = key
    @acknowledged = @uncertain = @late = @refused = 0
    @in_doubt = false # steps from this revision: outcome unknown, not there when looked for
  end

  def run(stop_at)
    at(*read)
    step while Dkv::Engine.now < stop_at
    look
    @exact = true
  rescue StandardError => e
    warn "#{@key}: #{e.message}"
  end

  private

  def step
    at(@count + 1, @client.put(@key, (@count + 1).to_s, expected: @revision))
    @acknowledged += 1
  rescue Dkv::ConditionFailed => e
    look
    raise unless e.key_revision == @revision

    @late += 1
  rescue Dkv::Rejected
    @refused += 1
  rescue Dkv::Uncertain
    @uncertain += 1
    @in_doubt = true
    look
  end

  # Where the key is. Nobody else writes it, and steps in doubt are all from one revision, so it is
  # where it was, or one step further.
  def look
    count, revision = read
    return if [count, revision] == [@count, @revision]
    return at(count, revision) if @in_doubt && count == @count + 1

    raise "it is #{count} at #{revision}, and should be #{@count} at #{@revision}" \
          "#{' or one step further' if @in_doubt}"
  end

  # The key has moved on: what was in doubt is done, or never will be.
  def at(count, revision)
    @count = count
    @revision = revision
    @in_doubt = false
  end

  def read
    give_up ||= Dkv::Engine.now + READING_S
    item = @client.get(@key)
    item ? [item.value.to_i, item.key_revision] : [0, 0]
  rescue Dkv::Error
    Dkv::Engine.now < give_up ? retry : raise
  end
end

kv, given = Arguments.read(counters: 4, seconds: 20)
stop_at = Dkv::Engine.now + given[:seconds]
counters = Array.new(given[:counters]) { |at| Counter.new(kv, "counter/#{at}") }
counters.map { |counter| Thread.new { counter.run(stop_at) } }.each(&:join)
exact = counters.all?(&:exact)
puts "#{exact ? 'exact' : 'NOT EXACT'}: #{counters.sum(&:acknowledged)} acknowledged, " \
     "#{counters.sum(&:uncertain)} uncertain (#{counters.sum(&:late)} of them done late), " \
     "#{counters.sum(&:refused)} refused"
kv.close
exit(exact)
