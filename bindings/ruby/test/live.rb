# frozen_string_literal: true

# Against a living cluster, named by the environment as ../with_cluster.sh does.

require "minitest/autorun"
require_relative "../lib/dkv"

class LiveTest < Minitest::Test
  FILES = %i[trust certificate key].to_h { |name| [name, ENV.fetch("DKV_#{name.upcase}")] }.freeze
  NOBODY = "127.0.0.1:1"

  def setup
    # Nobody listens at the first, which does no harm.
    @kv = Dkv::Client.new([NOBODY] + ENV.fetch("DKV_ENDPOINTS").split(","), **FILES)
  end

  def teardown = @kv.close

  def test_keys
    key = "\0\xff key".b
    revision = @kv.put(key, "one")
    item = @kv.get(key)
    assert_equal [key, "one", revision], [item.key, item.value, item.key_revision]
    assert_equal "admin", item.author
    assert_operator @kv.put(key, "two", expected: revision), :>, revision
    error = assert_raises(Dkv::ConditionFailed) { @kv.put(key, "x", expected: revision) }
    assert_operator error.key_revision, :>, revision
    assert_equal [1, 0], [@kv.delete(key).deleted, @kv.delete(key).deleted]
    assert_nil @kv.get(key)
  end

  def test_a_write_without_a_session
    assert_operator @kv.put("single", "1", session: false), :>, 0
  end

  def test_a_key_that_may_not_be_is_rejected
    assert_raises(Dkv::Rejected) { @kv.put("", "x") }
  end

  def test_what_is_too_large_is_rejected_and_harms_nobody
    beside = @kv.put_async("beside", "v")
    [2 << 20, 8 << 20].each do |bytes|
      assert_equal "too_large", assert_raises(Dkv::Rejected) { @kv.put("big", "x" * bytes) }.code
    end
    assert_operator beside.value, :>, 0
    assert_operator @kv.put("fits", "x" * (1 << 20)), :>, 0
  end

  def test_a_node_tells_its_status
    status = @kv.status
    assert_includes %w[n1 n2 n3], status.node
    assert_includes status.fields.keys, "consensus"
  end

  def test_many_at_once_and_their_list
    puts = Array.new(1500) { |n| @kv.put_async("many/#{n}", n.to_s) }
    assert_equal 1500, puts.map(&:value).uniq.size
    keys = @kv.list(prefix: "many/", page: 400).items.map(&:key)
    assert_equal [1500, keys.sort], [keys.size, keys]
    some = @kv.list(start: "many/1", end: "many/2", keys_only: true, level: :serializable)
    assert_equal [nil], some.items.map(&:value).uniq
  end

  def test_where_nobody_is_it_says_so
    Dkv::Client.open(NOBODY, **FILES) do |nowhere|
      error = assert_raises(Dkv::Rejected) { nowhere.put("k", "v", timeout: 0.2) }
      assert_match(/nothing answers at #{NOBODY}/, error.message)
    end
  end

  def test_a_closed_client_refuses
    @kv.close
    assert_equal "lost", assert_raises(Dkv::Rejected) { @kv.get("k") }.code
  end
end
