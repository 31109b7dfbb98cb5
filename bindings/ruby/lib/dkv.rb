# frozen_string_literal: true

# A client of dkv, a replicated key-value store. See Dkv::Client.
module Dkv
  VERSION = "0.1.0"
end

require_relative "dkv/errors"
require_relative "dkv/client"
