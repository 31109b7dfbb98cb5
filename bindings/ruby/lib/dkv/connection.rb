# frozen_string_literal: true

require "ffi-rzmq"

module Dkv
  # One node's socket, and the monitor that tells how it fares.
  #
  # Owns the life of a DEALER: opened, shaken hands, lost, and replaced by a new one after a
  # handshake that failed, for libzmq gives some of these up for good and never changes the key of a
  # socket. It knows bytes, not requests. Times are seconds of the monotonic clock.
  class Connection
    # What ffi-rzmq has no names for: options and events of libzmq 4.2 and 4.3.
    HANDSHAKE_IVL = 66
    HEARTBEAT_IVL = 75
    HEARTBEAT_TTL = 76
    HEARTBEAT_TIMEOUT = 77
    IMMEDIATE = 39
    CURVE_PUBLICKEY = 48
    CURVE_SECRETKEY = 49
    CURVE_SERVERKEY = 50
    CONNECTED = 0x0001
    CONNECT_RETRIED = 0x0004
    DISCONNECTED = 0x0200
    HANDSHAKE_SUCCEEDED = 0x1000
    HANDSHAKE_FAILED = 0x0800 | 0x2000 | 0x4000
    WATCHED = CONNECTED | CONNECT_RETRIED | DISCONNECTED | HANDSHAKE_SUCCEEDED | HANDSHAKE_FAILED

    OPTIONS = {
      ZMQ::LINGER => 0, IMMEDIATE => 1, HANDSHAKE_IVL => 2000,
      HEARTBEAT_IVL => 1000, HEARTBEAT_TIMEOUT => 3000, HEARTBEAT_TTL => 3000,
      ZMQ::RECONNECT_IVL => 50, ZMQ::RECONNECT_IVL_MAX => 1000
    }.freeze
    REPLY_BYTES_MAX = 32 * 1024 * 1024
    REOPEN_MIN = 0.05
    REOPEN_MAX = 1.0

    attr_reader :address
    attr_accessor :name, :refusal, :presented, :avoid_until

    # `credentials`: nil for a cluster without encryption. `configured`: named by the application,
    # not learned. `poller`: where the sockets are registered while they are open.
    def initialize(context, poller, address, credentials, configured)
      @context = context
      @poller = poller
      @address = address
      @credentials = credentials
      @configured = configured
      @phase = :closed # or :connecting, :shaking, :ready
      @trouble = :unanswered # or :stranger, :unopened
      @open_at = @presented = @avoid_until = 0
      @key = @failures = 0
    end

    def configured? = @configured
    def ready? = @phase == :ready

    # Opens the socket where that is due, and reads what the monitor has noticed: :up, :down or nil.
    def watch(now)
      if @phase == :closed
        open(now) if now >= @open_at
        return
      end
      change = nil
      while @phase != :closed && (frames = receive_from(@monitor))
        change = notice(frames[0].unpack1("S")) || change
      end
      replace(now) if @phase == :closed
      change
    end

    def send(frame)
      ready? && @socket.send_string(frame, ZMQ::DONTWAIT) != -1
    end

    # The frames of one message, or nil.
    def receive
      receive_from(@socket) unless @phase == :closed
    end

    # The monitor ends first: libzmq's thread waits for ever to tell an event to one that is gone.
    def close
      LibZMQ.zmq_socket_monitor(@socket.socket, nil, 0) if @socket
      [@monitor, @socket].compact.each do |socket|
        @poller.delete(socket)
        socket.close
      end
      @socket = @monitor = nil
      @phase = :closed
    end

    # Why it is not ready, for a person.
    def trouble
      return "#{address} does not answer in time" if ready?

      case @trouble
      when :unopened
        "no socket can be opened to #{address} (no address, or too many open files)"
      when :unanswered
        "nothing answers at #{address}"
      else
        "what listens at #{address} " +
          (@credentials ? "does not prove the server key of the trust file" : "is no node without encryption")
      end
    end

    private

    def open(now)
      connect("inproc://dkv-monitor-#{object_id}-#{now}")
      [@socket, @monitor].each { |it| @poller.register_readable(it) }
      @phase = :connecting
    rescue ZMQ::ZeroMQError
      close
      @trouble = :unopened
      @open_at = now + REOPEN_MAX
    end

    def connect(watcher)
      @socket = ZMQ::Socket.new(@context, ZMQ::DEALER)
      OPTIONS.each { |option, value| set(@socket, option, value) }
      LibZMQ.zmq_setsockopt(@socket.socket, ZMQ::MAXMSGSIZE, [REPLY_BYTES_MAX].pack("q"), 8)
      prove if @credentials
      LibZMQ.zmq_socket_monitor(@socket.socket, watcher, WATCHED)
      @monitor = ZMQ::Socket.new(@context, ZMQ::PAIR)
      set(@monitor, ZMQ::LINGER, 0)
      @monitor.connect(watcher)
      result = @socket.connect("tcp://#{address}")
      ZMQ::Util.error_check("zmq_connect", result)
    end

    def prove
      keys = @credentials.server_keys
      set(@socket, CURVE_SERVERKEY, keys[@key % keys.size])
      set(@socket, CURVE_PUBLICKEY, @credentials.public_key)
      set(@socket, CURVE_SECRETKEY, @credentials.secret_key)
    end

    def set(socket, option, value)
      bytes = value.is_a?(Integer) ? [value].pack("i") : value
      LibZMQ.zmq_setsockopt(socket.socket, option, bytes, bytes.bytesize)
    end

    def receive_from(socket)
      frames = []
      loop do
        frame = +""
        return if socket.recv_string(frame, ZMQ::DONTWAIT) == -1

        frames << frame
        return frames unless socket.more_parts?
      end
    end

    def notice(event)
      case event
      when CONNECTED then @phase = :shaking
      when CONNECT_RETRIED then @trouble = :unanswered if @phase == :connecting
      when HANDSHAKE_SUCCEEDED
        @phase = :ready
        @failures = 0
        @refusal = nil
        return :up
      else # disconnected, or told that hands will not be shaken
        return @phase = :closed unless ready?

        @phase = :connecting # libzmq connects again by itself
        @trouble = :unanswered
        return :down
      end
      nil
    end

    def replace(now)
      close
      @trouble = :stranger
      @key += 1 # while the servers' pair is being replaced, the trust file names two
      whole = [REOPEN_MIN * 2**@failures, REOPEN_MAX].min
      @failures += 1 if whole < REOPEN_MAX
      @open_at = now + whole * rand(0.5..1.0)
    end
  end
end
