# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = "dkv"
  spec.version = "0.1.0"
  spec.summary = "A client of dkv, a replicated key-value store"
  spec.authors = ["the dkv authors"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.0"
  spec.files = Dir["lib/**/*.rb", "README.md"]
  spec.add_dependency "ffi", "~> 1.15"
  spec.add_dependency "ffi-rzmq", "~> 2.0"
  spec.add_dependency "msgpack", "~> 1.4"
end
