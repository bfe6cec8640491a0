//! What is raced, and what must hold in the end. At most three threads: the one that begins is the third.

use std::{sync::Arc, time::Duration};

use vestibule_model::{Actor, AgentId, AttemptId, Denial, FixedClock, Timestamp};

use super::{
    protocol::{Gate, Passage},
    sync::{Mutex, block_on, thread},
};
use crate::{
    DenyEntry, DenyKey, KeyKind, Order, Path, Reason, State, Wire,
    breaker::{Breaker, Cause, Installed, Rest},
    entry::Fact,
};

const LONG: Duration = Duration::from_secs(3600);

/// A test of each scenario.
macro_rules! tests {
    ($run:path) => {
        mod tests {
            use super::scenarios;

            #[test]
            fn what_is_admitted_while_its_name_is_revoked_is_cut_or_refused() {
                $run(scenarios::admitted_while_revoked);
            }

            #[test]
            fn what_is_admitted_while_the_breaker_of_an_ancestor_opens_is_cut_or_refused() {
                $run(scenarios::admitted_while_a_breaker_opens);
            }

            #[test]
            fn a_child_minted_at_that_very_moment_is_dead_at_its_first_request() {
                $run(scenarios::minted_while_revoked);
            }

            #[test]
            fn no_call_within_a_call_outlives_it() {
                $run(scenarios::admitted_while_the_outer_call_ends);
            }

            #[test]
            fn no_call_within_a_call_outlives_its_cut() {
                $run(scenarios::admitted_while_the_outer_call_is_cut);
            }

            #[test]
            fn a_reply_sees_the_cut_or_its_wire_is_severed() {
                $run(|| scenarios::streaming_while_cut(true));
                $run(|| scenarios::streaming_while_cut(false));
            }

            #[test]
            fn no_chunk_is_written_after_the_acknowledgement() {
                $run(|| scenarios::written_while_acknowledged(true));
                $run(|| scenarios::written_while_acknowledged(false));
            }

            #[test]
            fn no_chunk_is_written_after_whichever_acknowledgement_comes_first() {
                $run(scenarios::written_while_two_acknowledge);
            }

            #[test]
            fn no_chunk_is_written_after_an_acknowledgement_that_did_not_wait() {
                $run(|| scenarios::written_while_overdue(true));
                $run(|| scenarios::written_while_overdue(false));
            }

            #[test]
            fn an_order_waits_for_what_somebody_else_is_cutting() {
                $run(scenarios::written_while_the_outer_call_ends);
            }

            #[test]
            fn an_order_waits_for_what_its_caller_is_calling_off() {
                $run(scenarios::written_while_called_off);
            }

            #[test]
            fn work_that_is_cut_is_woken_and_finds_why() {
                $run(scenarios::woken_by_the_cut);
            }
        }
    };
}
pub(super) use tests;

pub(super) fn admitted_while_revoked() {
    let gate = gate();
    let racers = [1, 2].map(|n| {
        let gate = Arc::clone(&gate);
        thread::spawn(move || admit(&gate, n, &["root", "a"], &[]))
    });
    gate.publish(vec![revoked("a")]);
    for racer in racers {
        is_cut_or_refused(racer.join().unwrap(), Denial::AgentRevoked);
    }
    is_cut_or_refused(admit(&gate, 3, &["a"], &[]), Denial::AgentRevoked);
    assert!(gate.is_idle());
}

pub(super) fn admitted_while_a_breaker_opens() {
    let gate = gate();
    let racers = [1, 2].map(|n| {
        let gate = Arc::clone(&gate);
        thread::spawn(move || admit(&gate, n, &["a", "child"], &[]))
    });
    let (agent, rest) = (AgentId::new("a").unwrap(), Rest { open: LONG, open_max: LONG, probes: 1 });
    let open = Breaker::new(rest).hold(Timestamp::from_seconds(0), None, rest);
    let cause = Cause::order("operator", "");
    gate.switch(&agent, None, |_| Some(Installed::new(&agent, open, cause, 0))).unwrap();
    for racer in racers {
        is_cut_or_refused(racer.join().unwrap(), Denial::AgentSuspended);
    }
    is_cut_or_refused(admit(&gate, 3, &["a"], &[]), Denial::AgentSuspended);
    assert_eq!(mints(&gate, &["a"]), Err(Denial::AgentSuspended));
    assert!(gate.is_idle());
}

pub(super) fn minted_while_revoked() {
    let gate = gate();
    let racers = [1, 2].map(|n| {
        let gate = Arc::clone(&gate);
        thread::spawn(move || mints(&gate, &["a"]).and_then(|()| admit(&gate, n, &["a", "child"], &[])))
    });
    gate.publish(vec![revoked("a")]);
    for racer in racers {
        is_cut_or_refused(racer.join().unwrap(), Denial::AgentRevoked);
    }
    assert!(gate.is_idle());
}

