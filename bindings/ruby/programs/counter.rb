#!/usr/bin/env ruby
# frozen_string_literal: true

# Counts by compare-and-put while nodes die, and says whether every acknowledged step is there.
#
# Each of `--counters` keys is incremented by a thread of its own. A step that was acknowledged
# counts as 1; one whose outcome is unknown is looked up before the next, as an application must. At
# the end each counter must be exactly what its thread expects: prints `exact` and ends with 0.

require_relative "arguments"

# One key, and what its thread believes of it.
class Counter
  attr_reader :acknowledged, :uncertain, :refused, :expected, :final

  def initialize(client, key)
    @client = client
    @key = key
    @acknowledged = @uncertain = @refused = 0
  end

  def run(stop_at)
    @expected, @revision = read
    step while Dkv::Engine.now < stop_at
    @final = read[0]
  end

  private

  # ConditionFailed ends the run: nobody else writes this key, so that a step has happened twice, or
  # one was lost.
  def step
    @revision = @client.put(@key, (@expected + 1).to_s, expected: @revision)
    @acknowledged += 1
    @expected += 1
  rescue Dkv::ConditionFailed
    raise
  rescue Dkv::Rejected
    @refused += 1
  rescue Dkv::Uncertain
    @uncertain += 1
    found, @revision = read
    unless [@expected, @expected + 1].include?(found)
      raise "#{@key} is at #{found}, expected #{@expected}"
    end

    @expected = found
  end

  # Reads until it can: the cluster may be without a leader for longer than a call's deadline.
  def read
    tries ||= 0
    item = @client.get(@key)
    item ? [item.value.to_i, item.key_revision] : [0, 0]
  rescue Dkv::Error
    (tries += 1) < 20 ? retry : raise
  end
end

kv, given = Arguments.read(counters: 4, seconds: 20)
stop_at = Dkv::Engine.now + given[:seconds]
counters = Array.new(given[:counters]) { |at| Counter.new(kv, "counter/#{at}") }
counters.map { |counter| Thread.new { counter.run(stop_at) } }.each(&:join)
exact = counters.all? { |it| it.expected == it.final }
puts "#{exact ? 'exact' : 'NOT EXACT'}: #{counters.sum(&:acknowledged)} acknowledged, " \
     "#{counters.sum(&:uncertain)} uncertain, #{counters.sum(&:refused)} refused"
kv.close
exit(exact)
