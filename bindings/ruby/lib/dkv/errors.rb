# frozen_string_literal: true

# What can go wrong, as two kinds that an application must tell apart.
#
#     Error
#     ├── Rejected            it did not happen, and will not
#     │   └── ConditionFailed   the key is not at the expected revision
#     └── Uncertain           it may have happened, or may yet
#
# This file owns the kinds. It knows nothing of sockets and attempts.
module Dkv
  # What a node, or this library, says of a request that has no result. `applied` is "no", "yes" or
  # "unknown"; `retry` is "never", "same", "later" or "other"; `words` are for a person.
  Failure = Struct.new(:code, :applied, :retry, :leader, :words, :key_revision,
                       keyword_init: true) do
    # A failure that claims nothing happened, unless it is told otherwise.
    def self.of(code, words, **rest)
      new(code: code, words: words, applied: "no", retry: "never", leader: "", **rest)
    end
  end

  class Error < StandardError
    attr_reader :failure

    def initialize(failure)
      @failure = failure
      super("#{failure.code}: #{failure.words}")
    end

    def code = failure.code
  end

  # It did not happen and will not. Doing it again is safe, if the code makes sense of that.
  class Rejected < Error; end

  # Somebody was faster: the key is at #key_revision (0: absent). Read it and decide anew.
  class ConditionFailed < Rejected
    def key_revision = failure.key_revision || 0
  end

  # It may have happened, or may yet. Read before you do it again; what a read does not show may
  # still come.
  class Uncertain < Error; end
end