pub(super) fn admitted_while_the_outer_call_ends() {
    let gate = gate();
    let outer = admit(&gate, 1, &["a"], &[]).unwrap();
    let racers = [&[1][..], &[1, 2][..]].map(|calls| {
        let gate = Arc::clone(&gate);
        let n = 1 + calls.len() as u32;
        thread::spawn(move || admit(&gate, n, &["b"], calls))
    });
    drop(outer);
    for racer in racers {
        is_cut_or_refused(racer.join().unwrap(), Denial::CallEnded);
    }
    assert!(gate.is_idle());
}

pub(super) fn admitted_while_the_outer_call_is_cut() {
    let gate = gate();
    let outer = admit(&gate, 1, &["a"], &[]).unwrap();
    let racers = [2, 3].map(|n| {
        let gate = Arc::clone(&gate);
        thread::spawn(move || admit(&gate, n, &["b"], &[1]))
    });
    gate.publish(vec![revoked("a")]);
    assert_eq!(outer.cut(), Some(Denial::AgentRevoked));
    for racer in racers {
        is_cut_or_refused(racer.join().unwrap(), Denial::CallEnded);
    }
    drop(outer);
    assert!(gate.is_idle());
}

/// One that streams, one that revokes, and one that revokes the same: our follower.
pub(super) fn streaming_while_cut(is_carried_first: bool) {
    let gate = gate();
    let (line, passage) = (Line::new(), admit(&gate, 1, &["a"], &[]).unwrap());
    let carrier = Arc::clone(&line);
    let streamer = thread::spawn(move || {
        if is_carried_first {
            passage.carried_by(carrier.clone(), false);
        }
        let streams = passage.streaming();
        if !is_carried_first {
            passage.carried_by(carrier, false);
        }
        (passage, streams)
    });
    let follower = {
        let gate = Arc::clone(&gate);
        thread::spawn(move || gate.publish(vec![revoked("a")]))
    };
    gate.publish(vec![revoked("a")]);
    let (passage, streams) = streamer.join().unwrap();
    match streams {
        Ok(()) => assert!(line.is_severed(), "it streams, and nobody has stopped it"),
        Err(denial) => assert_eq!(denial, Denial::AgentRevoked),
    }
    assert_eq!(passage.cut(), Some(Denial::AgentRevoked));
    follower.join().unwrap();
    drop(passage);
    assert!(gate.is_idle());
}

pub(super) fn written_while_acknowledged(is_shared: bool) {
    let gate = gate();
    let (line, passage) = (Line::new(), admit(&gate, 1, &["a"], &[]).unwrap());
    let writer = writing(&line, passage, is_shared, 2);
    acknowledge(&gate, &line);
    writer.join().unwrap();
    assert!(gate.is_idle());
}

pub(super) fn written_while_two_acknowledge() {
    let gate = gate();
    let (line, passage) = (Line::new(), admit(&gate, 1, &["a"], &[]).unwrap());
    let writer = writing(&line, passage, true, 1);
    let other = {
        let (gate, line) = (Arc::clone(&gate), Arc::clone(&line));
        thread::spawn(move || acknowledge(&gate, &line))
    };
    acknowledge(&gate, &line);
    other.join().unwrap();
    writer.join().unwrap();
    assert!(gate.is_idle());
}

/// The time to settle is over before it began.
pub(super) fn written_while_overdue(is_carried_first: bool) {
    let gate = gate();
    let (line, passage) = (Line::new(), admit(&gate, 1, &["a"], &[]).unwrap());
    let writer = {
        let line = Arc::clone(&line);
        thread::spawn(move || {
            if is_carried_first {
                passage.carried_by(line.clone(), true);
            }
            let streams = passage.streaming().is_ok();
            if !is_carried_first {
                passage.carried_by(line.clone(), true);
            }
            // It does not ask before each chunk: the wire must do.
            for _ in 0..if streams { 2 } else { 0 } {
                line.write();
            }
        })
    };
    gate.publish(vec![revoked("a")]);
    gate.sever(&gate.unsettled());
    line.acknowledged();
    writer.join().unwrap();
    assert!(gate.is_idle());
}

/// The end of the outer call is cutting what an order finds.
pub(super) fn written_while_the_outer_call_ends() {
    let gate = gate();
    let outer = admit(&gate, 1, &["z"], &[]).unwrap();
    let (line, inner) = (Line::new(), admit(&gate, 2, &["a"], &[1]).unwrap());
    let ending = thread::spawn(move || drop(outer));
    let order = {
        let (gate, line) = (Arc::clone(&gate), Arc::clone(&line));
        thread::spawn(move || acknowledge(&gate, &line))
    };
    write_to(&line, inner, true, 1);
    ending.join().unwrap();
    order.join().unwrap();
    assert!(gate.is_idle());
}

