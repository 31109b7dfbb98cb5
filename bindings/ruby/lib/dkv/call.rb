# frozen_string_literal: true

module Dkv
  # A session at the cluster. Its writes are numbered from 1; answers below `lowest` are forgotten.
  class Session
    WINDOW = 1024

    attr_reader :id, :ttl
    attr_accessor :used

    # `ttl` and `now` in seconds.
    def initialize(id, ttl, now)
      @id = id
      @ttl = ttl
      @used = now
      @next = 1
      @unsettled = {} # in the order of the sequences, for so they are numbered
    end

    def lowest = @unsettled.empty? ? @next : @unsettled.first[0]
    def full? = @next - lowest >= WINDOW
    def idle?(now) = @unsettled.empty? && now > @used + ttl / 2
    def settle(sequence) = @unsettled.delete(sequence)

    def number
      sequence = @next
      @next += 1
      @unsettled[sequence] = true
      sequence
    end
  end

  # One call of the application, over all its attempts.
  #
  # Owns the arithmetic of outcomes: what a refusal of one attempt says of the call as a whole. An
  # attempt that was sent and not answered `applied: no` may have happened, whatever later ones say.
  # It knows nothing of sockets and nodes. Kinds: :read changes nothing; :write has its place in a
  # session; :control opens or closes one; these may be sent at will. :single is a write without a
  # session: it is sent again only after `applied: no`.
  class Call
    QUICK_RETRIES = 3
    PAUSE_MIN = 0.020
    PAUSE_MAX = 0.5
    TTL_MS_MAX = 600_000

    attr_reader :kind, :command, :deadline, :level, :node, :attempts
    attr_reader :sent
    attr_accessor :session, :sequence, :live, :again, :last, :unanswered, :state, :counted

    # `done` is called once, in the engine's thread, with a Reply. A failure is Uncertain unless its
    # `applied` is "no". `node`: whom to ask, if it can be. `deadline`: of the monotonic clock.
    def initialize(kind, command, deadline, level: :linearizable, node: nil, session: nil, &done)
      @kind = kind
      @command = command
      @deadline = deadline
      @level = level
      @node = node
      @session = session
      @done = done
      @attempts = [] # [message id, position]
      @unanswered = 0 # attempts that may have happened
      @quick = @slow = 0
      @state = :queued # or :for_session, :paused, :in_flight, :settled
    end

    def settled? = state == :settled
    def done(reply) = @done.call(reply)

    # An attempt has left.
    def sent_as(id, position, now)
      @state = :in_flight
      @live = id
      @sent = now
      @unanswered += 1
      @attempts << [id, position]
      session.used = now if session
    end

    # Takes a node's refusal of one attempt, which is no longer live: :settled, :again or :wait.
    def refuse(failure)
      @last = failure
      @unanswered -= 1 if failure.applied == "no"
      if %w[condition_failed invalid].include?(failure.code)
        @unanswered = 0 # the cluster has answered for this very sequence
        return :settled
      end
      return :settled if failure.applied == "yes"
      return :wait if live
      return :settled if failure.applied == "unknown" && kind == :single

      failure.retry == "never" ? :settled : :again
    end

    # How many seconds to wait before the next attempt, after `last`.
    def pause
      return 0 if last.retry != "later" && (@quick += 1) <= QUICK_RETRIES

      whole = [PAUSE_MIN * 2**@slow, PAUSE_MAX].min
      @slow += 1 if whole < PAUSE_MAX
      whole * rand(0.5..1.0)
    end

    # What the whole call comes to if it ends with `last`.
    def outcome
      failure = last.dup
      if %i[read control].include?(kind) || (unanswered.zero? && failure.applied != "yes")
        failure.applied = "no"
      elsif failure.applied == "no"
        failure.applied = "unknown"
        failure.words += " An earlier attempt may have been carried out: read before you repeat it."
      end
      failure
    end

    # The request for the next attempt.
    def request(now)
      ttl_ms = ((deadline - now) * 1000).to_i.clamp(1, TTL_MS_MAX)
      request = { "command" => command, "ttl_ms" => ttl_ms, "burst" => true }
      request["session"] = session.id if session
      request.update("sequence" => sequence, "lowest" => session.lowest) if sequence
      request["retry"] = true if kind == :write && unanswered.positive?
      request["level"] = "serializable" if level == :serializable
      request
    end
  end
end
