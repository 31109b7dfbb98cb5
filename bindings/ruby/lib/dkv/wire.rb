# frozen_string_literal: true

require "msgpack"
require_relative "errors"

module Dkv
  # One reply to one request. Either `result` (a Hash) or `failure`.
  Reply = Struct.new(:id, :position, :result, :failure, :revision, :node)

  # Bytes: commands and requests as the protocol wants them, and what a node's frames say.
  #
  # Owns the shapes on the wire. It never sends, and it trusts nothing it reads: whatever does not
  # have the shape of a reply is nothing.
  module Wire
    PROTOCOL = "DKV1".b.freeze
    ID_BYTES = 8

    module_function

    # Packed once, for the bytes of a command are the same in every attempt.
    def command(op, **fields)
      MessagePack.pack({ "op" => op }.merge(fields.compact.transform_keys(&:to_s)))
    end

    # A joined frame: `DKV1`, the id, and one request or an array of them.
    def frame(id, requests)
      body = MessagePack.pack(requests.size == 1 ? requests[0] : requests)
      PROTOCOL + [ID_BYTES, id].pack("CQ>") + body
    end

    # Every reply of a message, joined or in three frames, burst or not.
    def replies(frames)
      id, body = split(frames)
      return [] unless body

      said = MessagePack.unpack(body)
      return [reply(said, number(id))].compact unless said.is_a?(Array)

      said.filter_map { |it| reply(it, nil) }
    rescue StandardError
      [] # no msgpack, or not of these shapes: nothing that a node of dkv has said
    end

    def split(frames)
      return frames.drop(1) if frames.size == 3 && frames[0] == PROTOCOL
      return unless frames.size == 1 && frames[0].start_with?(PROTOCOL)

      length = frames[0].getbyte(PROTOCOL.bytesize) || return
      at = PROTOCOL.bytesize + 1
      [frames[0].byteslice(at, length), frames[0].byteslice((at + length)..)]
    end

    def number(id)
      id.is_a?(String) && id.bytesize == ID_BYTES ? id.unpack1("Q>") : nil
    end

    def reply(map, id)
      return if !map.is_a?(Hash) || map["partial"] == true

      id ||= number(map["id"])
      result, error = map.values_at("result", "error")
      return unless id && (result.is_a?(Hash) || error.is_a?(Hash))

      failure = result ? nil : failure(error)
      Reply.new(id, map["position"], result, failure, map["revision"] || 0, map["node"].to_s)
    end

    # What says neither of the two definite words claims nothing.
    def failure(error)
      applied, again = error.values_at("applied", "retry")
      code, leader, words = error.values_at("code", "leader", "words").map(&:to_s)
      Failure.new(code: code, leader: leader, words: words,
                  applied: %w[no yes].include?(applied) ? applied : "unknown",
                  retry: %w[same later other].include?(again) ? again : "never",
                  key_revision: error["key_revision"])
    end

    private_class_method :split, :number, :reply, :failure
  end
end
