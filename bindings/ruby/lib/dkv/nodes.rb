# frozen_string_literal: true

require_relative "connection"

module Dkv
  # The cluster's nodes as this client knows them: where they are, and who leads.
  #
  # Owns the connections and the choice among them. None of it is needed for correctness: every node
  # takes everything. It knows nothing of calls.
  class Nodes
    CONNECTIONS_MAX = 16

    attr_reader :all

    def initialize(endpoints, credentials, poller)
      @context = ZMQ::Context.new
      @poller = poller
      @credentials = credentials
      @all = endpoints.uniq.map { |address| connection(address, true) }
      @turn = 0
    end

    def next_turn = @turn += 1

    # The best node to ask now, or nil if none is connected. Writes go to the leader, if it is known
    # and well; reads to one after the other, a node a turn.
    def choose(write, preferred, now)
      asked = by_name(preferred)
      return asked if asked&.ready?

      leader = write ? by_name(@leader) : nil
      return leader if leader && well?(leader, now)

      ready = all.rotate(@turn % all.size).select(&:ready?)
      ready.find { |it| well?(it, now) } || ready.min_by(&:avoid_until)
    end

    # What a refusal said of the leader.
    def hint(failure)
      return if failure.leader.empty? && !%w[not_leader no_leader].include?(failure.code)

      @leader = failure.leader
    end

    # Takes the result of `members`. Returns the connections that are no longer needed.
    def learn(result)
      @leader = result["leader"]
      members = result["members"]
      return [] unless members.is_a?(Array)

      members = members.grep(Hash).reject { |it| it["client_address"].to_s.empty? }
      members.each { |it| meet(it["name"], it["client_address"]) }
      addresses = members.map { |it| it["client_address"] }
      kept, gone = all.partition { |it| it.configured? || addresses.include?(it.address) }
      @all = kept
      gone
    end

    def leader_found? = by_name(@leader)&.ready?

    # Why none of them answers, for a person.
    def trouble = "No node has answered in time: #{all.map(&:trouble).join('; ')}."

    def close
      all.each(&:close)
      @context.terminate
    end

    private

    def connection(address, configured)
      Connection.new(@context, @poller, address, @credentials, configured)
    end

    # A node may be known under another address than the one that it advertises.
    def meet(name, address)
      return if by_name(name) || all.any? { |it| it.address == address }
      return if all.size >= CONNECTIONS_MAX

      @all += [connection(address, false)]
    end

    def well?(connection, now) = connection.ready? && now >= connection.avoid_until

    def by_name(name)
      name.to_s.empty? ? nil : all.find { |it| it.name == name }
    end
  end
end
