use super::*;

fn write() -> Call {
    let deadline = Instant::now() + Duration::from_secs(5);
    Call::new(Kind::Write, b"command".to_vec(), deadline, Owner::CloseSession)
}

fn failure(code: &str, applied: Applied, retry: Retry) -> Failure {
    Failure { applied, ..Failure::new(code, retry, "") }
}

fn attempt(call: &mut Call, message: u64) {
    call.sent(message, 0, Instant::now());
}

fn refuse(call: &mut Call, code: &str, applied: Applied, retry: Retry) -> Verdict {
    call.live = None;
    call.refuse(failure(code, applied, retry))
}

#[test]
fn refused_in_every_attempt_is_rejected() {
    let mut call = write();
    for message in 1..3 {
        attempt(&mut call, message);
        assert_eq!(refuse(&mut call, "busy", Applied::No, Retry::Later), Verdict::Again);
    }
    assert!(matches!(call.outcome(), Error::Rejected(_)));
    assert!(!call.request(1, Instant::now()).retry);
}

#[test]
fn one_attempt_without_an_answer_makes_it_unknown() {
    let mut call = write();
    attempt(&mut call, 1);
    call.live = None;
    assert!(call.request(1, Instant::now()).retry);
    attempt(&mut call, 2);
    assert_eq!(refuse(&mut call, "denied", Applied::No, Retry::Never), Verdict::Settled);
    assert!(matches!(call.outcome(), Error::Unknown(_)));
}

#[test]
fn a_failed_condition_settles_earlier_attempts() {
    let mut call = write();
    attempt(&mut call, 1);
    attempt(&mut call, 2);
    assert_eq!(refuse(&mut call, "condition_failed", Applied::No, Retry::Never), Verdict::Settled);
    assert!(matches!(call.outcome(), Error::Rejected(_)));
}

#[test]
fn an_answer_that_was_dropped_is_no_refusal() {
    let mut call = write();
    attempt(&mut call, 1);
    assert_eq!(refuse(&mut call, "answer_dropped", Applied::Yes, Retry::Never), Verdict::Settled);
    assert!(matches!(call.outcome(), Error::Unknown(it) if it.applied == Applied::Yes));
}

#[test]
fn a_late_refusal_waits_for_the_newer_attempt() {
    let mut call = write();
    attempt(&mut call, 1);
    attempt(&mut call, 2);
    let late = failure("not_leader", Applied::No, Retry::Same);
    assert_eq!(call.refuse(late), Verdict::Wait);
}

#[test]
fn without_a_session_nothing_is_sent_again_in_doubt() {
    let mut call = write();
    call.kind = Kind::Single;
    attempt(&mut call, 1);
    assert_eq!(refuse(&mut call, "timeout", Applied::Unknown, Retry::Same), Verdict::Settled);
    assert!(matches!(call.outcome(), Error::Unknown(_)));
}

#[test]
fn pauses_grow_to_half_a_second_and_are_drawn() {
    let mut call = write();
    attempt(&mut call, 1);
    refuse(&mut call, "busy", Applied::No, Retry::Later);
    for doubled in 0..10 {
        let whole = PAUSE_MAX.min(PAUSE_MIN * (1 << doubled));
        let pause = call.pause();
        assert!(whole / 2 <= pause && pause <= whole, "{pause:?} of {whole:?}");
    }
}
