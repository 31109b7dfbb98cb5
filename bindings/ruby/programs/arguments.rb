# frozen_string_literal: true

require "optparse"
require_relative "../lib/dkv"

# The options that the programs share: where the cluster is, and as whom.
module Arguments
  # `--endpoints H:P,... --trust F --certificate F --key F`, or the environment's DKV_ENDPOINTS and
  # so on; and a whole number for each of `numbers`, which holds their defaults. Returns the client
  # and the numbers.
  def self.read(**numbers)
    files = %i[trust certificate key].to_h { |name| [name, ENV["DKV_#{name.upcase}"]] }
    endpoints = ENV.fetch("DKV_ENDPOINTS", "").split(",")
    OptionParser.new do |options|
      options.on("--endpoints H:P,...", Array) { |it| endpoints = it }
      files.each_key { |name| options.on("--#{name} FILE") { |it| files[name] = it } }
      numbers.each_key { |name| options.on("--#{name} N", Integer) { |it| numbers[name] = it } }
    end.parse!
    [Dkv::Client.new(endpoints, **files), numbers]
  end
end
