# frozen_string_literal: true

module Dkv
  # What was sent and is not answered: under which id, to which node, for which calls.
  #
  # Owns the ids, each of which is used for one message only, so that a late reply is known for what
  # it is. It never sends, and decides nothing of a call.
  class InFlight
    # `calls` by their position in the message; nil: answered, or settled otherwise. None at all: a
    # `present`.
    Message = Struct.new(:id, :connection, :sent, :calls, :left) do
      def present? = calls.empty?
    end

    def initialize
      @messages = {}
      @last_id = 0
    end

    def new_id = @last_id += 1

    def add(id, connection, now, calls)
      @messages[id] = Message.new(id, connection, now, calls, calls.size)
      calls.each_with_index { |call, position| call.sent_as(id, position, now) }
    end

    # The message that a reply from this connection is of, or nil.
    def find(connection, id)
      message = @messages[id]
      message if message&.connection.equal?(connection)
    end

    # A `present` is answered.
    def presented(message) = @messages.delete(message.id)

    # Takes the calls that a reply is of out of their message. An error without a position is that of
    # every request of an array.
    def take(message, reply)
      position = reply.position || (message.calls.one? ? 0 : nil)
      positions = position.nil? && reply.failure ? message.calls.each_index.to_a : [position]
      positions.filter_map { |at| take_one(message, at) }
    end

    # Forgets what was sent there. Returns the calls that wait for exactly that.
    def lost(connection)
      gone, @messages = @messages.partition { |_, it| it.connection.equal?(connection) }.map(&:to_h)
      gone.flat_map { |id, message| message.calls.compact.select { |call| call.live == id } }
    end

    # The connection that a call's latest attempt went to.
    def connection_of(call) = @messages[call.live].connection

    # A call that is settled waits for nothing more.
    def forget(call)
      call.attempts.each do |id, position|
        message = @messages[id]
        take_one(message, position) if message
      end
    end

    private

    def take_one(message, position)
      return unless position.is_a?(Integer) && position.between?(0, message.calls.size - 1)

      call = message.calls[position] || return
      message.calls[position] = nil
      @messages.delete(message.id) if (message.left -= 1).zero?
      call.live = nil if call.live == message.id
      call
    end
  end
end
