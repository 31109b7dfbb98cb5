"""The mutants.

Owns: the list. A new feature that keeps a promise adds the bugs that would break it.
Must never know how they are found.
"""

from actors import copying, ledger, log, machine, recovery, staging
from dkv.kv import reading, sessions, state, sweep
from dkv.raft import (
    candidate,
    configuration,
    core,
    follower,
    leader,
    members,
    post,
    progress,
    quorum,
    table,
)
from tests.mutants import Edit, Mutant
from tests.mutants import profiles as to

CATALOGUE = (
    # -- promises and the disk -------------------------------------------------------------------
    Mutant(
        "ack_before_fsync",
        "The log posts what is sealed in a Write before its transaction is durable (§5, thesis "
        "10.2.1).",
        to.CRASHES,
        (
            Edit(
                log.Log,
                "_turn",
                "    out: Outbox = []\n    number = self._number\n",
                "    out: Outbox = []\n    number = self._number\n    self._journal.commit()\n",
            ),
            Edit(log.Log, "_turn", "now.us + self._journal.commit()", "now.us"),
        ),
    ),
    Mutant(
        "vote_not_persisted",
        "A vote is given and not written with its term: after a restart it is given again (§5.2).",
        to.DUELS,
        (
            Edit(
                log.Log,
                "_write",
                "self._hard._replace(term=write.term, vote=write.vote)",
                "self._hard._replace(term=write.term, vote=0)",
            ),
        ),
    ),
    Mutant(
        "vote_before_its_witness",
        "A vote leaves the node before the witness holds it: a log rolled back votes again.",
        to.DUELS,
        (Edit(log.Log, "_keep_witness", "if self._promised or lazy:", "if lazy:"),),
    ),
    Mutant(
        "vote_request_unsealed",
        "A candidate asks for votes before its own term and vote are on its disk.",
        to.DUELS,
        (
            Edit(
                candidate,
                "ask_for_votes",
                "    sealed = [(peer, request) for peer in raft.other_voters]\n",
                "    sealed = []\n"
                "    for peer in raft.other_voters:\n        raft.post(peer, request)\n",
            ),
        ),
    ),
    Mutant(
        "empty_append_unsealed",
        "Consensus itself acknowledges an Append without entries, though those before it are still "
        "being synced.",
        to.SYNCS,
        (
            Edit(
                follower,
                "take_append",
                "    raft.write(\n",
                "    if not letter.rows:\n"
                "        raft.post(peer, Appended(raft.term, index, check))\n"
                "        return\n"
                "    raft.write(\n",
            ),
        ),
    ),
    Mutant(
        "saved_of_a_replaced_write",
        "The word that a Write is on disk counts for the entries that have replaced it since (the "
        "ABA race of asynchronous storage).",
        to.SYNCS,
        (
            Edit(
                core.Raft,
                "truncate",
                "deque((n, min(last, index - 1), us) for n, last, us in self._unsaved)",
                "self._unsaved",
            ),
        ),
    ),
    Mutant(
        "applied_before_saved",
        "The state machine is handed what is committed and not yet in this node's own log.",
        to.SYNCS,
        (Edit(core.Raft, "hand_over", "min(self.commit, self.saved)", "self.commit"),),
    ),
    Mutant(
        "witness_ignored",
        "A log that holds less than its witness saw is believed: acknowledged entries are gone.",
        to.HARM,
        (Edit(recovery._LogReader, "check_witness", "if not self._witnessed:", "if False:"),),
    ),
    Mutant(
        "damaged_row_accepted",
        "The chain of checks is not verified: a flipped bit in the log is applied and sent on.",
        to.HARM,
        (Edit(recovery._LogReader, "read", "or not is_sound(entry, self.last.check)", ""),),
    ),
    Mutant(
        "damaged_last_row_cut",
        "A damaged last row is taken for a torn one and cut off, though it was acknowledged.",
        to.HARM,
        (
            Edit(
                recovery,
                "_read",
                "        reader.read(entry)\n",
                "        if not is_sound(entry, reader.last.check):\n            break\n"
                "        reader.read(entry)\n",
            ),
            Edit(recovery._LogReader, "check_witness", "if not self._witnessed:", "if False:"),
        ),
    ),
    Mutant(
        "applied_index_apart",
        "The applied index is committed a transaction later than the state: entries are applied "
        "again after a crash.",
        to.CRASHES,
        (
            Edit(
                state.State,
                "commit",
                "    self._base = self.meta()\n    self.store.commit(self._base, changed, ended)\n",
                "    before = self._base\n    self._base = self.meta()\n"
                "    self.store.commit(before, changed, ended)\n",
            ),
        ),
    ),
    Mutant(
        "applying_over_a_rollback",
        "A failed statement rolls back the lazy transaction, and the state machine goes on.",
        to.FULL,
        (
            Edit(
                machine.Machine,
                "handle",
                "        raise self._state.store.fault(error) from error\n",
                "        self._state.store.disk.forget_table()\n        return []\n",
            ),
        ),
    ),
    # -- elections -------------------------------------------------------------------------------
    Mutant(
        "half_is_a_majority",
        "One member too few decides: two of four, one of three (§5.2, §5.3).",
        to.WIDE,
        (Edit(quorum, "majority", "size // 2 + 1", "max(size // 2, 1)"),),
    ),
    Mutant(
        "two_votes_a_term",
        "A follower votes for whoever asks, whomever it has chosen in this term (§5.2).",
        to.DUELS,
        (Edit(follower, "answer_vote", "raft.vote in (0, peer.disk)", "True"),),
    ),
    Mutant(
        "vote_for_a_shorter_log",
        "A vote goes to a candidate whose log lacks what this one may have acknowledged (§5.4.1).",
        to.WIDE,
        (
            Edit(
                follower,
                "is_as_new",
                "(last_term, last_index) >=",
                "True or (last_term, last_index) >=",
            ),
        ),
    ),
    Mutant(
        "disk_id_ignored",
        "A member is its name: an emptied disk votes and acknowledges as if it held what it had.",
        to.WIPES,
        (
            Edit(
                configuration.Configuration,
                "counts",
                "(not self.formed_index or seat.disk == disk)",
                "True",
            ),
            Edit(post.PostOffice, "_is_member", "if not config.is_formed", "if True"),
            Edit(post.PostOffice, "_may_read", "if config.opened_index and", "if False and"),
            Edit(core.Raft, "peer", "disk in (0, heard.disk)", "heard.disk"),
            Edit(
                progress.Progress,
                "acknowledged",
                "    assert self.disk in (UNKNOWN, disk), (self.name, self.disk, disk)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "first_election_by_majority",
        "A majority of the names founds the cluster: an emptied disk helps to found another.",
        to.FOUNDING,
        (
            Edit(
                configuration.Configuration,
                "votes_needed",
                "majority(size) if self.is_formed else size",
                "majority(size)",
            ),
        ),
    ),
    # -- the log and its copies ------------------------------------------------------------------
    Mutant(
        "stale_append_truncates",
        "An Append that is old, repeated or shorter than the log cuts off what follows (§5.3).",
        to.LATE,
        (
            Edit(
                follower,
                "_take_rows",
                "    return cut_from, added\n",
                "    if not added and letter.rows and index < tail.last.index:\n"
                "        cut_from = index + 1\n        raft.truncate(cut_from)\n"
                "    return cut_from, added\n",
            ),
        ),
    ),
    Mutant(
        "commit_of_old_terms",
        "A leader commits entries of older terms by counting who holds them (Figure 8, §5.4.2).",
        to.FIGURE_8,
        (Edit(leader, "_count", "index < lead.first or ", ""),),
    ),
    Mutant(
        "commit_beyond_the_append",
        "A follower commits what an Append names, beyond what Appends of this term have verified "
        "(§5.3). Seen with a leader that probes further back than dkv's does, which is its right.",
        to.SMALL,
        (
            Edit(
                leader, "take_mismatch", "letter.prev_index - 1) + 1", "letter.prev_index - 1) - 3"
            ),
            Edit(follower, "take_append", "min(letter.commit, role.verified)", "letter.commit"),
        ),
    ),
    Mutant(
        "commit_tick_unbounded",
        "The commit index of a tick or heartbeat counts for whatever stands at that place.",
        to.JUNK,
        (
            Edit(follower, "take_commit", "min(letter.commit, role.verified)", "letter.commit"),
            Edit(follower, "take_heartbeat", "min(letter.commit, role.verified)", "letter.commit"),
        ),
    ),
    Mutant(
        "commit_told_before_it_is_one",
        "The member whose clients wait is told of the end of the leader's log, not of what a "
        "majority has.",
        to.SYNCS,
        (
            Edit(
                leader,
                "tell_commit",
                "raft.post(raft.peer(name), Commit(raft.term, raft.commit))",
                "raft.post(raft.peer(name), Commit(raft.term, raft.tail.last.index))",
            ),
        ),
    ),
    Mutant(
        "old_acknowledgements_count",
        "An acknowledgement of an older term counts in this one: those entries may be gone.",
        to.RETURNS,
        (
            Edit(
                table,
                "_pass_term",
                "    if letter.term < raft.term:\n",
                "    if letter.term < raft.term and not isinstance(letter, Appended):\n",
            ),
            Edit(leader, "take_appended", "check is not None and check != letter.check", "False"),
        ),
    ),
    Mutant(
        "match_falls",
        "A late acknowledgement lowers what a member is known to hold.",
        to.LATE,
        (Edit(progress.Progress, "acknowledged", "max(self.match, index)", "index"),),
    ),
    Mutant(
        "leader_counts_itself_early",
        "A leader counts its own entries before its own disk has them (thesis 10.2.1).",
        to.CRASHES,
        (
            Edit(
                leader,
                "write_unwritten",
                "        last = raft.tail.last\n",
                "        last = raft.tail.last\n"
                "        if lead.progress[raft.name].acknowledged(raft.disk, last.index):\n"
                "            _count(raft, lead)\n",
            ),
        ),
    ),
    # -- reads -----------------------------------------------------------------------------------
    Mutant(
        "read_before_own_commit",
        "A new leader answers reads before an entry of its own term is committed (thesis 6.4).",
        to.CRASHES,
        (Edit(leader.Leader, "own_term_committed", "raft.commit >= self.first", "True"),),
    ),
    Mutant(
        "read_without_a_round",
        "A leader answers reads at once, without asking whether it still leads.",
        to.READS,
        (
            Edit(
                leader,
                "read",
                "lead.reads.waiting.append((None if peer == raft.me else peer, letter.batch))\n",
                "asker = None if peer == raft.me else peer\n"
                "    raft.post(asker or Local.GATEWAY, ReadAt(letter.batch, raft.commit))\n",
            ),
        ),
    ),
    Mutant(
        "read_joins_the_round_under_way",
        "A read is confirmed by a round of heartbeats that began before it was asked.",
        to.SLUMBER,
        (
            Edit(
                leader,
                "read",
                "letter.batch))\n",
                "letter.batch))\n"
                "    if lead.own_term_committed(raft):\n"
                "        lead.reads.join(lead.round, raft.commit)\n",
            ),
        ),
    ),
    Mutant(
        "old_round_counts",
        "An answer to an earlier round of heartbeats confirms the latest (etcd #20418).",
        to.READS,
        (
            Edit(
                leader,
                "take_heartbeat_ack",
                "max(progress.round, min(letter.round, lead.round))",
                "lead.round",
            ),
        ),
    ),
    Mutant(
        "read_before_applied",
        "A read is answered before the state has come to the index that was confirmed for it.",
        to.LATE,
        (Edit(machine.Machine, "_answer", "lookup.index > self._state.applied", "False"),),
    ),
    # -- clients ---------------------------------------------------------------------------------
    Mutant(
        "answers_not_durable",
        "What sessions remember is not committed with the state: a retry after a restart executes "
        "again.",
        to.RETRIES,
        (
            Edit(
                sessions.Session,
                "pack",
                "tuple((s, d, a) for s, (d, a) in sorted(self.answers.items()))",
                "()",
            ),
        ),
    ),
    Mutant(
        "heads_forgotten",
        "After a restart the state machine does not know which keys there are: what was written "
        "before is absent, and an expected revision of it fails.",
        to.CRASHES,
        (
            Edit(
                machine.Machine,
                "__init__",
                "Scan(state.store, state.heads)",
                "Scan(state.store, {})",
            ),
        ),
    ),
    Mutant(
        "last_answer_only",
        "A session remembers its last sequence alone: a retry of an earlier one executes again.",
        to.RETRIES,
        (
            Edit(
                sessions.Sessions,
                "record",
                "    session.answers[sequence]",
                "    session.answers.clear()\n    session.answers[sequence]",
            ),
        ),
    ),
    Mutant(
        "expired_session_executes",
        "A command of a session that has ended is executed, as if it were the first attempt.",
        to.EXPIRY,
        (
            Edit(
                sessions.Sessions,
                "use",
                "        return Code.SESSION_LOST\n",
                "        session = self._sessions[number] = Session(owner, tick)\n"
                "        self._by_owner[owner] = self._by_owner.get(owner, 0) + 1\n",
            ),
        ),
    ),
    Mutant(
        "origin_without_boot",
        "Results of an earlier life of a node are taken for those of this one's batches.",
        to.RESTARTS,
        (
            Edit(
                machine.Machine,
                "_apply",
                "(outcome.node, outcome.boot) == (self._node, self._boot)",
                "outcome.node == self._node",
            ),
        ),
    ),
    Mutant(
        "refused_after_a_relay",
        "A command that was relayed and not heard of again is refused as if surely not applied.",
        to.RETRIES,
        (
            Edit(
                ledger.Pending,
                "surely_not_applied",
                "self.posted == self.refused and not self.asked.header.retry",
                "not self.asked.header.retry",
            ),
        ),
    ),
    # -- the membership --------------------------------------------------------------------------
    Mutant(
        "change_before_own_term",
        "A leader changes the members before an entry of its own term is committed (raft-dev, 10 "
        "July 2015).",
        to.TWO_ADDS,
        (
            Edit(
                members,
                "_check_time",
                "if not lead.own_term_committed(raft):",
                "if False:",
            ),
        ),
    ),
    Mutant(
        "two_changes_at_once",
        "A second change of the members is made before the first is committed (thesis §4.1).",
        to.AT_ONCE,
        (
            Edit(members, "_check_time", "if config.index > raft.commit:", "if False:"),
            Edit(
                members,
                "promote_who_is_close",
                "not lead.learners or raft.config.index > raft.commit or lead.heir",
                "not lead.learners or lead.heir",
            ),
        ),
    ),
    Mutant(
        "learner_counted",
        "What a learner has acknowledged counts towards a majority (§4.2.1).",
        to.CHURN,
        (
            Edit(
                leader.Leader,
                "seat",
                "[self.progress[name] for name in config.voters]",
                "list(self.progress.values())",
            ),
        ),
    ),
    Mutant(
        "removed_leader_counts_itself",
        "A leader that the newest configuration does not hold counts its own disk (§4.2.2).",
        to.OUSTED,
        (
            Edit(
                leader.Leader,
                "seat",
                "    self.voters = [self.progress[name] for name in config.voters]\n",
                "    mine = known.get(raft.name)\n"
                "    if mine is not None:\n"
                "        self.progress.setdefault(raft.name, mine)\n"
                "    names = dict.fromkeys((*config.voters, raft.name))\n"
                "    self.voters = [self.progress[n] for n in names if n in self.progress]\n",
            ),
            Edit(
                leader,
                "_progress_of",
                "if not raft.config.holds(peer.name, peer.disk):",
                "if not raft.config.holds(peer.name, peer.disk) and peer != raft.me:",
            ),
        ),
    ),
    Mutant(
        "change_kept_after_truncation",
        "A configuration stays in force though the entry that made it was replaced (§4.1).",
        to.KEPT,
        (Edit(core.Raft, "truncate", "self._configure(self.reigns.truncate(index))", "pass"),),
    ),
    # -- snapshots -------------------------------------------------------------------------------
    Mutant(
        "snapshot_without_sessions",
        "A snapshot has no sessions, and neither its sender nor its receiver misses them: a retry "
        "is executed again, or answered otherwise than elsewhere.",
        to.BEHIND,
        (
            Edit(copying.Copying, "answer", "sessions = state.sessions.packed()", "sessions = []"),
            Edit(
                staging.Staging,
                "_whole",
                "    sessions = Sessions",
                "    meta = meta._replace(remembered=0)\n    sessions = Sessions",
            ),
        ),
    ),
    Mutant(
        "state_installed_log_as_it_was",
        "Consensus goes on with the log of before, though state.db has a snapshot's state.",
        to.BEHIND,
        (
            Edit(
                core.Raft,
                "installed",
                "        self._rebase(position, letter)\n",
                "        return\n",
            ),
        ),
    ),
    # -- the end of history ----------------------------------------------------------------------
    Mutant(
        "deletion_goes_first",
        "A deletion goes before what it hides: a crash in between brings that back.",
        to.HISTORY,
        (Edit(sweep.Sweep, "_find", "self._dead.sort(reverse=True)", "self._dead.sort()"),),
    ),
    Mutant(
        "list_ends_short",
        "A list that a compaction passes ends as if there were no more keys.",
        to.HISTORY,
        (
            Edit(
                reading.Listing,
                "step",
                "return pack_answer(Code.COMPACTED, self._state.revision)",
                "return self._page(None)",
            ),
        ),
    ),
    Mutant(
        "progress_of_deletion_is_written",
        "A put to a deleted key names that deletion where it is still there, and nothing where it "
        "has gone: replicas differ.",
        to.HISTORY,
        (Edit(state.State, "_put", "previous <= self.floor", "False"),),
    ),
    Mutant(
        "swept_before_it_is_done",
        "How far deletion has come is kept before it has come there: after a crash the rest stays "
        "for ever.",
        to.HISTORY,
        (
            Edit(
                sweep.Sweep,
                "_find",
                "    self._asked = asked\n",
                "    self._asked = self._state.swept = asked\n",
            ),
        ),
    ),
)

BY_NAME = {mutant.name: mutant for mutant in CATALOGUE}
