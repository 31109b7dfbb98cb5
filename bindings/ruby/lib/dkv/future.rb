# frozen_string_literal: true

require_relative "errors"

module Dkv
  # What a call that was started will come to.
  #
  # Owns the hand-over from the engine's thread to the caller's. Results are converted in the
  # caller's thread: the engine has better things to do.
  class Future
    def initialize(write, &convert)
      @write = write
      @convert = convert
      @mutex = Mutex.new
      @queue = Thread::Queue.new
    end

    # From the engine's thread, once.
    def settle(reply)
      @reply = reply
      @queue << reply
    end

    def settled? = !@reply.nil?

    # Waits for the outcome: the value, or raises Rejected or Uncertain. May be asked again.
    def value
      reply = @mutex.synchronize { @taken ||= @queue.pop }
      raise error(reply.failure) if reply.failure

      convert(reply)
    end

    private

    # A result that lacks what it must have was done nevertheless: of a write that is Uncertain.
    def convert(reply)
      @convert.call(reply)
    rescue StandardError => e
      failure = Failure.of("bad_reply", "The answer cannot be understood: #{e.message}.")
      failure.applied = "yes" if @write
      raise error(failure)
    end

    def error(failure)
      return Uncertain.new(failure) if failure.applied != "no"

      failure.code == "condition_failed" ? ConditionFailed.new(failure) : Rejected.new(failure)
    end
  end
end
