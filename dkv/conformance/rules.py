"""The rules of the wire by number, as docs/protocol.md has them.

Owns: their numbers and sentences; a rule keeps its number for ever. Must never know how one is
tried. C: what a client must do; S: what a node must do. A rule of `ADVISED` may be broken, at a
cost, without a wrong answer.
"""

CLIENT: dict[str, str] = {
    # the wire: judged on every message of every play
    "C1": "A message has the frames of section 1: `DKV1`, a request id of 1 to 32 bytes, a body.",
    "C2": "A request id is used for one message on a connection, `present` apart.",
    "C3": "A body is a map, or an array of maps; every field has its type and keeps its limit.",
    "C4": "The first message of each connection is `present`, alone and below 16 KiB.",
    "C5": "A session and sequence belong to one command: always the very same bytes.",
    "C6": "`sequence` and `lowest` begin at 1; `lowest` is not above `sequence`, nor 1,024 below.",
    # what is asked and answered
    "C10": "Bytes go and come unchanged, and ints up to 2^63-1 exactly.",
    "C11": "Tokens of a list go back as they came, until a page has none.",
    "C12": "A reply of several megabytes is taken.",
    "C13": "Fields that are not known are ignored, in replies, results and errors.",
    "C14": "A code that is not known is treated by its `applied` and `retry`.",
    "C15": "What is no reply to an open request is dropped: garbage, strange ids, other protocols.",
    "C16": "A reply with `partial: true` is skipped.",
    "C17": "A reply that comes twice is taken once, a late one never for that of another request.",
    "C18": "Of an array each reply is matched by id and position, in whatever order.",
    "C19": "Replies come in a burst only to who set `burst`, who must take them so.",
    "C20": "An error without `position` is that of each request of its array.",
    # security
    "C30": "After `certificate_needed`: present again, then send the same again.",
    "C31": "A certificate that is refused is a definite end, not asked for again without a pause.",
    "C32": "A server key counts only if the authority of the trust file signed it.",
    "C33": "A server certificate whose time is over does not count.",
    "C34": "After a failed handshake: a new socket, with the trust file's other key.",
    "C35": "After something that was no node of dkv: a new socket to the same address.",
    "C36": "A dead server and one that proves another key are told apart, in words.",
    "C37": "A key file that others can read is refused.",
    # nodes
    "C40": "A dead endpoint beside a living one does no harm.",
    "C41": "A node that has been silent for about 1.5 s: another is asked, within the deadline.",
    "C42": "After a connection that was lost, a request goes on at another.",
    "C43": "Writes go to the leader that `members` or an error names.",
    "C44": "Nodes that `members` names are found.",
    # refusals and retries
    "C50": "`retry: never` ends a call; nothing of it is sent again.",
    "C51": "`retry: later` is followed by pauses that grow, up to about 500 ms.",
    "C52": "Pauses are drawn: two calls do not wait equally long.",
    "C53": "`retry: same` is followed soon by the same request.",
    "C54": "`retry: other` is followed by the same request at another node.",
    "C55": "A read without an answer is sent again.",
    "C56": "A call ends at its deadline, and `ttl_ms` is never beyond it.",
    "C57": "Refused in every attempt, `applied: no`, a call is definitely refused.",
    # writes
    "C60": "A write in a session without an answer: the same again, with `retry: true`; done once.",
    "C61": "A write without a session is not sent again after silence; its outcome is unknown.",
    "C62": "A write without a session is sent again after `applied: no` that allows it.",
    "C63": "One attempt without an answer makes the outcome unknown, whatever later ones say.",
    "C64": "An answer `applied: unknown` is an attempt without an answer.",
    "C65": "`condition_failed` settles earlier attempts too; it is definite.",
    "C66": "`session_lost` or `stale` on a retry is an unknown outcome.",
    "C67": "No write is sent under a second session after it may have arrived in the first.",
    "C68": "After `session_lost` the next write has a new session.",
    "C69": "`answer_dropped` is no refusal: it was done.",
    "C70": "`lowest` never passes a sequence without an answer.",
    "C71": "`lowest` follows the answers: with none missing it is the sequence itself.",
    "C72": "A session that has idled is kept alive, or replaced before it is used again.",
    # the end
    "C80": "A program ends within 2 s, also if nobody takes what it sent.",
    "C81": "A session is closed when its owner ends.",
}

SERVER: dict[str, str] = {
    "S1": "An answer has the form of its message: three frames, one, or a delimiter before them.",
    "S2": "A request id of 1 to 32 bytes comes back as it was.",
    "S3": "What is no message of `DKV1` gets no answer, and the connection goes on.",
    "S4": "Fields that are not known are ignored, around a command and in it.",
    "S5": "An `op` that is not known is `unsupported`, definitely.",
    "S6": "A field that is missing or of another type is `bad_request`; one that is nil is absent.",
    "S7": "A field at its limit is taken; beyond it bytes are `too_large`, an int `bad_request`.",
    "S8": "A result has the fields of section 5 with their types, beside `revision` and `node`.",
    "S9": "An error has the fields of section 7, and the `retry` of its code.",
    "S10": "Each request of an array is answered by itself, under its position.",
    "S11": "A body that is bad as a whole gets one error without `position`; nothing is done.",
    "S12": "Replies come in a burst only to who set `burst`, each with its `id`; none is missing.",
    "S13": "What is refused changes nothing.",
    "S14": "A retry in its session gets the first attempt's answer, and is not executed again.",
    "S15": "Another command under a sequence that is taken is `sequence_reused`.",
    "S16": "A sequence below `lowest` is `stale`, one too far beyond it `sequence_window`.",
    "S17": "A session that is closed, or never was, is `session_lost`.",
    "S18": "`expected`: done at that revision, else `condition_failed` with `key_revision`.",
    "S19": "A list is in order and within its range; its pages are of one moment.",
    "S20": "A token is refused with another range, and taken at its own.",
    "S21": "A serializable read has `lag_ms`; a level that is not known is `bad_request`.",
    "S22": "A key that is twice in a map, an extension type and nested arrays are `bad_request`.",
    "S23": "A guest is answered `certificate_needed`, also to an array, and may present then.",
    "S24": "A certificate of another key is `certificate_refused`.",
}

ADVISED = frozenset(("C43", "C44", "C71", "C81"))
