# frozen_string_literal: true

require_relative "call"
require_relative "in_flight"
require_relative "nodes"
require_relative "wire"

module Dkv
  # The client's thread: takes calls, sends attempts, hears replies, and ends every call.
  #
  # Owns the sockets (through Nodes), the session, and every call from its submission to its
  # outcome. One turn: wait, read replies, note lost connections, look at the clock, send what is
  # ready in one message a node. It knows nothing of what a command means.
  class Engine
    OUTSTANDING_MAX = 4096
    BATCH_BYTES_MAX = 64 * 1024
    BATCH_REQUESTS_MAX = 1024
    COMMAND_BYTES_SAFE = (4 << 20) - (64 << 10) # every node takes as many
    TICK = 0.020
    IDLE_WAIT = 1.0
    SILENCE = 1.5 # after it, another node is asked
    GRACE = 0.25 # a node answers at the deadline: wait for that
    AVOID = 2.0
    MEMBERS_EVERY = 5.0
    MEMBERS_SOONER = 0.3
    PRESENT_TIMEOUT = 5.0
    MEMBERS_TIMEOUT = 2.0
    CLOSING_TIMEOUT = 0.5

    def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

    def initialize(endpoints, credentials)
      @credentials = credentials
      @poller = ZMQ::Poller.new
      @nodes = Nodes.new(endpoints, credentials, @poller)
      @mutex = Mutex.new # guards the next three
      @submitted = []
      @outstanding = 0
      @stopping = false
      @wake, @waker = IO.pipe
      @poller.register_readable(@wake)
      @next_tick = @next_members = 0
      @active = {}.compare_by_identity
      @ready = []
      @in_flight = InFlight.new
      @thread = Thread.new { run }
      @thread.report_on_exception = true
    end

    # From any thread.
    def submit(call)
      full = false
      @mutex.synchronize do
        full = @stopping || @outstanding >= OUTSTANDING_MAX
        unless full
          @outstanding += 1
          call.counted = true
          first = @submitted.empty?
          @submitted << call
          @waker.write("!") if first
        end
      end
      call.done(refusal(too_many)) if full
    end

    # Ends every call that is under way, and the thread.
    def stop
      return if @mutex.synchronize { @stopping.tap { @stopping = true } }

      @waker.write("!") if @thread.alive?
      @thread.join
      [@wake, @waker].each(&:close)
    end

    private

    def too_many
      return Failure.of("lost", "The client is closed. Make a new one.") if @stopping

      failure = Failure.of("busy", "Too many calls are outstanding. Wait for some of them.")
      failure.retry = "later"
      failure
    end

    def run
      until @closing && !@closing_call
        wait
        @now = Engine.now
        hear
        take
        tick if @now >= @next_tick
        dispatch
      end
    ensure
      leave
    end

    # Whatever ended the thread, nobody waits for it for ever.
    def leave
      calls = @mutex.synchronize do
        @stopping = true
        @submitted
      end
      (@active.keys + calls).each { |call| end_by_closing(call) }
      @nodes.close
    end

    def end_by_closing(call)
      call.last = Failure.of("lost", "The client was closed before the answer came.")
      give_up(call)
    end

    def wait
      @poller.poll(((@active.empty? ? IDLE_WAIT : TICK) * 1000).to_i)
      @wake.read_nonblock(64, exception: false)
    end

    # Replies first, and only then what the monitor says: an answer that came before the connection
    # ended is an answer.
    def hear
      @nodes.all.each do |connection|
        while (frames = connection.receive)
          Wire.replies(frames).each { |reply| answered(connection, reply) }
        end
        change = connection.watch(@now) || next
        lost(connection)
        present(connection) if change == :up && @credentials
      end
    end

    def take
      calls, stopping = @mutex.synchronize { [@submitted, @stopping].tap { @submitted = [] } }
      calls.each { |call| activate(call) }
      begin_closing if stopping && !@closing
    end

    def tick
      @next_tick = @now + TICK
      learn(@members) if @members
      @members = nil
      @active.keys.each { |call| look_at(call) }
      @next_members = [@next_members, @now + MEMBERS_SOONER].min unless @nodes.leader_found?
      ask_members if @active.any? && @now >= @next_members && !@closing
    end

    def learn(members)
      @nodes.learn(members).each { |gone| drop(gone) }
      limits = members["limits"]
      most = limits.is_a?(Hash) ? limits["request_bytes_max"] : nil
      @command_bytes_max = most.is_a?(Integer) ? [COMMAND_BYTES_SAFE, most].max : COMMAND_BYTES_SAFE
    end

    def look_at(call)
      return if call.settled?
      return expire(call) if @now >= call.deadline + (call.live ? GRACE : 0)
      return queue(call) if call.state == :paused && @now >= call.again
      return if !call.live || call.kind == :single || @now < call.sent + SILENCE

      @in_flight.connection_of(call).avoid_until = @now + AVOID
      @next_members = [@next_members, @now].min
      unanswered(call, "timeout")
    end

    def dispatch
      return if @ready.empty?

      @nodes.next_turn
      calls = @ready
      @ready = []
      batches = Hash.new { |hash, connection| hash[connection] = [] }
      calls.each do |call|
        next if call.state != :queued || @now >= call.deadline || refused_as_too_large(call)

        to = @nodes.choose(call.kind != :read, call.node, @now)
        if to && may_be_sent?(call) && (call.kind != :write || number(call))
          batches[to] << call
        elsif call.state == :queued
          @ready << call
        end
      end
      batches.each { |to, batch| cut(batch).each { |part| send_batch(to, part) } }
    end

    # A node ends the connection on which too large a frame comes, and with it what others wait for.
    # How large it may be, `members` says.
    def refused_as_too_large(call)
      return if @command_bytes_max.nil? || call.command.bytesize <= @command_bytes_max

      call.last = Failure.of("too_large", "Too large to be sent. Store it in parts.")
      give_up(call)
      true
    end

    def may_be_sent?(call) = @command_bytes_max || call.command.bytesize <= COMMAND_BYTES_SAFE

    # A batch as messages of bounded size; a larger command goes alone.
    def cut(batch)
      bytes = batch[0].command.bytesize
      parts = batch.slice_when do |_, call|
        bytes += call.command.bytesize
        (bytes > BATCH_BYTES_MAX).tap { |full| bytes = call.command.bytesize if full }
      end
      parts.flat_map { |part| part.each_slice(BATCH_REQUESTS_MAX).to_a }
    end

    def send_batch(to, calls)
      id = @in_flight.new_id
      if to.send(Wire.frame(id, calls.map { |call| call.request(@now) }))
        @in_flight.add(id, to, @now, calls)
      else
        calls.each { |call| pause(call, TICK) } # nothing has left: this was no attempt
      end
    end

    # Gives a write its place in the session; false if it must wait for that. A write keeps session
    # and sequence for good: sent under a second session it could happen twice.
    def number(call)
      return true if call.sequence

      @session = nil if @session&.idle?(@now) # the cluster may have forgotten it
      unless @session
        call.state = :for_session
        open_session(call.deadline)
        return false
      end
      return false if @session.full?

      call.session = @session
      call.sequence = @session.number
    end

    # Once for all who wait; whoever may wait longer than the first asks again, if need be.
    def open_session(deadline)
      return if @opening

      command = Wire.command("open_session")
      @opening = Call.new(:control, command, deadline) { |reply| opened(reply) }
      activate(@opening)
    end

    def opened(reply)
      @opening = nil
      id, ttl_ms = reply.result&.values_at("session", "ttl_ms")
      id = nil unless id.is_a?(Integer) && ttl_ms.is_a?(Integer)
      @session = Session.new(id, ttl_ms / 1000.0, @now) if id
      @active.keys.each do |call|
        next if call.state != :for_session

        call.last = reply.failure if reply.failure
        reply.failure&.retry == "never" ? give_up(call) : queue(call)
      end
    end

    def present(to)
      command = Wire.command("present", certificate: @credentials.certificate)
      request = { "command" => command, "ttl_ms" => (PRESENT_TIMEOUT * 1000).to_i }
      id = @in_flight.new_id
      return unless to.send(Wire.frame(id, [request]))

      to.presented = @now
      @in_flight.add(id, to, @now, [])
    end

    def ask_members
      @next_members = @now + MEMBERS_EVERY
      return if @asking_members

      @asking_members = true
      activate(Call.new(:read, Wire.command("members"), @now + MEMBERS_TIMEOUT) do |reply|
        @asking_members = false
        @members = reply.result
      end)
    end

    def begin_closing
      @closing = true
      @active.keys.each { |call| end_by_closing(call) }
      return unless @session

      command = Wire.command("close_session")
      deadline = @now + CLOSING_TIMEOUT
      closed = ->(_) { @closing_call = nil }
      @closing_call = Call.new(:control, command, deadline, session: @session, &closed)
      activate(@closing_call)
    end

    def answered(from, reply)
      message = @in_flight.find(from, reply.id) || return
      from.name = reply.node unless reply.node.empty?
      return presented(message, reply) if message.present?

      @in_flight.take(message, reply).each do |call|
        reply.result ? finish(call, reply) : refused(call, message, reply.failure)
      end
    end

    def presented(message, reply)
      @in_flight.presented(message)
      message.connection.refusal = reply.failure if reply.failure&.retry == "never"
    end

    def refused(call, message, failure)
      from = message.connection
      @nodes.hint(failure)
      if failure.code == "certificate_needed" && @credentials
        if from.refusal
          failure = from.refusal # it has seen the certificate, and will not have it
        elsif message.sent >= from.presented
          present(from)
        end
      end
      from.avoid_until = @now + AVOID if failure.retry == "other"
      @session = nil if failure.code == "session_lost" && call.session.equal?(@session)
      verdict = call.refuse(failure)
      return give_up(call) if verdict == :settled
      # Whoever waits for a later attempt already, or for its turn, goes on waiting.
      return if verdict == :wait || call.state != :in_flight

      seconds = call.pause
      seconds.zero? ? queue(call) : pause(call, seconds)
    end

    def lost(connection)
      @in_flight.lost(connection).each { |call| unanswered(call, "lost") }
    end

    def drop(connection)
      lost(connection)
      connection.close
    end

    # The live attempt will not be answered, or not soon. It may have happened all the same.
    def unanswered(call, code)
      lost = code == "lost"
      why = lost ? "The connection ended before the answer came." : "The node did not answer in time."
      call.live = nil
      call.last = Failure.of(code, why)
      call.last.retry = "same"
      call.kind == :single ? give_up(call) : queue(call)
    end

    def expire(call)
      if call.live || call.last.nil? || call.last.code == "lost"
        call.last = Failure.of("timeout", @nodes.trouble)
        call.last.retry = "same"
      end
      call.last = @opening.last if call.state == :for_session && @opening&.last
      give_up(call)
    end

    def activate(call)
      @active[call] = true
      queue(call)
    end

    def queue(call)
      call.state = :queued
      @ready << call
    end

    def pause(call, seconds)
      call.state = :paused
      call.again = @now + seconds
    end

    def refusal(failure) = Reply.new(0, nil, nil, failure, 0, "")

    def give_up(call) = finish(call, refusal(call.outcome))

    def finish(call, reply)
      return if call.settled?

      call.state = :settled
      @in_flight.forget(call)
      call.session.settle(call.sequence) if call.sequence
      @active.delete(call)
      @mutex.synchronize { @outstanding -= 1 } if call.counted
      call.done(reply)
    end
  end
end