/// The caller is calling off what an order finds.
pub(super) fn written_while_called_off() {
    let gate = gate();
    let (line, passage) = (Line::new(), admit(&gate, 1, &["a"], &[]).unwrap());
    let switch = passage.off_switch();
    let caller = thread::spawn(move || switch.call_off());
    let order = {
        let (gate, line) = (Arc::clone(&gate), Arc::clone(&line));
        thread::spawn(move || acknowledge(&gate, &line))
    };
    write_to(&line, passage, true, 1);
    caller.join().unwrap();
    order.join().unwrap();
    assert!(gate.is_idle());
}

pub(super) fn woken_by_the_cut() {
    let gate = gate();
    let passage = admit(&gate, 1, &["a"], &[]).unwrap();
    let worker = thread::spawn(move || block_on(passage.guard(std::future::pending::<()>())));
    acknowledge(&gate, &Line::new());
    assert_eq!(worker.join().unwrap(), Err(Denial::AgentRevoked));
    assert!(gate.is_idle());
}

// ---- the words of the scenarios ----------------------------------------------------------------------------

fn is_cut_or_refused(admitted: Result<Passage, Denial>, why: Denial) {
    match admitted {
        Ok(passage) => assert_eq!(passage.cut(), Some(why), "admitted, and not cut"),
        Err(denial) => assert_eq!(denial, why),
    }
}

/// Revokes, waits, acknowledges.
fn acknowledge(gate: &Gate, line: &Line) {
    gate.publish(vec![revoked("a")]);
    block_on(gate.settled(&gate.unsettled()));
    line.acknowledged();
}

fn writing(line: &Arc<Line>, passage: Passage, is_shared: bool, chunks: usize) -> thread::JoinHandle<()> {
    let line = Arc::clone(line);
    thread::spawn(move || write_to(&line, passage, is_shared, chunks))
}

/// Writes a reply of so many chunks, and asks before each.
fn write_to(line: &Arc<Line>, passage: Passage, is_shared: bool, chunks: usize) {
    passage.carried_by(line.clone(), is_shared);
    if passage.streaming().is_err() {
        return;
    }
    for _ in 0..chunks {
        if passage.cut().is_some() {
            return;
        }
        line.write();
    }
    passage.complete();
}

/// A connection. The lock makes the acknowledgement a step that the models set against each chunk.
#[derive(Debug, Default)]
struct Line(Mutex<Connection>);

#[derive(Debug, Default)]
struct Connection {
    is_severed: bool,
    is_acknowledged: bool,
}

impl Line {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn write(&self) {
        let Connection { is_severed, is_acknowledged } = *self.0.lock().unwrap();
        assert!(is_severed || !is_acknowledged, "a chunk was written after the acknowledgement");
    }

    fn acknowledged(&self) {
        self.0.lock().unwrap().is_acknowledged = true;
    }

    fn is_severed(&self) -> bool {
        self.0.lock().unwrap().is_severed
    }
}

impl Wire for Line {
    fn sever(&self) {
        self.0.lock().unwrap().is_severed = true;
    }
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(Arc::new(FixedClock::at(now()))))
}

fn revoked(agent: &str) -> Fact {
    let order = Order {
        key: DenyKey::new(KeyKind::Agent, agent).unwrap(),
        state: State::Revoked,
        reason: Reason::Compromise,
        cutoff: None,
        expires_at: None,
        by: "operator".to_owned(),
        dry_run: false,
    };
    Fact::Denies(DenyEntry::new(&order, now()))
}

fn attempt(n: u32) -> AttemptId {
    AttemptId::parse(&format!("{n:032x}")).unwrap()
}

fn actors(agents: &[&str]) -> Vec<Actor> {
    let actor = |agent: &&str| Actor { issuer: "https://us".into(), agent: AgentId::new(agent).unwrap() };
    agents.iter().map(actor).collect()
}

fn path<'a>(agents: &'a [Actor], calls: &'a [AttemptId]) -> Path<'a> {
    Path { jti: None, issued_at: now(), agents, nodes: &[], user: None, behind: None, app: None, calls }
}

fn mints(gate: &Gate, agents: &[&str]) -> Result<(), Denial> {
    gate.check(&path(&actors(agents), &[]))
}

fn admit(gate: &Gate, n: u32, agents: &[&str], calls: &[u32]) -> Result<Passage, Denial> {
    let calls: Vec<_> = calls.iter().copied().map(attempt).collect();
    gate.admit(&path(&actors(agents), &calls), attempt(n))
}
